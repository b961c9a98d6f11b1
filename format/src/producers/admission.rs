//! What to do with a batch that a producer sends.

use thiserror::Error;

use super::producer::RememberedBatch;
use crate::numbers::{ProducerEpoch, Sequence};

/// A batch that may be answered with an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is new.
    Append,
    /// It was appended before. To be answered with these facts once they are committed.
    Duplicate(RememberedBatch),
}

/// A batch that must not be appended.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProducerError {
    /// Another process has taken the producer id up since.
    #[error("producer epoch {found} is over, the present one is {current}")]
    StaleEpoch {
        /// Epoch of the batch.
        found: ProducerEpoch,
        /// Highest epoch seen.
        current: ProducerEpoch,
    },
    /// Nothing is known of this producer, so whether this is a retry cannot be told. It has to start
    /// again, with a new id or at sequence zero.
    #[error("unknown producer: expected sequence 0, found {found}")]
    UnknownProducer {
        /// Sequence of the batch.
        found: Sequence,
    },
    /// A batch before this one is missing.
    #[error("sequence gap: expected {expected}, found {found}")]
    SequenceGap {
        /// Sequence that comes next.
        expected: Sequence,
        /// Sequence of the batch.
        found: Sequence,
    },
    /// The sequence was appended before with other content, or in another batch.
    #[error("sequence {found} was used for other records; expected {expected}")]
    SequenceReused {
        /// Sequence that comes next.
        expected: Sequence,
        /// Sequence of the batch.
        found: Sequence,
    },
    /// The sequence was appended before, too long ago to prove that it was this batch. Producers
    /// with no more batches in flight than are remembered never see it.
    #[error("sequence {found} was appended before; {oldest} is the oldest remembered")]
    DuplicateForgotten {
        /// Sequence of the batch.
        found: Sequence,
        /// Sequence of the oldest batch that is remembered.
        oldest: Sequence,
    },
}
