//! One shard's place at the coordination: its requests in, its events out.
//!
//! Nothing waits for a shard that is slow: what it has not taken is kept here, and what is overtaken is
//! dropped. Bounded by the shard's partitions: one transaction and one read of each at a time, and the
//! newest observation of each.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_channel::{Receiver, Sender};
use forebay_format::PartitionId;
use forebay_replication::LeaseEvent;
use forebay_replication::lease::LeaseInput;
use forebay_replication::metadata::{Observation, Outcome, Transaction};
use futures_util::future::{BoxFuture, OptionFuture};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::connection::Connection;
use super::error::EtcdError;
use super::grant::Life;
use super::keys::Keys;
use super::lease::{SignsOfLife, events};
use super::outage::wait;
use super::reads::{WaitingReads, read};
use super::transactions::{Proposed, Transactor};

/// Requests that wait to be looked at. A shard that finds no room waits; it does not take long.
const REQUESTS_MAX: usize = 1024;

/// Events that wait in the channel itself; the others wait here.
const EVENTS_MAX: usize = 256;

/// Observations on their way from the watch.
const OBSERVED_MAX: usize = 256;

/// Transactions of one shard that etcd works on at a time. The others wait their turn.
const TRANSACTIONS_MAX: usize = 1024;

/// What a shard asks for.
#[derive(Debug)]
pub(crate) enum EtcdRequest {
    /// Carry out a transaction. Answered by exactly one [`EtcdEvent::Transacted`].
    Transact { partition: PartitionId, number: u64, transaction: Box<Transaction> },
    /// Read a partition. Answered by [`EtcdEvent::Observed`] of this number or a later one, once etcd
    /// answers.
    Read { partition: PartitionId, number: u64 },
    /// The shard runs. Without one from every shard, the node's lease runs out.
    ShardAlive,
}

/// What a shard is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EtcdEvent {
    /// For every replica. A deadline that a later one has overtaken is left out.
    Lease(LeaseEvent),
    /// What became of a transaction.
    Transacted { partition: PartitionId, number: u64, outcome: Outcome },
    /// What was read, or watched.
    Observed { partition: PartitionId, observation: Box<Observation> },
}

/// The shard's side. Both ends may be used on any executor.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) requests: Sender<EtcdRequest>,
    pub(crate) events: Receiver<EtcdEvent>,
}

/// What waits for a shard to take it, in order. Of the watch only the newest of each partition.
#[derive(Debug, Default)]
struct Outbox {
    order: VecDeque<Waiting>,
    watched: BTreeMap<PartitionId, Observation>,
}

#[derive(Debug)]
enum Waiting {
    Event(EtcdEvent),
    Watched(PartitionId),
}

impl Outbox {
    fn push(&mut self, event: EtcdEvent) {
        let renewal =
            |event: &EtcdEvent| matches!(event, EtcdEvent::Lease(LeaseEvent::Renewed { .. }));
        if renewal(&event) {
            self.order.retain(|waiting| !matches!(waiting, Waiting::Event(old) if renewal(old)));
        }
        self.order.push_back(Waiting::Event(event));
    }

    fn watched(&mut self, partition: PartitionId, observation: Observation) {
        if self.watched.insert(partition, observation).is_none() {
            self.order.push_back(Waiting::Watched(partition));
        }
    }

    fn pop(&mut self) -> Option<EtcdEvent> {
        match self.order.pop_front()? {
            Waiting::Event(event) => Some(event),
            Waiting::Watched(partition) => {
                let observation = Box::new(self.watched.remove(&partition)?);
                Some(EtcdEvent::Observed { partition, observation })
            }
        }
    }
}

type ReadDone = (Vec<(PartitionId, u64)>, Result<Vec<(PartitionId, Observation)>, EtcdError>);

/// Our side.
pub(super) struct Desk {
    shard: usize,
    connection: Connection,
    keys: Keys,
    transactor: Transactor,
    signs: SignsOfLife,
    life: watch::Receiver<Option<Life>>,
    /// What the shard knows of it.
    told_life: Option<Life>,
    requests: Receiver<EtcdRequest>,
    observed: Receiver<(PartitionId, Observation)>,
    events: Sender<EtcdEvent>,
    outbox: Outbox,
    /// Who may ask etcd. Whoever only waits before it tells of a failure keeps nobody else from it.
    turns: Arc<Semaphore>,
    at_work: JoinSet<(u64, PartitionId, Outcome)>,
    waiting_reads: WaitingReads,
    reading: JoinSet<ReadDone>,
}

impl Desk {
    /// Both sides, and where observations of the watch go.
    pub(super) fn new(
        shard: usize,
        transactor: Transactor,
        signs: SignsOfLife,
        life: watch::Receiver<Option<Life>>,
    ) -> (Self, Seat, Sender<(PartitionId, Observation)>) {
        let (requests_in, requests) = async_channel::bounded(REQUESTS_MAX);
        let (events, events_out) = async_channel::bounded(EVENTS_MAX);
        let (observed_in, observed) = async_channel::bounded(OBSERVED_MAX);
        let desk = Self {
            shard,
            connection: transactor.connection.clone(),
            keys: transactor.keys.clone(),
            transactor,
            signs,
            life,
            told_life: None,
            requests,
            observed,
            events,
            outbox: Outbox::default(),
            turns: Arc::new(Semaphore::new(TRANSACTIONS_MAX)),
            at_work: JoinSet::new(),
            waiting_reads: WaitingReads::default(),
            reading: JoinSet::new(),
        };
        (desk, Seat { requests: requests_in, events: events_out }, observed_in)
    }

