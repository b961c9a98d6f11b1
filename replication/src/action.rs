//! What a replica wants done, and what it answers.

use forebay_format::{
    BatchMeta, Epoch, LogState, NodeId, Offset, PartitionMeta, Position, ProducerError,
};

use crate::concern::WriteConcern;
use crate::event::Token;
use crate::message::Message;
use crate::metadata::{PartitionState, Transaction};
use crate::time::Instant;

/// Something to be done, in the order given. Log actions are queued to the log's one appender; nothing
/// here waits for its completion.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Append these batches. Answered by `LogEvent::Durable` once they are on stable storage.
    Append(Vec<BatchMeta>),
    /// Remove every batch whose end position is above this, durably. Answered by `LogEvent::CutDone`.
    Cut(Position),
    /// Remove everything and begin anew with this, durably. Answered by `LogEvent::ResetDone`.
    Reset(Box<LogState>),
    /// Records before this offset may be deleted; the log start is durable in the meta. What stands at this
    /// very offset must stay, also a batch without records: an epoch's first batch may not be committed, and
    /// a log that begins behind it could not be cut there.
    Trim(Offset),
    /// Put this meta on stable storage. Answered by `LogEvent::MetaDurable` with the number.
    PersistMeta {
        /// Grows by one.
        number: u64,
        /// `pending_cut` is the log's own and always `None` here.
        meta: PartitionMeta,
    },
    /// Put this copy of the state on stable storage some time soon, in the place of the one before: the
    /// replica remembers who its voters are when the metadata store does not (R2).
    KeepState(Box<PartitionState>),
    /// Send this.
    Send(NodeId, Message),
    /// Read batches of the log that follow `after`, put them into `envelope` (a [`Message::Append`] or
    /// [`Message::Fetched`] that has none), send it, and say how far that went with `LogEvent::Sent`. At
    /// least one batch if there is one. Of a `Fetched`, only durable ones. When what follows `after` is not
    /// stored any more, nothing is sent, and the log event has `upto` equal to `after`.
    SendBatches {
        /// To whom.
        to: NodeId,
        /// The first batch is the first whose end position is above this.
        after: Position,
        /// At most so many; fewer when they are large.
        batches_max: usize,
        /// R14: far behind. Read in large pieces, on a queue that gives way to live appends.
        catching_up: bool,
        /// What they are put into.
        envelope: Message,
    },
    /// Send a [`Message::Start`] of the first batch at or before the log start that a segment begins with,
    /// like [`Action::Trim`] never one behind a batch at the log start itself.
    SendStart {
        /// To whom.
        to: NodeId,
        /// Its epoch.
        epoch: Epoch,
        /// Its `asked`.
        asked: Position,
    },
    /// Carry out a transaction. Answered by `Event::Transacted` with the number.
    Transact {
        /// Grows by one.
        number: u64,
        /// What and when.
        transaction: Box<Transaction>,
    },
    /// Read all keys of the partition, linearizably. Answered by `Event::Observed`, if ever.
    ReadMetadata {
        /// Grows by one.
        number: u64,
    },
    /// Answer a write.
    Answer(Token, Answer),
    /// Answer a read.
    AnswerRead(Token, ReadAnswer),
    /// Answer a command.
    AnswerCommand(Token, Result<(), CommandRefusal>),
    /// Marks of this replica have moved.
    Publish(Marks),
    /// This replica's part has changed.
    Became(Part),
    /// Tell people.
    Alarm(Alarm),
    /// Hand in `Event::Tick` at this time. Takes the place of the one asked for before.
    Wake(Instant),
}

/// The list that a replica adds its actions to. Reused, so that it is rarely allocated.
#[derive(Debug, Default)]
pub struct Actions {
    list: Vec<Action>,
}

impl Actions {
    /// An empty list.
    pub const fn new() -> Self {
        Self { list: Vec::new() }
    }

    /// Adds one.
    pub fn push(&mut self, action: Action) {
        self.list.push(action);
    }

