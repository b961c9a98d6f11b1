//! What a recording puts the server through: several producers on several partitions, small and
//! bulky batches, retention that moves a log's start, topics that come and go under the same
//! names, and restarts in between, kind ones and others.

use std::time::Duration;

use forebay_client::Client;
use tokio::sync::watch;

use super::fact::{Fact, Incarnation, Retention, TopicPlan};
use super::recorder::Recorder;
use super::server::{Address, Server, ServerProgram, last_lines};
use super::stream::{Batching, Sender, Sizes, Streams};
use super::topics;
use crate::seed::Dice;
use crate::subject::{RigError, Stage};

/// A workload that takes longer than this hangs.
const FINISHED_WITHIN: Duration = Duration::from_mins(3);

const STEADY_PARTITIONS: u32 = 3;
const STEADY_PRODUCERS: u64 = 2;
const STEADY_BURSTS: u64 = 200;
const STEADY_BURST_RECORDS_MAX: u64 = 30;

/// With bulky records of 16 KB on average, this is about 40 MB: more than two segments by size.
const BULK_BURSTS: u64 = 160;
const BULK_BURST_RECORDS: u64 = 16;
const BULK_RETENTION: Retention = Retention { size_bytes: 12 << 20, kept_bytes_min: 1 << 20 };

const CHURN_STEPS: u64 = 24;
const CHURN_NAMES: u64 = 6;
const CHURN_PARTITIONS_MAX: u64 = 3;
const CHURN_RECORDS_MAX: u64 = 40;

/// Restarts while the producers are at work.
const RESTARTS_MAX: u64 = 2;

/// Runs all of it; the server is gone when this returns.
pub(super) async fn run(
    stage: &Stage<'_>,
    program: &ServerProgram,
    recorder: &Recorder,
) -> Result<(), RigError> {
    let mut dice = Dice::for_part(stage.seed, 0);
    let address = Address::unused();
    let (progress, watched) = watch::channel(0);
    let client = address.client().map_err(RigError::at("no client"))?;
    let work = Work { client, recorder: recorder.clone(), seed: stage.seed, progress };
    let mut keeper =
        Keeper { program, stage, address, recorder, server: None, restarts: restarts(&mut dice) };
    tokio::select! {
        () = stage.interrupt.raised() => Err(RigError::Interrupted),
        () = tokio::time::sleep(FINISHED_WITHIN) => {
            let said = last_lines(&stage.process_log);
            let what = format!("the workload was not done after {FINISHED_WITHIN:?}; the server said");
            Err(RigError::Unusable(format!("{what}:\n{said}")))
        }
        done = keeper.keep_while(work.everything(), watched) => done,
    }?;
    keeper.end(dice.percent(50)).await
}

/// After how many steps of work the server is restarted, and whether it is killed.
fn restarts(dice: &mut Dice) -> Vec<(u64, bool)> {
    let steps = STEADY_PRODUCERS * STEADY_BURSTS + BULK_BURSTS + CHURN_STEPS;
    let count = dice.below(RESTARTS_MAX + 1);
    let mut restarts: Vec<(u64, bool)> =
        (0..count).map(|_| (dice.below(steps), dice.percent(70))).collect();
    restarts.sort_unstable();
    restarts
}

/// Keeps a server running, with the restarts that were planned.
struct Keeper<'a> {
    program: &'a ServerProgram,
    stage: &'a Stage<'a>,
    address: Address,
    recorder: &'a Recorder,
    server: Option<Server>,
    restarts: Vec<(u64, bool)>,
}

impl Keeper<'_> {
    async fn start(&self) -> Result<Server, RigError> {
        let Stage { data, process_log, .. } = self.stage;
        let server = Server::start(self.program, data, self.address, process_log).await;
        server.map_err(RigError::at("no server for the recording"))
    }

    async fn keep_while(
        &mut self,
        work: impl Future<Output = Result<(), RigError>>,
        mut progress: watch::Receiver<u64>,
    ) -> Result<(), RigError> {
        let mut work = std::pin::pin!(work);
        let mut restarts = std::mem::take(&mut self.restarts).into_iter();
        loop {
            let mut server = self.start().await?;
            let restart = restarts.next();
            let due = restart.map_or(u64::MAX, |(steps, _)| steps);
            tokio::select! {
                done = &mut work => {
                    self.server = Some(server);
                    return done;
                }
                said = server.ended() => return Err(RigError::Unusable(said)),
                _reached = progress.wait_for(|made| *made >= due) => {}
            }
            self.server = Some(server);
            self.end(restart.is_some_and(|(_, kill)| kill)).await?;
        }
    }

    async fn end(&mut self, killed: bool) -> Result<(), RigError> {
        let server = self.server.take().expect("it was started");
        self.recorder.note(Fact::ServerEnded { killed });
        if killed {
            server.kill().map_err(RigError::at("cannot kill the server"))
        } else {
            server.stop().await.map_err(RigError::Unusable)
        }
    }
}

