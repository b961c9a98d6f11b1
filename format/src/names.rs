//! Names of files and directories of the log.
//!
//! ```text
//! <data>/clean
//! <data>/quarantine/<topic id>/<partition>.<number>/
//! <data>/<topic id, 32 hex digits>/<partition>/meta|state
//! <data>/<topic id, 32 hex digits>/<partition>/<base offset, 20 digits>.log|.idx|.producers
//! ```

use std::path::PathBuf;

use crate::ids::PartitionId;
use crate::numbers::Offset;

/// What a clean stop leaves in the data directory.
pub const CLEAN_FILE: &str = "clean";

/// Where damaged partitions are put, below the data directory: `<topic id>/<partition>.<number>`.
pub const QUARANTINE_DIRECTORY: &str = "quarantine";

/// What a partition replica remembers beside its log.
pub const META_FILE: &str = "meta";

/// What whoever drives a replica keeps beside its log: the partition's state as it was known last.
pub const NOTE_FILE: &str = "state";

const BASE_OFFSET_DIGITS: usize = 20;

/// The files that begin at one base offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentFile {
    /// Batches.
    Log,
    /// Sparse index of a segment that is sealed or closed.
    Index,
    /// Producer table as it was before the first batch.
    Producers,
}

impl SegmentFile {
    const fn extension(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Index => "idx",
            Self::Producers => "producers",
        }
    }
}

/// Directory of a partition, below the data directory.
pub fn partition_directory(partition: PartitionId) -> PathBuf {
    PathBuf::from(partition.topic.to_string()).join(partition.partition.to_string())
}

/// Name of a file that begins at `base_offset`. The digits make names sort like offsets.
pub fn segment_file_name(base_offset: Offset, file: SegmentFile) -> String {
    format!("{:0width$}.{}", base_offset.get(), file.extension(), width = BASE_OFFSET_DIGITS)
}

/// What [`segment_file_name`] was called with; `None` for any other name.
pub fn parse_segment_file_name(name: &str) -> Option<(Offset, SegmentFile)> {
    let (digits, extension) = name.split_once('.')?;
    let file = [SegmentFile::Log, SegmentFile::Index, SegmentFile::Producers]
        .into_iter()
        .find(|file| file.extension() == extension)?;
    let plain = digits.len() == BASE_OFFSET_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    let offset = plain.then(|| digits.parse().ok()).flatten()?;
    Some((Offset::new(offset), file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{PartitionIndex, TopicId};

    #[test]
    fn names_are_as_documented_and_read_back() {
        let names = [
            (0, SegmentFile::Log, "00000000000000000000.log"),
            (1234, SegmentFile::Index, "00000000000000001234.idx"),
            (u64::MAX, SegmentFile::Producers, "18446744073709551615.producers"),
        ];
        for (offset, file, name) in names {
            assert_eq!(segment_file_name(Offset::new(offset), file), name);
            assert_eq!(parse_segment_file_name(name), Some((Offset::new(offset), file)));
        }
        let partition = PartitionId::new(TopicId::from_u128(0xab), PartitionIndex::new(12));
        let directory = PathBuf::from("000000000000000000000000000000ab/12");
        assert_eq!(partition_directory(partition), directory);
    }

    #[test]
    fn other_names_are_nobodys_segment() {
        let others = [
            "",
            "meta",
            "0.log",
            "+0000000000000000000.log",
            "00000000000000000000.log.tmp",
            "00000000000000000000",
            "99999999999999999999.log",
        ];
        for name in others {
            assert_eq!(parse_segment_file_name(name), None, "{name}");
        }
    }
}
