//! Why a file of the log, or its first block, could not be decoded.
//!
//! One enum for all kinds: what callers do differently depends on the variant (bytes of a later
//! version are not corruption), and each kind has the same ways to be wrong.

use std::fmt;

use thiserror::Error;

/// What the bytes were supposed to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// First block of a `.log` file.
    SegmentHeader,
    /// `.idx` file.
    Index,
    /// `.producers` file.
    ProducerSnapshot,
    /// `meta` file of a partition.
    PartitionMeta,
    /// `clean` file of a data directory.
    Clean,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SegmentHeader => "segment header",
            Self::Index => "index",
            Self::ProducerSnapshot => "producer snapshot",
            Self::PartitionMeta => "partition meta",
            Self::Clean => "clean file",
        })
    }
}

/// Why bytes are not what they were supposed to be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FileError {
    /// Shorter or longer than the bytes themselves say.
    #[error("{kind}: expected {expected} bytes, found {found}")]
    Length {
        /// What was decoded.
        kind: FileKind,
        /// Bytes given.
        found: usize,
        /// Bytes needed.
        expected: usize,
    },
    /// Something else altogether, or never written.
    #[error("{kind}: expected magic {expected:#010x}, found {found:#010x}")]
    Magic {
        /// What was decoded.
        kind: FileKind,
        /// The first four bytes.
        found: u32,
        /// What they should be.
        expected: u32,
    },
    /// Written by a later release.
    #[error("{kind}: this release reads version {expected}, found {found}")]
    Version {
        /// What was decoded.
        kind: FileKind,
        /// Version in the bytes.
        found: u8,
        /// Version that is understood.
        expected: u8,
    },
    /// Some bit is not what was written.
    #[error("{kind}: expected checksum {expected:#010x}, found {found:#010x}")]
    Checksum {
        /// What was decoded.
        kind: FileKind,
        /// Checksum of the bytes as they are.
        found: u32,
        /// Checksum that they carry.
        expected: u32,
    },
    /// The checksum holds, and still the content makes no sense.
    #[error("{kind}: {field} should be {expected}, found {found}")]
    Malformed {
        /// What was decoded.
        kind: FileKind,
        /// The field's name.
        field: &'static str,
        /// Its value.
        found: u64,
        /// What it should be.
        expected: &'static str,
    },
}
