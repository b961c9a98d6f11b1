//! What can go wrong with reading that the consumer does not get over by itself.

use forebay_format::{BatchError, Offset, PartitionIndex};
use thiserror::Error;

use crate::{admin::MetadataError, refusal::Refusal};

/// Why there is no consumer.
#[derive(Debug, Error)]
pub enum SubscribeError {
    /// The topic's partitions are not known.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// There is no such topic.
    #[error("topic {topic} does not exist")]
    NoTopic {
        /// Its name.
        topic: String,
    },
    /// There is no such partition.
    #[error("partition {partition} does not exist; topic {topic} has {partitions}")]
    NoSuchPartition {
        /// The topic.
        topic: String,
        /// What was asked for.
        partition: PartitionIndex,
        /// How many there are.
        partitions: usize,
    },
}

/// Why a partition is read no further. The others go on, and so does this one after a
/// [`seek`](super::Consumer::seek).
#[derive(Debug, Error)]
pub enum ConsumeError {
    /// The offset to go on at is not in the log.
    #[error(
        "offset {wanted:?} of partition {partition} is not in the log, \
         which goes from {earliest:?} to {latest:?}"
    )]
    OutOfRange {
        /// The partition.
        partition: PartitionIndex,
        /// Where it was to go on, if that was an offset.
        wanted: Option<Offset>,
        /// First offset in the log, if the server said so.
        earliest: Option<Offset>,
        /// End of the log, if the server said so.
        latest: Option<Offset>,
        /// The server's words.
        source: Box<Refusal>,
    },
    /// The server refused, and trying again cannot help.
    #[error("partition {partition} cannot be read")]
    Refused {
        /// The partition.
        partition: PartitionIndex,
        /// The server's words.
        source: Box<Refusal>,
    },
    /// What came is not what was written.
    #[error("what came of partition {partition} at offset {expected:?} is damaged")]
    Damaged {
        /// The partition.
        partition: PartitionIndex,
        /// The offset that was to come, if it was known.
        expected: Option<Offset>,
        /// What is wrong.
        source: BatchError,
    },
    /// The offsets do not follow each other.
    #[error("partition {partition} went on at offset {found} instead of {expected}")]
    Gap {
        /// The partition.
        partition: PartitionIndex,
        /// The offset that was to come.
        expected: Offset,
        /// The offset that came.
        found: Offset,
    },
}