    /// Works until the shard has given up its seat.
    pub(super) async fn run(mut self) {
        self.life.mark_changed();
        let mut sending: OptionFuture<BoxFuture<'static, bool>> = None.into();
        let mut is_sending = false;
        loop {
            if !is_sending && let Some(event) = self.outbox.pop() {
                let events = self.events.clone();
                let send: BoxFuture<'static, bool> =
                    Box::pin(async move { events.send(event).await.is_ok() });
                sending = Some(send).into();
                is_sending = true;
            }
            tokio::select! {
                sent = &mut sending, if is_sending => {
                    is_sending = false;
                    if sent == Some(false) {
                        return;
                    }
                }
                request = self.requests.recv() => match request {
                    Ok(request) => self.on_request(request),
                    Err(_) => return,
                },
                Some(Ok((number, partition, outcome))) = self.at_work.join_next() => {
                    self.outbox.push(EtcdEvent::Transacted { partition, number, outcome });
                }
                Some(Ok((asked, done))) = self.reading.join_next() => self.on_read(asked, done),
                Ok((partition, observation)) = self.observed.recv() => {
                    self.outbox.watched(partition, observation);
                }
                Ok(()) = self.life.changed() => self.on_life(),
            }
            self.begin_read();
        }
    }

    fn on_request(&mut self, request: EtcdRequest) {
        match request {
            EtcdRequest::Transact { partition, number, transaction } => {
                self.begin(number, Proposed { partition, transaction: *transaction });
            }
            EtcdRequest::Read { partition, number } => self.waiting_reads.add(partition, number),
            EtcdRequest::ShardAlive => {
                self.signs.send(LeaseInput::ShardAlive { shard: self.shard });
            }
        }
    }

    fn begin(&mut self, number: u64, proposed: Proposed) {
        let (transactor, life) = (self.transactor.clone(), self.life.clone());
        let turns = self.turns.clone();
        self.at_work.spawn(async move {
            let turn = turns.acquire().await;
            let life = life.borrow().clone();
            let outcome = transactor.transact(&proposed, life.as_ref()).await;
            drop(turn);
            if let Err(error) = &outcome {
                transactor.pause_after(error).await;
            }
            (number, proposed.partition, outcome.unwrap_or(Outcome::Unknown))
        });
    }

    fn begin_read(&mut self) {
        if self.reading.is_empty() && !self.waiting_reads.is_empty() {
            let asked = self.waiting_reads.take();
            let (connection, keys) = (self.connection.clone(), self.keys.clone());
            self.reading.spawn(async move {
                let done = read(connection, keys, asked.clone()).await;
                if done.is_err() {
                    tokio::time::sleep(wait(u32::MAX)).await;
                }
                (asked, done)
            });
        }
    }

    fn on_read(
        &mut self,
        asked: Vec<(PartitionId, u64)>,
        done: Result<Vec<(PartitionId, Observation)>, EtcdError>,
    ) {
        match done {
            Ok(observed) => {
                for (partition, observation) in observed {
                    let observation = Box::new(observation);
                    self.outbox.push(EtcdEvent::Observed { partition, observation });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "partitions cannot be read from etcd; it is tried on and on");
                for (partition, number) in asked {
                    self.waiting_reads.add(partition, number);
                }
            }
        }
    }

    fn on_life(&mut self) {
        let life = self.life.borrow_and_update().clone();
        for event in events(self.told_life.as_ref(), life.as_ref()) {
            self.outbox.push(EtcdEvent::Lease(event));
        }
        self.told_life = life;
    }
}

#[cfg(test)]
mod tests {
    use forebay_format::{PartitionIndex, TopicId};
    use forebay_replication::Instant;
    use forebay_replication::metadata::{ObservationSource, Revision};

    use super::*;

    fn observation(revision: u64) -> Observation {
        Observation {
            source: ObservationSource::Watch,
            revision: Revision::new(revision),
            leader: None,
            state: None,
            assigned: vec![],
            reported: vec![],
        }
    }

    #[test]
    fn slow_shard_gets_the_newest_of_everything_that_was_overtaken() {
        let mut outbox = Outbox::default();
        let of = |index| PartitionId::new(TopicId::ZERO, PartitionIndex::new(index));
        let renewed = |ms| EtcdEvent::Lease(LeaseEvent::Renewed { until: Instant::from_ms(ms) });
        for round in 1..=3 {
            outbox.watched(of(0), observation(round));
            outbox.push(renewed(round));
            outbox.watched(of(1), observation(round));
        }
        let told: Vec<_> = std::iter::from_fn(|| outbox.pop()).collect();
        let observed = |index| EtcdEvent::Observed {
            partition: of(index),
            observation: Box::new(observation(3)),
        };
        assert_eq!(told, [observed(0), observed(1), renewed(3)]);
        outbox.watched(of(0), observation(4));
        assert!(outbox.pop().is_some(), "it is told anew");
    }

    #[test]
    fn answers_keep_their_order() {
        let mut outbox = Outbox::default();
        let partition = PartitionId::new(TopicId::ZERO, PartitionIndex::new(0));
        let answer =
            |number| EtcdEvent::Transacted { partition, number, outcome: Outcome::Conflict };
        outbox.push(answer(1));
        outbox.push(EtcdEvent::Lease(LeaseEvent::Lost));
        outbox.push(answer(2));
        let told: Vec<_> = std::iter::from_fn(|| outbox.pop()).collect();
        assert_eq!(told, [answer(1), EtcdEvent::Lease(LeaseEvent::Lost), answer(2)]);
    }
}
