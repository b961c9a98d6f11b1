//! The sparse index of a segment: from an offset or a time to a place to read on from.
//!
//! The active segment's index grows in memory ([`IndexWriter`]); its bytes are those of the file, so
//! sealing it is one write. A sealed one is looked up in the bytes of its file as they lie in memory
//! ([`Index`]). An index is a cache: whatever is wrong with it, the log makes it again.

use thiserror::Error;

use crate::file_error::{FileError, FileKind};
use crate::frame::Frame;
use crate::le;
use crate::numbers::{FilePosition, Offset, SegmentSalt, TimestampMs};

/// First bytes of the file.
pub const MAGIC: u32 = u32::from_le_bytes(*b"FIDX");

/// Version that is written and read.
pub const VERSION: u8 = 1;

/// Bytes before the first entry.
pub const INDEX_HEADER_BYTES: usize = 64;

/// Bytes of an entry.
pub const INDEX_ENTRY_BYTES: usize = 12;

const AT_SALT: usize = 8;
const AT_BASE_OFFSET: usize = 16;
const AT_BASE_TIME: usize = 24;
const AT_END_OFFSET: usize = 32;
const AT_END_POSITION: usize = 40;
const AT_LAST_APPEND_TIME: usize = 48;
const AT_COUNT: usize = 56;
const AT_CRC: usize = 60;

const FRAME: Frame = Frame {
    kind: FileKind::Index,
    magic: MAGIC,
    version: VERSION,
    fixed_bytes: INDEX_HEADER_BYTES,
    at_crc: AT_CRC,
};

/// A batch, by its distance from where the segment begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IndexEntry {
    /// Its base offset, less that of the segment.
    pub relative_offset: u32,
    /// Where it lies in the file.
    pub file_position: u32,
    /// Its append time, less the base time of the index, in milliseconds.
    pub time_delta: u32,
}

impl IndexEntry {
    fn read(bytes: &[u8]) -> Self {
        Self {
            relative_offset: le::get_u32(bytes, 0),
            file_position: le::get_u32(bytes, 4),
            time_delta: le::get_u32(bytes, 8),
        }
    }

    /// Where the batch lies in the file.
    pub fn position(&self) -> FilePosition {
        FilePosition::new(self.file_position.into())
    }
}

/// What an index says about its segment as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexSummary {
    /// Salt of the segment: an index of another life of the file is of no use.
    pub salt: SegmentSalt,
    /// Base offset of the segment.
    pub base_offset: Offset,
    /// Append time of its first batch, which time deltas count from.
    pub base_time: TimestampMs,
    /// Offset after its last record.
    pub end_offset: Offset,
    /// Where its last batch ends.
    pub end_position: FilePosition,
    /// Append time of its last batch.
    pub last_append_time: TimestampMs,
}

/// The batch is too far from the start of the segment for an entry: time for a new segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{what} {found} does not fit into an index entry")]
pub struct IndexFull {
    /// Which of offset, position and time.
    pub what: &'static str,
    /// Its value.
    pub found: i128,
}

/// The index of an active segment.
#[derive(Debug, Clone)]
pub struct IndexWriter {
    /// Header space, then entries. Invariant: entries grow in position, and never fall in offset or
    /// time.
    bytes: Vec<u8>,
    base_offset: Offset,
    base_time: TimestampMs,
}

impl IndexWriter {
    /// An index without entries. `base_time` is the append time of the first batch.
    pub fn new(base_offset: Offset, base_time: TimestampMs) -> Self {
        Self { bytes: vec![0; INDEX_HEADER_BYTES], base_offset, base_time }
    }

    /// Adds a batch that lies behind all others.
    ///
    /// # Errors
    /// The batch cannot be put into an entry; nothing was added.
    ///
    /// # Panics
    /// When the batch lies before the last one: the log would be searched in the wrong place.
    pub fn push(
        &mut self,
        base_offset: Offset,
        position: FilePosition,
        append_time: TimestampMs,
    ) -> Result<(), IndexFull> {
        let entry = self.entry(base_offset, position, append_time)?;
        if let Some(last) = self.entries().last() {
            assert!(follows(last, entry), "index entries grow: {last:?} then {entry:?}");
        }
        self.bytes.extend_from_slice(&entry.relative_offset.to_le_bytes());
        self.bytes.extend_from_slice(&entry.file_position.to_le_bytes());
        self.bytes.extend_from_slice(&entry.time_delta.to_le_bytes());
        Ok(())
    }

