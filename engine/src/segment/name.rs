//! Where the files of one partition lie.

use std::path::{Path, PathBuf};

use forebay_format::Offset;
use forebay_format::names::{META_FILE, NOTE_FILE, SegmentFile, segment_file_name};

/// A partition's directory, as the base of its files' paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentPath(PathBuf);

impl SegmentPath {
    /// The directory of a partition.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// The directory itself.
    pub(crate) fn directory(&self) -> &Path {
        &self.0
    }

    /// The file of one kind at one offset.
    pub(crate) fn file(&self, kind: SegmentFile, offset: Offset) -> PathBuf {
        self.0.join(segment_file_name(offset, kind))
    }

    /// What the driver of a replica keeps.
    pub(crate) fn note(&self) -> PathBuf {
        self.0.join(NOTE_FILE)
    }

    /// The partition's meta.
    pub(crate) fn meta(&self) -> PathBuf {
        self.0.join(META_FILE)
    }
}
