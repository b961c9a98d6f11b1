//! Histories in a few words. A story begins with three voters, node 1 leading in epoch 1, and every
//! record is of epoch 1 unless it says otherwise.

use forebay_checker::{
    AttemptId, ConsumerId, Event, FinalReplica, History, Invariant, LogView, Outcome, Produce,
    Record, Stamp, Value, Voter, WriteConcern, check,
};
use forebay_format::{Epoch, NodeId, Offset, ProducerEpoch, ProducerId, ReplicaId, Sequence};

/// A history in the making.
pub(crate) struct Story {
    history: History,
    attempts: u64,
}

pub(crate) const CONSUMER: ConsumerId = ConsumerId(1);

pub(crate) fn node(number: u32) -> NodeId {
    NodeId::new(number)
}

pub(crate) fn record(offset: u64, value: u64) -> Record {
    record_of(1, offset, value)
}

pub(crate) fn record_of(epoch: u64, offset: u64, value: u64) -> Record {
    Record { offset: Offset::new(offset), epoch: Epoch::new(epoch), value: Value(value) }
}

/// A log of epoch 1 that begins at offset 0, all of it committed.
pub(crate) fn log(values: &[u64]) -> LogView {
    log_from(0, (0..).zip(values).map(|(offset, value)| record(offset, *value)).collect())
}

pub(crate) fn log_from(log_start: u64, records: Vec<Record>) -> LogView {
    let log_start = Offset::new(log_start);
    let committed = log_start + records.len() as u64;
    LogView { log_start, committed, records }
}

pub(crate) fn replica(number: u32, log: LogView) -> FinalReplica {
    FinalReplica { node: node(number), end: log.committed, log }
}

pub(crate) fn voters(replicas: &[(u32, u128)]) -> Vec<Voter> {
    let voter = |(number, id): &(u32, u128)| Voter {
        node: node(*number),
        replica: ReplicaId::from_u128(*id),
    };
    replicas.iter().map(voter).collect()
}

impl Story {
    pub(crate) fn new() -> Self {
        let mut story = Self { history: History::new(), attempts: 0 };
        story.leads(1, 1);
        story
    }

    pub(crate) fn then(&mut self, event: Event) -> &mut Self {
        let at_ms = self.history.len() as u64 * 10;
        self.history.push(at_ms, event);
        self
    }

    /// `leader` takes over in `epoch`.
    pub(crate) fn leads(&mut self, leader: u32, epoch: u64) -> &mut Self {
        self.then(Event::StateWritten {
            by: node(leader),
            epoch: Epoch::new(epoch),
            leader: node(leader),
            voters: voters(&[(1, 11), (2, 12), (3, 13)]),
            next_voters: None,
            in_sync: vec![node(1), node(2), node(3)],
        })
    }

    fn sends_as(
        &mut self,
        values: &[u64],
        concern: WriteConcern,
        stamp: Option<Stamp>,
    ) -> AttemptId {
        self.attempts += 1;
        let attempt = AttemptId(self.attempts);
        let values = values.iter().copied().map(Value).collect();
        self.then(Event::Produce(Produce { attempt, values, concern, stamp }));
        attempt
    }

    pub(crate) fn sends(&mut self, values: &[u64], concern: WriteConcern) -> AttemptId {
        self.sends_as(values, concern, None)
    }

    /// An idempotent producer sends, its first record at `sequence`.
    pub(crate) fn sends_stamped(&mut self, sequence: u64, values: &[u64]) -> AttemptId {
        let stamp = Stamp {
            producer: ProducerId::from_u128(7),
            epoch: ProducerEpoch::ZERO,
            first_sequence: Sequence::new(sequence),
        };
        self.sends_as(values, WriteConcern::Quorum, Some(stamp))
    }

    pub(crate) fn ends(&mut self, attempt: AttemptId, outcome: Outcome) -> &mut Self {
        self.then(Event::ProduceEnded { attempt, outcome })
    }

    pub(crate) fn refused(&mut self, attempt: AttemptId) -> &mut Self {
        self.ends(attempt, Outcome::Refused { reason: "read-only".to_owned() })
    }

    /// Node `by` acknowledges in `epoch`.
    pub(crate) fn acks_as(
        &mut self,
        attempt: AttemptId,
        at: u64,
        by: u32,
        epoch: u64,
    ) -> &mut Self {
        let (by, epoch, base_offset) = (node(by), Epoch::new(epoch), Some(Offset::new(at)));
        self.ends(attempt, Outcome::Acked { by, epoch, base_offset, durable_on: 1 })
    }

    pub(crate) fn acks(&mut self, attempt: AttemptId, at: u64) -> &mut Self {
        self.acks_as(attempt, at, 1, 1)
    }

    /// Records are sent and acknowledged at offset `at`.
    pub(crate) fn writes(&mut self, values: &[u64], concern: WriteConcern, at: u64) -> &mut Self {
        let attempt = self.sends(values, concern);
        self.acks(attempt, at)
    }

    pub(crate) fn loses_disk(&mut self, number: u32, replica: u128) -> &mut Self {
        self.then(Event::DiskLost { node: node(number), replica: ReplicaId::from_u128(replica) })
    }

    pub(crate) fn consumes(&mut self, records: Vec<Record>) -> &mut Self {
        self.then(Event::Read { consumer: CONSUMER, from: node(2), records })
    }

    pub(crate) fn shows(&mut self, number: u32, log: LogView) -> &mut Self {
        self.then(Event::LogSeen { node: node(number), log })
    }

    pub(crate) fn ends_with(&mut self, replicas: Vec<FinalReplica>) -> &mut Self {
        self.then(Event::Ended { bound_ms: 1000, replicas })
    }

    /// Which invariants are broken, each once.
    pub(crate) fn broken(&self) -> Vec<Invariant> {
        let mut broken: Vec<_> =
            check(&self.history).into_iter().map(|violation| violation.invariant).collect();
        broken.sort_unstable();
        broken.dedup();
        broken
    }

    /// The judgement as people read it.
    pub(crate) fn told(&self) -> Vec<String> {
        check(&self.history).iter().map(ToString::to_string).collect()
    }
}