    /// Whether a batch could be put into an entry. When not, it belongs into a new segment.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn check(
        &self,
        base_offset: Offset,
        position: FilePosition,
        append_time: TimestampMs,
    ) -> Result<(), IndexFull> {
        self.entry(base_offset, position, append_time).map(|_| ())
    }

    /// The entries so far.
    pub fn entries(&self) -> IndexEntries<'_> {
        IndexEntries::new(&self.bytes[INDEX_HEADER_BYTES..])
    }

    /// Append time of the first batch, which time deltas count from.
    pub fn base_time(&self) -> TimestampMs {
        self.base_time
    }

    /// Forgets batches at and after `end`, as a cut there does.
    pub fn cut(&mut self, end: FilePosition) {
        let kept = self.entries().partition_point(|entry| entry.position() < end);
        self.bytes.truncate(INDEX_HEADER_BYTES + kept * INDEX_ENTRY_BYTES);
    }

    /// The whole file. The segment gets no more batches.
    pub fn seal(
        mut self,
        salt: SegmentSalt,
        end_offset: Offset,
        end_position: FilePosition,
        last_append_time: TimestampMs,
    ) -> Vec<u8> {
        let count = u32::try_from(self.entries().len()).expect("positions have 32 bits");
        let out = &mut self.bytes;
        le::put_u64(out, AT_SALT, salt.get());
        le::put_u64(out, AT_BASE_OFFSET, self.base_offset.get());
        le::put_i64(out, AT_BASE_TIME, self.base_time.get());
        le::put_u64(out, AT_END_OFFSET, end_offset.get());
        le::put_u64(out, AT_END_POSITION, end_position.get());
        le::put_i64(out, AT_LAST_APPEND_TIME, last_append_time.get());
        le::put_u32(out, AT_COUNT, count);
        FRAME.seal(out);
        self.bytes
    }

    fn entry(
        &self,
        base_offset: Offset,
        position: FilePosition,
        append_time: TimestampMs,
    ) -> Result<IndexEntry, IndexFull> {
        let relative = i128::from(base_offset.get()) - i128::from(self.base_offset.get());
        let delta = i128::from(append_time.get()) - i128::from(self.base_time.get());
        Ok(IndexEntry {
            relative_offset: fit("relative offset", relative)?,
            file_position: fit("file position", position.get().into())?,
            time_delta: fit("time delta in milliseconds", delta)?,
        })
    }
}

fn fit(what: &'static str, found: i128) -> Result<u32, IndexFull> {
    u32::try_from(found).ok().ok_or(IndexFull { what, found })
}

fn follows(last: IndexEntry, next: IndexEntry) -> bool {
    last.file_position < next.file_position
        && last.relative_offset <= next.relative_offset
        && last.time_delta <= next.time_delta
}

/// The index of a sealed segment, in the bytes of its file.
#[derive(Debug, Clone, Copy)]
pub struct Index<'a> {
    summary: IndexSummary,
    entries: IndexEntries<'a>,
}

impl<'a> Index<'a> {
    /// Verifies the whole file. Whoever keeps the bytes may look entries up later with
    /// [`IndexEntries::new`], without verifying again.
    ///
    /// # Errors
    /// Anything that [`IndexWriter::seal`] cannot have written: make the index again from the log.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FileError> {
        FRAME.check_start(bytes)?;
        let count = u64::from(le::get_u32(bytes, AT_COUNT));
        let expected = INDEX_HEADER_BYTES as u64 + count * INDEX_ENTRY_BYTES as u64;
        if bytes.len() as u64 != expected {
            let found = bytes.len() as u64;
            return Err(FRAME.malformed("length of the file", found, "what the entry count says"));
        }
        FRAME.check_crc(bytes)?;
        let summary = IndexSummary {
            salt: SegmentSalt::new(le::get_u64(bytes, AT_SALT)),
            base_offset: Offset::new(le::get_u64(bytes, AT_BASE_OFFSET)),
            base_time: TimestampMs::new(le::get_i64(bytes, AT_BASE_TIME)),
            end_offset: Offset::new(le::get_u64(bytes, AT_END_OFFSET)),
            end_position: FilePosition::new(le::get_u64(bytes, AT_END_POSITION)),
            last_append_time: TimestampMs::new(le::get_i64(bytes, AT_LAST_APPEND_TIME)),
        };
        let entries = IndexEntries::new(&bytes[INDEX_HEADER_BYTES..]);
        check_entries(&summary, entries)?;
        Ok(Self { summary, entries })
    }

    /// What it says about the segment as a whole.
    pub fn summary(&self) -> &IndexSummary {
        &self.summary
    }

    /// The entries.
    pub fn entries(&self) -> IndexEntries<'a> {
        self.entries
    }
}

