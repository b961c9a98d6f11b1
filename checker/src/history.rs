//! What a history is made of: plain events with public fields, that any rig can write.
//!
//! A history is about one partition. Times are milliseconds on one clock of the observer; events
//! stand in the order in which the observer saw them.

use forebay_format::{Epoch, NodeId, Offset, ProducerEpoch, ProducerId, ReplicaId, Sequence};

/// What a record holds, as a number: equal numbers mean equal content. Every record that a client
/// means to write has a number of its own; a retry has the same ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub u64);

/// One call of a produce. A retry is another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub u64);

/// One consumer, that reads a partition from some offset on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerId(pub u64);

/// A record in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Its place.
    pub offset: Offset,
    /// Epoch of the leader that appended it.
    pub epoch: Epoch,
    /// What it holds.
    pub value: Value,
}

/// When a produce is answered, and so what the answer promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteConcern {
    /// At once. Promises nothing.
    None,
    /// When the leader has synced it. Lost when another node takes over.
    Leader,
    /// When it is committed. Survives any minority of disks.
    Quorum,
    /// When it is committed and every in-sync replica has synced it.
    All,
    /// When so many replicas have synced it: as `Leader` below a quorum, as `Quorum` from there on.
    Replicas(u32),
}

/// Where a batch stands among those of its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The producer.
    pub producer: ProducerId,
    /// Its life.
    pub epoch: ProducerEpoch,
    /// Sequence of the first record.
    pub first_sequence: Sequence,
}

/// A client sends records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Produce {
    /// This call.
    pub attempt: AttemptId,
    /// The records, in order.
    pub values: Vec<Value>,
    /// When it wants to be answered.
    pub concern: WriteConcern,
    /// Who sends, when its retries are to be recognised.
    pub stamp: Option<Stamp>,
}

/// How a produce ended for the client. One without an outcome counts as [`Outcome::Unknown`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was acknowledged.
    Acked {
        /// Who answered.
        by: NodeId,
        /// Epoch in which it was answered; that of the records may be older, for a duplicate.
        epoch: Epoch,
        /// Offset of the first record; unknown to the client for write concern `None`.
        base_offset: Option<Offset>,
        /// How many replicas had synced it, as the server says.
        durable_on: u32,
    },
    /// It was refused, with our own reason: the server says that it is not, and never will be, in the log.
    Refused {
        /// The reason, for people.
        reason: String,
    },
    /// The server says that it does not know.
    Indeterminate,
    /// A connection broke, a time ran out: the client does not know.
    Unknown,
}

/// A replica that votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voter {
    /// The node.
    pub node: NodeId,
    /// The replica on its disk.
    pub replica: ReplicaId,
}

/// The log of a replica, as far as it is committed there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogView {
    /// Offset of the first record that still counts.
    pub log_start: Offset,
    /// The committed mark of this replica: an exclusive end.
    pub committed: Offset,
    /// The records from log start to committed mark.
    pub records: Vec<Record>,
}

/// A replica at the end of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinalReplica {
    /// Where.
    pub node: NodeId,
    /// Where its log ends, committed or not: an exclusive end.
    pub end: Offset,
    /// What of it is committed.
    pub log: LogView,
}