    /// Takes all of them, in order, and leaves the list empty.
    pub fn drain(&mut self) -> impl Iterator<Item = Action> + '_ {
        self.list.drain(..)
    }

    /// Those that are there, in order.
    pub fn as_slice(&self) -> &[Action] {
        &self.list
    }

    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        self.push(Action::Send(to, message));
    }
}

/// What a write is answered. After it was appended it is `Acked` or `Indeterminate`, never `Refused` (R6).
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The write concern is met.
    Acked {
        /// Offset of the first record.
        base_offset: Offset,
        /// Epoch that it was appended in.
        epoch: Epoch,
        /// On how many voters it is durable; 0 for write concern none.
        durable_replicas: usize,
        /// The write concern that is met.
        concern: WriteConcern,
    },
    /// Not appended, by this attempt.
    Refused(WriteRefusal),
    /// Appended, and whether it stays is not known.
    Indeterminate {
        /// Where it was appended.
        base_offset: Offset,
    },
}

/// Why a write was not appended.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteRefusal {
    /// This replica does not lead.
    NotLeader {
        /// Who does, as far as is known.
        leader: Option<NodeId>,
    },
    /// It is to lead, but the epoch has not started, or leadership is being handed over.
    NotServing,
    /// R8: too few live replicas.
    ReadOnly {
        /// How many are live.
        live: usize,
        /// How many must be.
        needed: usize,
    },
    /// R2: metadata went back, and no operator has confirmed it.
    MetadataRolledBack,
    /// More replicas were asked for than there are voters.
    TooManyReplicas {
        /// Voters.
        voters: usize,
    },
    /// R10: out of sequence.
    Producer(ProducerError),
    /// Too many writes wait for their answers.
    Overloaded,
}

/// What a read is answered (R13).
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadAnswer {
    /// Read from the offset asked for up to here, exclusive.
    Readable {
        /// Committed end of this replica. Above the offset.
        upto: Offset,
    },
    /// This replica has nothing committed there yet, or has not heard of the reader's epoch. Wait, or go to
    /// the leader; never reset.
    Ahead {
        /// Committed end of this replica.
        committed: Offset,
        /// Who leads, as far as is known.
        leader: Option<NodeId>,
    },
    /// The records before log start are gone, by retention.
    BelowLogStart {
        /// Where the log begins.
        log_start: Offset,
    },
    /// What this reader has read there is not what the log holds: `DATA_LOSS`.
    DataLoss {
        /// Where the two part.
        from: Offset,
        /// What the reader had come to, exclusive.
        upto: Offset,
    },
}

/// Why a command was not carried out.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandRefusal {
    /// Only a leader that serves can.
    NotLeader,
    /// Something else has to be finished first.
    Busy,
    /// The nodes named do not make sense.
    InvalidNodes,
    /// There is nothing to confirm.
    NothingToConfirm,
    /// The metadata is not known, or has changed meanwhile: try again.
    MetadataChanged,
    /// It took too long, or this replica stopped leading on the way.
    GivenUp,
}

/// What readers and people may know of a replica. All are exclusive ends.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// Offset of the first record.
    pub log_start: Offset,
    /// What may be read. Invariant: at most `durable`.
    pub committed: Offset,
    /// What is on this replica's stable storage.
    pub durable: Offset,
}

/// A replica's part in its partition.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Follows.
    Follower,
    /// Has taken over in etcd and is being elected; or lost its quorum before it served.
    Candidate(Epoch),
    /// Leads, and serves.
    Leader(Epoch),
}

/// What people must know of.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alarm {
    /// R9: told to cut below what is committed, with no unclean election on record. The replica takes
    /// part in nothing any more until people have looked at it.
    CutBelowCommitted {
        /// Where to cut.
        cut: Position,
        /// Committed, as this replica knows it.
        committed: Offset,
    },
    /// R9: a batch does not follow the one before, although positions say so. As above.
    ChainBroken {
        /// The end of this replica's log.
        at: Position,
    },
    /// R2: `METADATA_ROLLED_BACK`. Read-only until an operator confirms.
    MetadataRolledBack {
        /// Highest version that a replica saw.
        seen: u64,
        /// Version that the metadata has now; 0: it has no state.
        found: u64,
    },
}
