//! What replicas of a partition say to each other.
//!
//! ```text
//!  leader                                   follower
//!    │ Fence ─────────────────────────────────▶ │ promise made durable (R4)
//!    │ ◀──────────────────────────────── Fenced │ position, epoch table
//!    │ Match, or Start ───────────────────────▶ │ cut at the last common position (R9), or reset
//!    │ ◀────────────────────────────── Appended │
//!    │ Append, Append, … ─────────────────────▶ │ batches and marks
//!    │ ◀────────────────────────────── Appended │ what is durable
//!
//!  candidate                                best replica
//!    │ Fetch ─────────────────────────────────▶ │
//!    │ ◀──────────────────── Fetched, or Start │ what the candidate lacks (R5)
//! ```
//!
//! Messages may be lost, repeated, and overtake each other, also across a restart of either end: every
//! one of them is either true for as long as its epoch lasts, or says what it was true of.

use forebay_format::{BatchMeta, Epoch, EpochTable, LogState, Offset, Position, ReplicaId};

use crate::metadata::UncleanElection;

/// A message between two replicas of one partition.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// R4: promise to take nothing older than `epoch`, then say where your log ends.
    Fence {
        /// The leader's epoch.
        epoch: Epoch,
        /// Whether Q replicas have promised this epoch to the sender. Until then it is a candidate,
        /// to whom an epoch is promised only once.
        established: bool,
        /// Version of the partition's state that the leader works with (R2).
        state_version: u64,
    },
    /// The answer, after the promise is durable.
    Fenced {
        /// The epoch that was promised.
        epoch: Epoch,
        /// Where the log ends.
        report: Box<LogReport>,
    },
    /// The answer to whatever is older than the promise.
    Refused {
        /// The epoch of the message that is refused.
        epoch: Epoch,
        /// The promise.
        promised: Epoch,
    },
    /// R5: send a candidate what it lacks.
    Fetch {
        /// The candidate's epoch.
        epoch: Epoch,
        /// The replica that is meant; another one that has come in its place does not answer (R11).
        replica: ReplicaId,
        /// What the candidate has.
        after: Position,
    },
    /// Batches of the log of `replica` that follow `after`.
    Fetched {
        /// The candidate's epoch.
        epoch: Epoch,
        /// Whose log.
        replica: ReplicaId,
        /// What they follow.
        after: Position,
        /// In order, without a gap. Not empty unless `after` is the end of the log.
        batches: Vec<BatchMeta>,
    },
    /// R9: where the follower's log and the leader's part.
    Match {
        /// The leader's epoch.
        epoch: Epoch,
        /// The end of the follower's log that this is the answer to. Of any other log it says nothing.
        asked: Position,
        /// The last common position. What the follower has beyond goes.
        common: Position,
        /// The unclean elections on record.
        unclean: Vec<UncleanElection>,
    },
    /// The receiver's log ends below the sender's log start: it begins anew there.
    Start {
        /// The leader's or candidate's epoch.
        epoch: Epoch,
        /// The end of the receiver's log that this is the answer to.
        asked: Position,
        /// What a log knows that begins there: header and producer snapshot of the sender's first segment.
        at: Box<LogState>,
    },
    /// Batches and marks. Without batches: the marks alone, and a question for an [`Message::Appended`].
    Append {
        /// The leader's epoch.
        epoch: Epoch,
        /// What the batches follow in the leader's log.
        after: Position,
        /// In order, without a gap.
        batches: Vec<BatchMeta>,
        /// The quorum's committed end (R6).
        committed: Position,
        /// The log start that the leader has decided.
        log_start: Offset,
        /// Version of the partition's state that the leader works with (R2).
        state_version: u64,
    },
    /// What a matched follower has.
    Appended {
        /// The leader's epoch.
        epoch: Epoch,
        /// The follower's replica (R11).
        replica: ReplicaId,
        /// End of its log.
        appended: Position,
        /// End of what is on its stable storage.
        durable: Position,
    },
    /// The follower has not been matched with this leader since it started.
    NotMatched {
        /// The leader's epoch.
        epoch: Epoch,
    },
}

/// What a replica says of itself when it has promised.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogReport {
    /// Who it is (R11).
    pub replica: ReplicaId,
    /// Where its log ends, all of it durable.
    pub position: Position,
    /// Where its log begins.
    pub log_start: Offset,
    /// Its epochs (R9).
    pub epochs: EpochTable,
    /// A committed mark that it has known.
    pub committed: Offset,
    /// The highest version of the partition's state that it saw (R2).
    pub state_version: u64,
}

impl Message {
    /// The epoch that the message belongs to.
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Fence { epoch, .. }
            | Self::Fenced { epoch, .. }
            | Self::Refused { epoch, .. }
            | Self::Fetch { epoch, .. }
            | Self::Fetched { epoch, .. }
            | Self::Match { epoch, .. }
            | Self::Start { epoch, .. }
            | Self::Append { epoch, .. }
            | Self::Appended { epoch, .. }
            | Self::NotMatched { epoch } => *epoch,
        }
    }
}
