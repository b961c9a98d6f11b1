//! All clients of a round, and how they stop.

use std::sync::Arc;
use std::time::Duration;

use forebay_checker::WriteConcern;
use forebay_client::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

use super::concern::Concern;
use super::recorder::Recorder;
use super::topics::Topics;
use super::{consumer, idempotent, plain, reader};
use crate::error::RigError;
use crate::seed::Dice;

/// What clients have in common.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) topics: Arc<Topics>,
    pub(crate) recorder: Arc<Recorder>,
    /// Ids and addresses.
    pub(crate) nodes: Vec<(u32, String)>,
    /// Between two batches of a producer.
    pub(crate) pace: Duration,
    pub(crate) stage: watch::Receiver<Stage>,
}

/// Producers stop first, so that consumers see the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Running,
    Over,
}

impl Surroundings {
    pub(super) fn is_over(&self) -> bool {
        *self.stage.borrow() == Stage::Over
    }

    /// Waits for the end.
    pub(super) async fn over(&self) {
        let mut stage = self.stage.clone();
        // Nobody is left who could say so: that is the end as well.
        drop(stage.wait_for(|stage| *stage == Stage::Over).await);
    }
}

/// When the next batch is due. A load, and not a wait for anything.
#[derive(Debug)]
pub(super) struct Pace(Interval);

impl Pace {
    pub(super) fn new(pace: Duration) -> Self {
        let mut interval = tokio::time::interval(pace);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(interval)
    }

    /// False when the load is over.
    pub(super) async fn next(&mut self, around: &Surroundings) -> bool {
        tokio::select! {
            _ = self.0.tick() => !around.is_over(),
            () = around.over() => false,
        }
    }
}

/// Clients that run. They end with it.
#[derive(Debug)]
pub(crate) struct Load {
    producers: (watch::Sender<Stage>, JoinSet<()>),
    readers: (watch::Sender<Stage>, JoinSet<()>),
}

impl Load {
    /// Producers of every sort and consumers of every topic.
    pub(crate) fn start(
        topics: &Arc<Topics>,
        recorder: &Arc<Recorder>,
        nodes: &[(u32, String)],
        pace: Duration,
        seed: u64,
    ) -> Result<Self, RigError> {
        let addresses = nodes.iter().map(|(_, address)| address.clone());
        let client = Client::without_connecting(addresses)
            .map_err(RigError::at("no client of the cluster"))?;
        let stage = || {
            let (stop, stage) = watch::channel(Stage::Running);
            let around = Surroundings {
                topics: Arc::clone(topics),
                recorder: Arc::clone(recorder),
                nodes: nodes.to_vec(),
                pace,
                stage,
            };
            (stop, Arc::new(around))
        };
        let (stop_producers, around_producers) = stage();
        let (stop_readers, around_readers) = stage();
        let (mut producers, mut readers) = (JoinSet::new(), JoinSet::new());
        let mut part = 0;
        for topic in 0..topics.all.len() {
            let factor = topics.all[topic].factor;
            for concern in [
                WriteConcern::Quorum,
                WriteConcern::All,
                WriteConcern::Leader,
                WriteConcern::Replicas(factor),
            ] {
                part += 1;
                let around = Arc::clone(&around_producers);
                let dice = Dice::for_part(seed, part);
                let concern = Concern(concern);
                producers.spawn(idempotent::run(around, client.clone(), topic, concern, dice));
            }
            for _ in 0..2 {
                part += 1;
                let around = Arc::clone(&around_producers);
                producers.spawn(plain::run(around, topic, Dice::for_part(seed, part)));
            }
            for node in nodes {
                readers.spawn(reader::run(Arc::clone(&around_readers), topic, node.clone()));
            }
            readers.spawn(consumer::run(Arc::clone(&around_readers), client.clone(), topic));
        }
        Ok(Self { producers: (stop_producers, producers), readers: (stop_readers, readers) })
    }

    /// Producers send nothing more; waits until what they sent is answered, and gives it up after `patience`. Whether
    /// all was answered.
    pub(crate) async fn stop_producers(&mut self, patience: Duration) -> bool {
        self.producers.0.send_replace(Stage::Over);
        let all = async { while self.producers.1.join_next().await.is_some() {} };
        let answered = tokio::time::timeout(patience, all).await.is_ok();
        if !answered {
            self.producers.1.shutdown().await;
        }
        answered
    }

    /// Consumers read no more.
    pub(crate) async fn stop_readers(&mut self) {
        self.readers.0.send_replace(Stage::Over);
        while self.readers.1.join_next().await.is_some() {}
    }
}
