//! Why bytes are not a batch.

use thiserror::Error;

use super::client::Codec;

/// What was found and what was expected. A variant for each thing that a caller answers differently.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BatchError {
    /// Fewer (or more) bytes than the batch has.
    #[error("batch: expected {expected} bytes, found {found}")]
    Length {
        /// Bytes given.
        found: usize,
        /// Bytes needed.
        expected: usize,
    },
    /// Not the start of a batch.
    #[error("batch: expected magic {expected:#010x}, found {found:#010x}")]
    Magic {
        /// The first four bytes.
        found: u32,
        /// What they should be.
        expected: u32,
    },
    /// A batch of a later release.
    #[error("batch: this release reads version {expected}, found {found}")]
    Version {
        /// Version in the header.
        found: u8,
        /// Version that is understood.
        expected: u8,
    },
    /// More than a limit of the format allows.
    #[error("batch: {what} may be at most {max}, found {found}")]
    TooLarge {
        /// What is limited, with its unit.
        what: &'static str,
        /// Its value.
        found: u64,
        /// The limit.
        max: u64,
    },
    /// A field whose value makes no sense.
    #[error("batch: {field} should be {expected}, found {found}")]
    Malformed {
        /// The field's name.
        field: &'static str,
        /// Its value.
        found: u64,
        /// What it should be.
        expected: &'static str,
    },
    /// The records do not add up to the payload and the record count.
    #[error("batch: record {index} at payload byte {at}: {problem}")]
    Records {
        /// Which record, counted from 0.
        index: u32,
        /// Where in the payload.
        at: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The payload has to be decompressed before its records can be read.
    #[error("batch: payload is compressed with {found:?}")]
    Compressed {
        /// How.
        found: Codec,
    },
    /// Client's fields or payload are not what the client sent.
    #[error("batch: expected payload checksum {expected:#010x}, found {found:#010x}")]
    PayloadCrc {
        /// Checksum of the bytes as they are.
        found: u32,
        /// Checksum in the header.
        expected: u32,
    },
    /// Client's or leader's fields are not what the leader wrote.
    #[error("batch: expected header checksum {expected:#010x}, found {found:#010x}")]
    HeaderCrc {
        /// Checksum of the bytes as they are.
        found: u32,
        /// Checksum in the header.
        expected: u32,
    },
    /// Not written to this place of this life of this file.
    #[error("batch: expected local checksum {expected:#010x}, found {found:#010x}")]
    LocalCrc {
        /// Checksum of the bytes and the place as they are.
        found: u32,
        /// Checksum in the header.
        expected: u32,
    },
}
