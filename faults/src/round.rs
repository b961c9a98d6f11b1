//! One round: topics of its own, load, faults, healing, and the judgement of all that was seen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forebay_checker::{Event, Invariant, Violation};
use forebay_client::Client;
use serde::Serialize;
use tokio::time::Instant;

use crate::cluster::{Cluster, Node};
use crate::error::{RigError, with_causes, within};
use crate::judgement::{ended, judge, write_history};
use crate::observe::{States, Watcher, all_caught_up, final_replicas};
use crate::scenario::{Performer, Scenario};
use crate::seed::Dice;
use crate::strays::strays;
use crate::workload::{Counts, Load, Recorder, Topics};

/// From the healing on, everything has to be caught up within this time (I10).
const CAUGHT_UP_WITHIN: Duration = Duration::from_mins(1);
const PATIENCE_WITH_THE_BROKEN: Duration = Duration::from_secs(15);
/// Writes must be committed everywhere before the first fault.
const BEGUN_WITHIN: Duration = Duration::from_mins(1);
/// As many violations of one partition are told.
const VIOLATIONS_TOLD: usize = 5;

/// How a round is run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Its topics have names of their own.
    pub(crate) number: u64,
    /// Between two batches of a producer.
    pub(crate) pace: Duration,
    /// The steps are done again until this has passed; at least once.
    pub(crate) duration: Duration,
    /// Where histories are written when something is wrong.
    pub(crate) folder: PathBuf,
}

/// What came of a round.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Outcome {
    pub(crate) scenario: String,
    pub(crate) seed: u64,
    pub(crate) acknowledged: u64,
    pub(crate) read: u64,
    pub(crate) refused: u64,
    pub(crate) indeterminate: u64,
    pub(crate) unknown: u64,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) elections: usize,
    pub(crate) gaps_ms: Vec<u64>,
    /// What was done, and when, in milliseconds of the histories.
    pub(crate) steps: Vec<String>,
    pub(crate) seconds: f64,
    pub(crate) violations: usize,
    /// Those of them that say that something acknowledged is lost (I1).
    pub(crate) losses: usize,
    /// Violations and whatever else should not be, in words.
    pub(crate) problems: Vec<String>,
}

impl Outcome {
    fn note(&mut self, recorder: &Recorder, what: &str) {
        self.steps.push(format!("{:>8} {what}", recorder.now_ms()));
    }
}

/// Runs a scenario on a cluster that is whole, and leaves it whole, unless the scenario ends read-only.
pub(crate) async fn run(
    cluster: &mut Cluster,
    scenario: &Scenario,
    plan: &Plan,
) -> Result<Outcome, RigError> {
    let began = Instant::now();
    let mut round = Box::pin(Round::begin(cluster, scenario, plan)).await?;
    let mut outcome =
        Outcome { scenario: scenario.name.to_owned(), seed: plan.seed, ..Outcome::default() };
    if let Err(error) = Box::pin(round.faults(cluster, scenario, plan, &mut outcome)).await {
        if matches!(error, RigError::Interrupted) {
            return Err(error);
        }
        outcome.problems.push(with_causes(&error));
    }
    Box::pin(round.heal(cluster, scenario, &mut outcome)).await?;
    Box::pin(round.end(cluster, plan, &mut outcome)).await;
    outcome.seconds = began.elapsed().as_secs_f64();
    Ok(outcome)
}

struct Round {
    topics: Arc<Topics>,
    recorder: Arc<Recorder>,
    watcher: Watcher,
    load: Load,
    nodes: Vec<(u32, String)>,
    client: Client,
}

impl Round {
    async fn begin(
        cluster: &mut Cluster,
        scenario: &Scenario,
        plan: &Plan,
    ) -> Result<Self, RigError> {
        let nodes = cluster.addresses();
        let client = Client::without_connecting(nodes.iter().map(|(_, address)| address.clone()))
            .map_err(RigError::at("no client of the cluster"))?;
        let number = plan.number;
        let all = u32::try_from(nodes.len()).expect("a small number");
        // Whatever is done to so many nodes, each partition keeps a majority.
        let few = scenario.needs.nodes;
        let wanted = [(format!("orders-{number}"), 2, all), (format!("audit-{number}"), 1, few)];
        let topics = Arc::new(Box::pin(Topics::make(&client, &wanted)).await?);
        let recorder = Arc::new(Recorder::new(topics.partitions.len()));
        let watcher = Watcher::start(&cluster.etcd, &topics, &recorder)?;
        let load = Load::start(&topics, &recorder, &nodes, plan.pace, plan.seed)?;
        recorder.watch_writes();
        within(BEGUN_WITHIN, "writes are committed before the first fault", recorder.written())
            .await?;
        Ok(Self { topics, recorder, watcher, load, nodes, client })
    }

    fn states(&self) -> &Arc<States> {
        self.watcher.states()
    }

