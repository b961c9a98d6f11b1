//! Scenarios one after the other, each on a cluster of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::{Cluster, Setup, has_command};
use crate::error::{RigError, with_causes};
use crate::host::{Interrupt, missing_for_namespaces};
use crate::report::Table;
use crate::round::{self, Outcome, Plan};
use crate::scenario::Scenario;

/// Between two batches of a producer.
const PACE: Duration = Duration::from_millis(40);

/// What all scenarios of a run have in common.
#[derive(Debug, Clone)]
pub(crate) struct Course {
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) seed: u64,
    /// How long the steps of each scenario are done again and again.
    pub(crate) duration: Duration,
    /// Folders stay, also when all is well.
    pub(crate) keep: bool,
}

/// What became of a scenario.
#[derive(Debug)]
pub(crate) enum Verdict {
    Judged(Outcome),
    /// The rig itself could not go on.
    Broken(String),
    /// This machine lacks something.
    NotRun(String),
}

/// Runs them. The table says what came of each.
pub(crate) async fn run_all(
    scenarios: &[Scenario],
    course: &Course,
    interrupt: &Interrupt,
    mut heard: impl FnMut(&Scenario, &Verdict),
) -> Result<Table, RigError> {
    let missing = missing_for_namespaces();
    let mut table = Table::default();
    for scenario in scenarios {
        let verdict = if let Some(lacks) = lacks(scenario, course, missing.as_deref()) {
            Verdict::NotRun(lacks)
        } else {
            tokio::select! {
                verdict = run_one(scenario, course, missing.is_none()) => verdict,
                () = interrupt.raised() => return Err(RigError::Interrupted),
            }
        };
        heard(scenario, &verdict);
        table.add(scenario, verdict);
    }
    Ok(table)
}

/// What this machine, or this `forebay`, lacks for a scenario.
pub(crate) fn lacks(
    scenario: &Scenario,
    course: &Course,
    for_namespaces: Option<&str>,
) -> Option<String> {
    let needs = scenario.needs;
    let host = for_namespaces.filter(|_| needs.links || needs.disks).map(str::to_owned);
    let unknown = needs.command.filter(|command| !has_command(&course.program, command));
    host.or_else(|| unknown.map(|command| format!("`forebay cluster {command}`")))
}

async fn run_one(scenario: &Scenario, course: &Course, namespaces: bool) -> Verdict {
    let folder = course.folder.join(scenario.name);
    let setup = Setup {
        program: course.program.clone(),
        folder: folder.clone(),
        nodes: scenario.needs.nodes,
        namespaces,
        disks: scenario.needs.disks,
    };
    let plan = Plan {
        seed: course.seed,
        number: 1,
        pace: PACE,
        duration: course.duration,
        folder: folder.clone(),
    };
    let began = Instant::now();
    match run_in(scenario, &setup, &plan).await {
        Ok(mut outcome) => {
            outcome.seconds = began.elapsed().as_secs_f64();
            if outcome.problems.is_empty() && !course.keep {
                remove(&folder);
            }
            Verdict::Judged(outcome)
        }
        Err(error) => Verdict::Broken(with_causes(&error)),
    }
}

async fn run_in(scenario: &Scenario, setup: &Setup, plan: &Plan) -> Result<Outcome, RigError> {
    // What an earlier run has left would be found and taken for ours.
    remove(&setup.folder);
    let mut cluster = Box::pin(Cluster::start(setup)).await?;
    Box::pin(round::run(&mut cluster, scenario, plan)).await
}

fn remove(folder: &Path) {
    // There may be nothing to remove; what cannot be removed is found by whoever looks for room.
    drop(std::fs::remove_dir_all(folder));
}
