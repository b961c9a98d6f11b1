//! Why an append, a reservation or a read did not happen. One enum per operation.

use std::path::PathBuf;

use forebay_format::batch::BatchError;
use forebay_format::{Epoch, FilePosition, NodeId, Offset, ProducerError};
use thiserror::Error;

/// A partition whose durable bytes are damaged. It serves nothing until an operator acts.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: at byte {position}, offset {offset}: {what}", .file.display())]
pub struct Corruption {
    /// The damaged file.
    pub file: PathBuf,
    /// Where in it, in bytes.
    pub position: FilePosition,
    /// The offset that should be there.
    pub offset: Offset,
    /// What is wrong, in words.
    pub what: String,
}

/// Why there is no room for an append. Nothing was appended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReserveError {
    /// No such partition on this shard.
    #[error("the partition does not exist")]
    Unknown,
    /// The disk is full, or below its reserve. Worth a retry later.
    #[error("the disk is full: {message}")]
    DiskFull {
        /// What the system said.
        message: String,
    },
    /// The partition is in quarantine.
    #[error("the partition is in quarantine: {0}")]
    Corrupt(Corruption),
    /// Opening the log failed for another reason than its contents.
    #[error("the partition cannot be opened: {message}")]
    Unavailable {
        /// What failed, in words.
        message: String,
    },
    /// The shard is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// What became of an append that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AppendError {
    /// The batch is malformed or over a limit. It is not in the log.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The batch is larger than the topic allows. It is not in the log.
    #[error("the batch has {found} bytes, this topic allows {limit}")]
    TooLarge {
        /// Bytes of the batch, header included.
        found: usize,
        /// The topic's limit in bytes.
        limit: usize,
    },
    /// A producer sent a control batch. It is not in the log.
    #[error("control batches are written by the leader only")]
    Control,
    /// Producer id, epoch and sequence do not fit what was appended before. It is not in the log.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// There was no room. It is not in the log.
    #[error(transparent)]
    Refused(#[from] ReserveError),
    /// The sequencer did not take it. It is not in the log.
    #[error(transparent)]
    NotAdmitted(#[from] WriteRefusal),
    /// The batch was appended, and whether it stays is not known: the disk failed before it was durable,
    /// or this replica stopped leading before it was committed.
    #[error("the batch was appended, but whether it stays in the log is not known")]
    Indeterminate,
}

/// Why a sequencer did not take a client's batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WriteRefusal {
    /// This node does not lead the partition.
    #[error("this node does not lead the partition, {}", leads(*.leader))]
    NotLeader {
        /// Who does, as far as is known.
        leader: Option<NodeId>,
    },
    /// This node is about to lead the partition, or is handing it over.
    #[error("the partition's leader is not ready, or is handing leadership over")]
    NotServing,
    /// Too few replicas are live.
    #[error("the partition is read-only: {live} replicas are live, {needed} are needed")]
    ReadOnly {
        /// How many are live.
        live: usize,
        /// How many must be.
        needed: usize,
    },
    /// The cluster's metadata are older than what replicas have seen of them.
    #[error("the cluster's metadata have gone back in time; an operator has to confirm them")]
    MetadataRolledBack,
    /// More replicas were asked for than there are.
    #[error("the partition has only {voters} replicas that count")]
    TooManyReplicas {
        /// How many there are.
        voters: usize,
    },
    /// Too many batches wait for their answers.
    #[error("too many batches of the partition wait for their answers")]
    Overloaded,
}

fn leads(leader: Option<NodeId>) -> String {
    leader.map_or_else(|| "nobody is known to".to_owned(), |leader| format!("node {leader} does"))
}

/// Why a read did not happen.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// No such partition on this shard.
    #[error("the partition does not exist")]
    Unknown,
    /// The offset is not in the log, or not yet.
    #[error("offset {requested} is outside the log, which holds {earliest} to {latest}")]
    OutOfRange {
        /// The offset asked for.
        requested: Offset,
        /// First offset that can be read.
        earliest: Offset,
        /// Exclusive end of what can be read.
        latest: Offset,
    },
    /// The reader has read what this replica has not got yet. Wait, or read where that came from.
    #[error("offset {requested} after epoch {epoch} is ahead of this replica")]
    Ahead {
        /// Of the record before.
        epoch: Epoch,
        /// The offset asked for.
        requested: Offset,
    },
    /// What the reader has read is not what the log holds: an unclean election has given it up.
    #[error("offsets {from} to {upto}, as they were read, are not in the log any more")]
    Lost {
        /// The first offset of which that is so.
        from: Offset,
        /// What the reader had come to, exclusive.
        upto: Offset,
    },
    /// The partition, or the part of it asked for, is damaged.
    #[error("the partition is damaged: {0}")]
    Corrupt(Corruption),
    /// Reading failed for another reason than the log's contents.
    #[error("the partition cannot be read: {message}")]
    Unavailable {
        /// What failed, in words.
        message: String,
    },
    /// The shard is stopping.
    #[error("the node is stopping")]
    Stopping,
}

impl From<ReserveError> for ReadError {
    fn from(error: ReserveError) -> Self {
        match error {
            ReserveError::Unknown => Self::Unknown,
            ReserveError::DiskFull { message } | ReserveError::Unavailable { message } => {
                Self::Unavailable { message }
            }
            ReserveError::Corrupt(corruption) => Self::Corrupt(corruption),
            ReserveError::Stopping => Self::Stopping,
        }
    }
}