    async fn faults(
        &self,
        cluster: &mut Cluster,
        scenario: &Scenario,
        plan: &Plan,
        outcome: &mut Outcome,
    ) -> Result<(), RigError> {
        let began = Instant::now();
        let dice = Dice::for_part(plan.seed, plan.number ^ 0xfa_0175);
        let mut performer = Performer::new(
            cluster,
            (&self.topics, &self.recorder),
            Arc::clone(self.states()),
            dice,
        );
        let done = loop {
            let done = performer.perform(scenario).await;
            if done.is_err() || began.elapsed() >= plan.duration || scenario.ends_read_only {
                break done;
            }
            // The next turn begins with a cluster that is whole.
            if let Err(error) = make_whole(performer.cluster).await {
                break Err(error);
            }
            self.recorder.watch_writes();
            let written = within(CAUGHT_UP_WITHIN, "writes go on", self.recorder.written());
            if let Err(error) = written.await {
                break Err(error);
            }
        };
        outcome.faults = std::mem::take(&mut performer.faults);
        outcome.gaps_ms = std::mem::take(&mut performer.gaps_ms);
        outcome.steps = std::mem::take(&mut performer.steps);
        done
    }

    async fn heal(
        &mut self,
        cluster: &mut Cluster,
        scenario: &Scenario,
        outcome: &mut Outcome,
    ) -> Result<(), RigError> {
        make_whole(cluster).await?;
        outcome.note(&self.recorder, "whole");
        if scenario.ends_read_only {
            // Some are refused for ever, which is what is wanted.
            let _answered = self.load.stop_producers(Duration::ZERO).await;
            return Ok(());
        }
        self.recorder.push_everywhere(&Event::Healed);
        self.recorder.watch_writes();
        let what = "a write is committed in every partition after the healing";
        // After something has gone wrong, most of what follows does, too.
        let patience =
            if outcome.problems.is_empty() { CAUGHT_UP_WITHIN } else { PATIENCE_WITH_THE_BROKEN };
        if let Err(late) = within(patience, what, self.recorder.written()).await {
            outcome.problems.push(late.to_string());
        }
        outcome.note(&self.recorder, "written");
        if !self.load.stop_producers(patience).await {
            outcome.problems.push(format!("what was sent is not all answered within {patience:?}"));
        }
        outcome.note(&self.recorder, "producers have stopped");
        let level = all_caught_up(&self.nodes, &self.topics, self.states(), patience);
        let level = level.await;
        outcome.note(&self.recorder, &format!("caught up, after {level:?}"));
        if let Err(behind) = level {
            outcome.problems.push(format!("not caught up within {patience:?}: {behind}"));
        }
        if let Err(error) = cluster.all_still_run() {
            outcome.problems.push(error.to_string());
        }
        Ok(())
    }

    /// So that a cluster that lives long does not fill.
    async fn take_topics_away(&self, outcome: &mut Outcome) {
        for topic in &self.topics.all {
            if let Err(error) = self.client.admin().delete_topic(&topic.name).await {
                let text = with_causes(&error);
                outcome.problems.push(format!("{} cannot be deleted: {text}", topic.name));
            }
        }
    }

    /// Reads every replica, and judges.
    async fn end(mut self, cluster: &Cluster, plan: &Plan, outcome: &mut Outcome) {
        self.load.stop_readers().await;
        let bound_ms = u64::try_from(2 * CAUGHT_UP_WITHIN.as_millis()).unwrap_or(u64::MAX);
        let mut counts = Counts::default();
        for place in 0..self.topics.partitions.len() {
            let nodes = cluster.addresses();
            let (replicas, unread) = final_replicas(&nodes, &self.topics, place).await;
            outcome.problems.extend(unread);
            self.recorder.push(place, ended(replicas, bound_ms));
            let seen = self.recorder.take(place);
            counts.add(seen.counts);
            let judged = judge(seen, self.states().of(place));
            outcome.violations += judged.violations.len();
            let is_loss = |violation: &&Violation| violation.invariant == Invariant::I1;
            outcome.losses += judged.violations.iter().filter(is_loss).count();
            let name =
                format!("{}/{}", self.topics.of(place).name, self.topics.partitions[place].index);
            let told = judged.violations.iter().take(VIOLATIONS_TOLD);
            outcome.problems.extend(told.map(|violation| format!("{name}: {violation}")));
            let strays = strays(&judged.history);
            outcome.problems.extend(
                strays.iter().take(VIOLATIONS_TOLD).map(|stray| format!("{name}: {stray}")),
            );
            let failed = !judged.violations.is_empty() || !outcome.problems.is_empty();
            if failed && let Err(error) = keep(&plan.folder, &name, &judged.history) {
                outcome.problems.push(format!("the history of {name} cannot be kept: {error}"));
            }
        }
        outcome.note(&self.recorder, "judged");
        outcome.problems.extend(self.recorder.findings());
        if outcome.problems.is_empty() {
            self.take_topics_away(outcome).await;
        }
        outcome.acknowledged = counts.acknowledged;
        outcome.read = counts.read;
        outcome.refused = counts.refused;
        outcome.indeterminate = counts.indeterminate;
        outcome.unknown = counts.unknown;
        outcome.elections = self.states().elections();
    }
}

/// Undoes whatever a scenario has left: links, pauses, disks, etcd, nodes.
async fn make_whole(cluster: &mut Cluster) -> Result<(), RigError> {
    cluster.network.mend()?;
    for node in cluster.nodes.iter_mut().filter(|node| node.is_paused()) {
        node.resume()?;
    }
    cluster.nodes.iter_mut().try_for_each(Node::heal_disk)?;
    cluster.etcd.ensure_runs().await?;
    cluster.start_stopped().await
}

fn keep(folder: &Path, name: &str, history: &forebay_checker::History) -> std::io::Result<()> {
    let name = name.replace('/', "-");
    write_history(&folder.join(format!("history-{name}.txt")), history)
}