fn check_entries(summary: &IndexSummary, entries: IndexEntries<'_>) -> Result<(), FileError> {
    if summary.end_offset < summary.base_offset {
        let found = summary.end_offset.get();
        return Err(FRAME.malformed("end offset", found, "at least the base offset"));
    }
    let mut before: Option<IndexEntry> = None;
    for entry in entries.iter() {
        if before.is_some_and(|before| !follows(before, entry)) {
            let found = entry.file_position.into();
            return Err(FRAME.malformed("position of an entry", found, "behind the one before"));
        }
        before = Some(entry);
    }
    match before {
        Some(last) if last.position() >= summary.end_position => {
            let found = last.file_position.into();
            Err(FRAME.malformed("position of the last entry", found, "before the end position"))
        }
        _ => Ok(()),
    }
}

/// Entries in the bytes they are stored as, searched without copying them.
#[derive(Debug, Clone, Copy)]
pub struct IndexEntries<'a> {
    bytes: &'a [u8],
}

impl<'a> IndexEntries<'a> {
    /// The entries in `bytes`, which begin with the first one: everything after the header of a file
    /// that was verified.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// How many.
    pub const fn len(&self) -> usize {
        self.bytes.len() / INDEX_ENTRY_BYTES
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of them.
    pub fn get(&self, index: usize) -> Option<IndexEntry> {
        let at = index.checked_mul(INDEX_ENTRY_BYTES)?;
        self.bytes
            .get(at..)?
            .first_chunk::<INDEX_ENTRY_BYTES>()
            .map(|entry| IndexEntry::read(entry))
    }

    /// The last of them.
    pub fn last(&self) -> Option<IndexEntry> {
        self.get(self.len().checked_sub(1)?)
    }

    /// All of them in order.
    pub fn iter(&self) -> impl Iterator<Item = IndexEntry> + use<'a> {
        self.bytes.chunks_exact(INDEX_ENTRY_BYTES).map(IndexEntry::read)
    }

    /// The last batch known to begin at or before an offset that lies `relative_offset` behind the
    /// base offset: read on from it. `None`: from
    /// the first batch of the segment.
    pub fn lookup_offset(&self, relative_offset: u64) -> Option<IndexEntry> {
        let after =
            self.partition_point(|entry| u64::from(entry.relative_offset) <= relative_offset);
        self.get(after.checked_sub(1)?)
    }

    /// The last batch known to be appended before the time `time_delta` milliseconds after the base
    /// time: the first one at or after that time lies behind it. `None`: read on from the first batch of the segment.
    pub fn lookup_time(&self, time_delta: i64) -> Option<IndexEntry> {
        let after = self.partition_point(|entry| i64::from(entry.time_delta) < time_delta);
        self.get(after.checked_sub(1)?)
    }