/// Why a consumer goes on elsewhere than where it stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// What it wanted was below the log start.
    ToLogStart,
    /// It was told that records from there on were lost.
    DataLost,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A client called produce.
    Produce(Produce),
    /// The call ended.
    ProduceEnded {
        /// Which call.
        attempt: AttemptId,
        /// How.
        outcome: Outcome,
    },
    /// For an observer that sees the disks: which replicas have ever synced all records of an acknowledged call,
    /// at the offsets that were acknowledged, up to the moment of the answer. Stands after the answer.
    Copies {
        /// Which call.
        attempt: AttemptId,
        /// The replicas. One that came after its node's disk was lost is another one.
        synced_on: Vec<Voter>,
        /// Those of them that already had when the node that answered last learnt of the shared state
        /// ([`Event::StateLearnt`]); none, if it has not.
        synced_before: Vec<Voter>,
    },
    /// A consumer begins, or begins anew by its own will, at an offset.
    ConsumerStarted {
        /// Who.
        consumer: ConsumerId,
        /// The offset it wants first.
        at: Offset,
    },
    /// A consumer was given records.
    Read {
        /// Who.
        consumer: ConsumerId,
        /// By whom.
        from: NodeId,
        /// What.
        records: Vec<Record>,
    },
    /// A consumer was told to go on elsewhere.
    ConsumerMoved {
        /// Who.
        consumer: ConsumerId,
        /// The offset it wants next.
        to: Offset,
        /// Why.
        why: Moved,
    },
    /// A process starts on what its disk holds.
    ProcessStarted {
        /// Where.
        node: NodeId,
        /// The replica on its disk.
        replica: ReplicaId,
        /// What that has promised.
        promised: Epoch,
    },
    /// A process ended, however.
    ProcessEnded {
        /// Where.
        node: NodeId,
    },
    /// What this replica held is gone, or is damaged.
    DiskLost {
        /// Where.
        node: NodeId,
        /// Which replica.
        replica: ReplicaId,
    },
    /// A replica made a promise durable.
    Promised {
        /// Where.
        node: NodeId,
        /// Which replica.
        replica: ReplicaId,
        /// Nothing older than this is taken any more.
        epoch: Epoch,
    },
    /// The committed mark of a running process moved.
    Committed {
        /// Where.
        node: NodeId,
        /// Where the mark was: an exclusive end.
        from: Offset,
        /// Where it is.
        to: Offset,
        /// The records between.
        records: Vec<Record>,
    },
    /// All that a replica holds below its committed mark.
    LogSeen {
        /// Where.
        node: NodeId,
        /// What.
        log: LogView,
    },
    /// The log start of a replica moved.
    LogStartMoved {
        /// Where.
        node: NodeId,
        /// The log start now.
        to: Offset,
    },
    /// The shared state of the partition was written.
    StateWritten {
        /// Who wrote it.
        by: NodeId,
        /// Its epoch.
        epoch: Epoch,
        /// The node that it names as leader.
        leader: NodeId,
        /// Who votes.
        voters: Vec<Voter>,
        /// Who votes next, while a change is under way.
        next_voters: Option<Vec<Voter>>,
        /// The in-sync replicas.
        in_sync: Vec<NodeId>,
    },
    /// For an observer that sees the nodes: this one has learnt of the shared state as it was written last.
    /// Until a leader has, it goes by the state before, which it knows that it was asked to replace.
    StateLearnt {
        /// Who.
        node: NodeId,
    },
    /// The metadata store was restored from a snapshot: the shared state may be an older one.
    MetadataRestored,
    /// A leader moved the committed mark.
    LeaderCommitted {
        /// Who.
        node: NodeId,
        /// In which epoch.
        epoch: Epoch,
    },
    /// An operator had a leader elected without a quorum.
    UncleanElection {
        /// The epoch that begins with it.
        epoch: Epoch,
        /// What stood from here on may be lost.
        lost_from: Offset,
    },
    /// From here on there are no faults, and none is at work.
    Healed,
    /// The history ends. What is listed should have caught up.
    Ended {
        /// How long after [`Event::Healed`] everything has to be caught up.
        bound_ms: u64,
        /// The replicas of the partition.
        replicas: Vec<FinalReplica>,
    },
}

impl Event {
    /// The committed records that this event shows, in pieces of one log each, with the node that showed them.
    pub(crate) fn shown(&self) -> impl Iterator<Item = (NodeId, &[Record])> {
        let (one, many): (Option<(NodeId, &[Record])>, &[FinalReplica]) = match self {
            Self::Read { from: node, records, .. } | Self::Committed { node, records, .. } => {
                (Some((*node, records)), &[])
            }
            Self::LogSeen { node, log } => (Some((*node, &log.records)), &[]),
            Self::Ended { replicas, .. } => (None, replicas),
            _ => (None, &[]),
        };
        let last = many.iter().map(|replica| (replica.node, replica.log.records.as_slice()));
        one.into_iter().chain(last)
    }
}

/// What happened to one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    events: Vec<(u64, Event)>,
}

impl History {
    /// A history in which nothing has happened.
    pub const fn new() -> Self {
        Self { events: Vec::new() }
    }

    /// Adds what happened `at_ms`, after everything before.
    pub fn push(&mut self, at_ms: u64, event: Event) {
        self.events.push((at_ms, event));
    }

    /// The log that counts at the end, the one with the highest mark, and the place of the end.
    pub(crate) fn final_log(&self) -> Option<(usize, &FinalReplica)> {
        self.iter().rev().find_map(|(index, _, event)| {
            let Event::Ended { replicas, .. } = event else { return None };
            Some((index, replicas.iter().max_by_key(|replica| replica.log.committed)?))
        })
    }

    /// How many events there are.
    pub const fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing has happened.
    pub const fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// When the event at `index` happened, and what it was.
    pub fn get(&self, index: usize) -> Option<&(u64, Event)> {
        self.events.get(index)
    }

    /// All events with their place and time.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (usize, u64, &Event)> {
        self.events.iter().enumerate().map(|(index, (at_ms, event))| (index, *at_ms, event))
    }
}
