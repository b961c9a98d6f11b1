//! Why an append, a reservation or a read did not happen. One enum per operation.

use std::path::PathBuf;

use forebay_format::batch::BatchError;
use forebay_format::{FilePosition, Offset, ProducerError};
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
    /// The batch was appended, and the disk failed before it was durable: it may or may not be
    /// there after a restart.
    #[error("the disk failed before the batch was durable; it may be in the log or not")]
    Indeterminate,
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