    /// Index of the first entry that does not fulfil `first_ones`, which all before it do.
    pub fn partition_point(&self, first_ones: impl Fn(IndexEntry) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle) {
                Some(entry) if first_ones(entry) => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Offset = Offset::new(1000);
    const TIME: TimestampMs = TimestampMs::new(50_000);
    const SALT: SegmentSalt = SegmentSalt::new(7);

    /// Entries of (relative offset, position, time delta).
    fn writer(entries: &[(u32, u32, u32)]) -> IndexWriter {
        let mut writer = IndexWriter::new(BASE, TIME);
        for &(offset, position, time) in entries {
            let offset = BASE + u64::from(offset);
            let position = FilePosition::new(position.into());
            writer.push(offset, position, TIME.saturating_add(time.into())).unwrap();
        }
        writer
    }

    fn sealed(entries: &[(u32, u32, u32)]) -> Vec<u8> {
        let end = FilePosition::new(1 << 20);
        writer(entries).seal(SALT, BASE + 500, end, TIME.saturating_add(99))
    }

    #[test]
    fn sealed_index_says_what_was_pushed() {
        for entries in [&[][..], &[(0, 4096, 0), (5, 9000, 0), (5, 9999, 3)]] {
            let bytes = sealed(entries);
            let index = Index::decode(&bytes).unwrap();
            let found: Vec<_> = index
                .entries()
                .iter()
                .map(|entry| (entry.relative_offset, entry.file_position, entry.time_delta))
                .collect();
            assert_eq!(found, entries);
            let summary = IndexSummary {
                salt: SALT,
                base_offset: BASE,
                base_time: TIME,
                end_offset: BASE + 500,
                end_position: FilePosition::new(1 << 20),
                last_append_time: TimestampMs::new(50_099),
            };
            assert_eq!(*index.summary(), summary);
        }
    }

    #[test]
    fn offset_is_looked_up_at_the_last_batch_at_or_before_it() {
        let writer = writer(&[(2, 5000, 0), (5, 6000, 0), (5, 7000, 0), (9, 8000, 0)]);
        let expected = [
            (0, None),
            (1, None),
            (2, Some(5000)),
            (4, Some(5000)),
            (5, Some(7000)),
            (8, Some(7000)),
        ];
        for (offset, position) in expected.into_iter().chain([(9, Some(8000)), (99, Some(8000))]) {
            let found = writer.entries().lookup_offset(offset).map(|entry| entry.file_position);
            assert_eq!(found, position, "{offset}");
        }
    }

    #[test]
    fn time_is_looked_up_before_every_batch_that_may_have_it() {
        let writer = writer(&[(0, 4096, 0), (5, 6000, 10), (6, 7000, 10), (9, 8000, 20)]);
        let expected = [(-1, None), (0, None), (1, Some(4096)), (10, Some(4096)), (11, Some(7000))];
        for (time, position) in
            expected.into_iter().chain([(20, Some(7000)), (i64::MAX, Some(8000))])
        {
            let found = writer.entries().lookup_time(time).map(|entry| entry.file_position);
            assert_eq!(found, position, "{time}");
        }
    }

    #[test]
    fn cut_forgets_the_batches_behind_it() {
        let mut writer = writer(&[(0, 4096, 0), (5, 6000, 0), (6, 7000, 0)]);
        writer.cut(FilePosition::new(6000));
        assert_eq!(writer.entries().len(), 1);
        assert_eq!(writer.entries().last().map(|entry| entry.file_position), Some(4096));
    }

    #[test]
    fn batch_too_far_away_is_refused_and_nothing_added() {
        let mut writer = writer(&[(0, 4096, 0)]);
        let here = FilePosition::new(5000);
        let far = u64::from(u32::MAX) + 1;
        assert!(writer.push(BASE + far, here, TIME).is_err());
        assert!(writer.push(BASE, FilePosition::new(far), TIME).is_err());
        assert!(writer.push(BASE, here, TimestampMs::MAX).is_err());
        assert_eq!(writer.entries().len(), 1);
        assert_eq!(writer.check(BASE + (far - 1), here, TIME), Ok(()));
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_detected() {
        let bytes = sealed(&[(0, 4096, 0), (5, 6000, 10)]);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Index::decode(&flipped).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Index::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn entries_out_of_order_or_past_the_end_are_malformed() {
        let mut bytes = sealed(&[(0, 4096, 0), (5, 6000, 10)]);
        le::put_u32(&mut bytes, INDEX_HEADER_BYTES, 6);
        FRAME.seal(&mut bytes);
        assert!(matches!(Index::decode(&bytes), Err(FileError::Malformed { .. })));
        let bytes = writer(&[(0, 4096, 0)]).seal(SALT, BASE, FilePosition::new(4096), TIME);
        assert!(matches!(Index::decode(&bytes), Err(FileError::Malformed { .. })));
    }
}
