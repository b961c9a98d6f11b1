//! The index of the active segment, in memory: which batches get an entry.

use forebay_format::index::IndexEntries;
use forebay_format::{FilePosition, IndexEntry, IndexWriter, Offset, SegmentSalt, TimestampMs};

/// Distance of the entries when an index is rebuilt from its log, in bytes.
pub(crate) const REBUILD_INTERVAL_BYTES: u64 = 32 << 10;

/// Entries so far, and where the next one is due.
#[derive(Debug)]
pub(crate) struct ActiveIndex {
    base_offset: Offset,
    interval_bytes: u64,
    /// `None` until the first batch gives the time that entries count from.
    writer: Option<IndexWriter>,
    due_at: FilePosition,
}

impl ActiveIndex {
    /// An index with an entry for the first batch at or after each `interval_bytes`.
    pub(crate) fn new(base_offset: Offset, interval_bytes: u64) -> Self {
        Self { base_offset, interval_bytes, writer: None, due_at: FilePosition::ZERO }
    }

    /// Tells of a batch at `position` that begins at `offset`. Batches come in order.
    pub(crate) fn note(&mut self, offset: Offset, position: FilePosition, time: TimestampMs) {
        if position < self.due_at {
            return;
        }
        let writer = self.writer.get_or_insert_with(|| IndexWriter::new(self.base_offset, time));
        // A batch that fits no entry gets none: readers start at the last one before it, and walk.
        if writer.push(offset, position, time).is_ok() {
            self.due_at = position + self.interval_bytes;
        }
    }

    /// Whether a batch of this offset and time can have an entry.
    pub(crate) fn has_room(
        &self,
        offset: Offset,
        position: FilePosition,
        time: TimestampMs,
    ) -> bool {
        self.writer.as_ref().is_none_or(|writer| writer.check(offset, position, time).is_ok())
    }

    /// Append time of the first batch; `None` while there is none.
    pub(crate) fn base_time(&self) -> Option<TimestampMs> {
        self.writer.as_ref().map(IndexWriter::base_time)
    }

    /// The last entry at or before `position`.
    pub(crate) fn at_or_before(&self, position: FilePosition) -> Option<IndexEntry> {
        self.search(|entry| entry.position() <= position)
    }

    /// The first entry behind `position`.
    pub(crate) fn after(&self, position: FilePosition) -> Option<IndexEntry> {
        let entries = self.entries()?;
        entries.get(entries.partition_point(|entry| entry.position() <= position))
    }

    /// Position of the last entry at or before `offset`.
    pub(crate) fn before_offset(&self, offset: Offset) -> Option<FilePosition> {
        let relative = offset.checked_sub(self.base_offset)?;
        self.entries()?.lookup_offset(relative).map(|entry| entry.position())
    }

    /// Position of the last entry that is surely before the first batch of `time` or later.
    pub(crate) fn before_time(&self, time: TimestampMs) -> Option<FilePosition> {
        let delta = time.saturating_since(self.base_time()?);
        self.entries()?.lookup_time(delta).map(|entry| entry.position())
    }

    /// The index file of the segment as it ends now.
    pub(crate) fn image(
        &self,
        salt: SegmentSalt,
        end: FilePosition,
        chain: super::Chain,
    ) -> Vec<u8> {
        let empty = || IndexWriter::new(self.base_offset, chain.append_time);
        let writer = self.writer.clone().unwrap_or_else(empty);
        writer.seal(salt, chain.next_offset, end, chain.append_time)
    }

    fn entries(&self) -> Option<IndexEntries<'_>> {
        self.writer.as_ref().map(IndexWriter::entries)
    }

    fn search(&self, first_ones: impl Fn(IndexEntry) -> bool) -> Option<IndexEntry> {
        let entries = self.entries()?;
        entries.get(entries.partition_point(first_ones).checked_sub(1)?)
    }
}