/// The producers and whoever makes and deletes topics.
struct Work {
    client: Client,
    recorder: Recorder,
    seed: u64,
    progress: watch::Sender<u64>,
}

impl Work {
    async fn everything(&self) -> Result<(), RigError> {
        let steady = TopicPlan {
            incarnation: Incarnation(0),
            name: "steady".to_owned(),
            partitions: STEADY_PARTITIONS,
            retention: None,
        };
        let bulk = TopicPlan {
            incarnation: Incarnation(1),
            name: "bulk".to_owned(),
            partitions: 1,
            retention: Some(BULK_RETENTION),
        };
        topics::create(&self.client, &self.recorder, &steady).await?;
        topics::create(&self.client, &self.recorder, &bulk).await?;
        tokio::try_join!(
            self.produce_small(&steady, 1),
            self.produce_small(&steady, 2),
            self.produce_bulk(&bulk, 3),
            self.churn(4),
        )?;
        Ok(())
    }

    fn step(&self) {
        self.progress.send_modify(|steps| *steps += 1);
    }

    async fn produce_small(&self, topic: &TopicPlan, part: u64) -> Result<(), RigError> {
        let mut dice = Dice::for_part(self.seed, part);
        let mut streams = self.open(topic, Sizes::Small, &mut dice).await?;
        for _ in 0..STEADY_BURSTS {
            let partition = any_partition(topic, &mut dice);
            let count = 1 + dice.below(STEADY_BURST_RECORDS_MAX);
            streams.send(partition, count).await?;
            // Mostly batches of their own, sometimes several bursts in flight together.
            if dice.percent(70) {
                streams.acknowledged().await?;
            }
            self.step();
        }
        streams.finish().await
    }

    async fn produce_bulk(&self, topic: &TopicPlan, part: u64) -> Result<(), RigError> {
        let mut dice = Dice::for_part(self.seed, part);
        let mut streams = self.open(topic, Sizes::Bulky, &mut dice).await?;
        for _ in 0..BULK_BURSTS {
            streams.send(0, BULK_BURST_RECORDS).await?;
            self.step();
        }
        streams.finish().await
    }

    async fn open(
        &self,
        topic: &TopicPlan,
        sizes: Sizes,
        dice: &mut Dice,
    ) -> Result<Streams, RigError> {
        let sender = Sender::new(&self.recorder, topic, sizes, dice);
        let sender = (sender, Batching::AsItComes);
        Streams::open(&self.client, &self.recorder, &topic.name, self.seed, sender).await
    }

    /// Makes topics, writes a little to them and deletes them, under a few names again and again.
    async fn churn(&self, part: u64) -> Result<(), RigError> {
        let mut dice = Dice::for_part(self.seed, part);
        let mut there: Vec<Option<TopicPlan>> = (0..CHURN_NAMES).map(|_| None).collect();
        for step in 0..CHURN_STEPS {
            let index = dice.index(there.len());
            match there[index].take() {
                Some(topic) if dice.percent(70) => {
                    let (name, incarnation) = (&topic.name, topic.incarnation);
                    topics::delete(&self.client, &self.recorder, name, incarnation).await?;
                }
                Some(topic) => {
                    self.write_a_little(&topic, &mut dice).await?;
                    there[index] = Some(topic);
                }
                None => {
                    let topic = TopicPlan {
                        // The first two are the topics that stay.
                        incarnation: Incarnation(2 + step),
                        name: format!("churn-{index}"),
                        partitions: 1 + u32::try_from(dice.below(CHURN_PARTITIONS_MAX))
                            .expect("a small number"),
                        retention: None,
                    };
                    topics::create(&self.client, &self.recorder, &topic).await?;
                    if dice.percent(70) {
                        self.write_a_little(&topic, &mut dice).await?;
                    }
                    there[index] = Some(topic);
                }
            }
            self.step();
        }
        Ok(())
    }

    async fn write_a_little(&self, topic: &TopicPlan, dice: &mut Dice) -> Result<(), RigError> {
        let mut streams = self.open(topic, Sizes::Small, dice).await?;
        for _ in 0..=dice.below(3) {
            let partition = any_partition(topic, dice);
            streams.send(partition, 1 + dice.below(CHURN_RECORDS_MAX)).await?;
        }
        streams.finish().await
    }
}

fn any_partition(topic: &TopicPlan, dice: &mut Dice) -> u32 {
    u32::try_from(dice.below(u64::from(topic.partitions))).expect("below 32 bits")
}
