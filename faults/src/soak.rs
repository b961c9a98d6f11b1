//! Rounds without end on one cluster that lives long: a scenario after the other as the seed chooses, each with
//! topics of its own, judged before the next, so that neither disk nor memory fills.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::cluster::{Cluster, Setup};
use crate::error::{RigError, with_causes};
use crate::host::{Interrupt, missing_for_namespaces};
use crate::round::{self, Outcome, Plan};
use crate::run::{Course, lacks};
use crate::scenario::{SCENARIOS, Scenario};
use crate::seed::Dice;

/// Between two batches of a producer.
const PACE: Duration = Duration::from_millis(25);
/// As many problems are kept in a report.
const PROBLEMS_MAX: usize = 100;

/// What came of it so far.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    seed: u64,
    nodes: u32,
    seconds: u64,
    rounds: u64,
    scenarios: BTreeMap<String, u64>,
    faults: BTreeMap<&'static str, u64>,
    elections: usize,
    records_acknowledged: u64,
    records_read: u64,
    batches_refused: u64,
    batches_indeterminate: u64,
    batches_unknown: u64,
    pub(crate) violations: usize,
    failover_gap_ms: Gaps,
    pub(crate) problems: Vec<String>,
}

/// From the end of a leader to the next committed write in each partition.
#[derive(Debug, Default, Serialize)]
struct Gaps {
    count: usize,
    p50: u64,
    p95: u64,
    max: u64,
    #[serde(skip)]
    all: Vec<u64>,
}

impl Gaps {
    fn add(&mut self, more: &[u64]) {
        self.all.extend(more);
        self.all.sort_unstable();
        let at = |percent: usize| {
            let place = (self.all.len() * percent).div_ceil(100).saturating_sub(1);
            self.all.get(place).copied().unwrap_or_default()
        };
        (self.p50, self.p95, self.max) = (at(50), at(95), at(100));
        self.count = self.all.len();
    }
}

impl Report {
    fn add(&mut self, outcome: Outcome) {
        self.rounds += 1;
        *self.scenarios.entry(outcome.scenario.clone()).or_default() += 1;
        for (fault, count) in &outcome.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        self.elections += outcome.elections;
        self.records_acknowledged += outcome.acknowledged;
        self.records_read += outcome.read;
        self.batches_refused += outcome.refused;
        self.batches_indeterminate += outcome.indeterminate;
        self.batches_unknown += outcome.unknown;
        self.violations += outcome.violations;
        self.failover_gap_ms.add(&outcome.gaps_ms);
        for problem in outcome.problems {
            if self.problems.len() < PROBLEMS_MAX {
                self.problems
                    .push(format!("round {}, {}: {problem}", self.rounds, outcome.scenario));
            }
        }
    }
}

/// What a soak is asked to be.
#[derive(Debug, Clone)]
pub(crate) struct Soak {
    pub(crate) course: Course,
    pub(crate) nodes: u32,
    /// Where the report goes, after each round.
    pub(crate) out: PathBuf,
}

/// Runs for as long as the course says, and to the end of the round that is then under way.
pub(crate) async fn run(
    soak: &Soak,
    interrupt: &Interrupt,
    mut heard: impl FnMut(&Outcome),
) -> Result<Report, RigError> {
    let course = &soak.course;
    let missing = missing_for_namespaces();
    let namespaces = missing.is_none();
    let fits = |scenario: &&Scenario| {
        scenario.needs.nodes <= soak.nodes
            && !scenario.needs.disks
            && !scenario.ends_read_only
            && lacks(scenario, course, missing.as_deref()).is_none()
    };
    let scenarios: Vec<&Scenario> = SCENARIOS.iter().filter(fits).collect();
    let folder = course.folder.join("soak");
    // What an earlier one has left would be found and taken for ours.
    drop(std::fs::remove_dir_all(&folder));
    let setup = Setup {
        program: course.program.clone(),
        folder: folder.clone(),
        nodes: soak.nodes,
        namespaces,
        disks: false,
    };
    let mut cluster = Box::pin(Cluster::start(&setup)).await?;
    let mut report = Report { seed: course.seed, nodes: soak.nodes, ..Report::default() };
    let mut dice = Dice::new(course.seed);
    let began = Instant::now();
    while began.elapsed() < course.duration {
        let number = report.rounds + 1;
        let scenario = scenarios[dice.index(scenarios.len())];
        let plan = Plan {
            seed: Dice::for_part(course.seed, number).next(),
            number,
            pace: PACE,
            duration: Duration::ZERO,
            folder: folder.clone(),
        };
        let outcome = tokio::select! {
            outcome = Box::pin(round::run(&mut cluster, scenario, &plan)) => outcome,
            () = interrupt.raised() => return Err(RigError::Interrupted),
        };
        let outcome = outcome.unwrap_or_else(|error| Outcome {
            scenario: scenario.name.to_owned(),
            problems: vec![with_causes(&error)],
            ..Outcome::default()
        });
        heard(&outcome);
        let failed = !outcome.problems.is_empty();
        report.add(outcome);
        report.seconds = began.elapsed().as_secs();
        write(&soak.out, &report)?;
        if failed {
            // What is on the disks now is worth more than further rounds on it.
            break;
        }
    }
    if report.problems.is_empty() && !course.keep {
        drop(cluster);
        drop(std::fs::remove_dir_all(&folder));
    }
    Ok(report)
}

fn write(out: &Path, report: &Report) -> Result<(), RigError> {
    let text = serde_json::to_string_pretty(report).map_err(RigError::at("no report"))? + "\n";
    std::fs::write(out, text).map_err(RigError::at(format!("cannot write {}", out.display())))
}
