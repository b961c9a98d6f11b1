//! Sequential reads of one segment file, ahead of the reader, walked batch by batch.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use forebay_format::limits::HEADER_BYTES;
use forebay_format::{BatchHeader, Epoch, FilePosition, Offset, SegmentSalt, TimestampMs};
use smallvec::SmallVec;

use crate::io::{
    BufferPool, DirectFile, MemoryReservation, READ_BYTES, ReadChunk, block_ceil, block_floor,
};
use crate::runtime::{Task, start};
use crate::segment::{SegmentError, corrupt};

/// Reads that are under way at once, when the reader keeps going: as long as readers take up little
/// of their budget,
const READS_AHEAD_MAX: usize = 16;

/// and otherwise.
const READS_AHEAD_CROWDED: usize = 4;

/// Batches that lie back to back.
#[derive(Debug)]
pub(super) struct Walked {
    pub(super) slices: SmallVec<[Bytes; 4]>,
    pub(super) bytes: usize,
    /// Offset after the last of them.
    pub(super) next_offset: Offset,
    /// Epoch of the last of them.
    pub(super) epoch: Epoch,
    /// Append time of the last of them.
    pub(super) append_time: TimestampMs,
}

/// Reads a segment forward, up to a limit.
///
/// Invariant: `chunks` are contiguous, and `reads` go on where they end.
#[derive(Debug)]
pub(super) struct DiskReader {
    file: DirectFile,
    salt: SegmentSalt,
    limit: FilePosition,
    chunks: VecDeque<ReadChunk>,
    reads: VecDeque<Read>,
    next_read: u64,
    reads_ahead: usize,
    reads_ahead_max: usize,
    /// For what is kept from one run to the next.
    charge: Option<MemoryReservation>,
}

/// A read that is under way.
#[derive(Debug)]
struct Read {
    /// Where it ends, unless the file does before.
    end: u64,
    chunk: Task<io::Result<ReadChunk>>,
}

impl DiskReader {
    /// A reader from `position` to `limit`, both batch boundaries.
    pub(super) fn new(
        file: DirectFile,
        salt: SegmentSalt,
        position: FilePosition,
        limit: FilePosition,
    ) -> Self {
        Self {
            file,
            salt,
            limit,
            chunks: VecDeque::new(),
            reads: VecDeque::new(),
            next_read: block_floor(position.get()),
            reads_ahead: 1,
            reads_ahead_max: READS_AHEAD_CROWDED,
            charge: None,
        }
    }

    /// Charges what it holds, until the next run, to `budget`. `false`: there is no room, and it must
    /// be dropped.
    pub(super) fn keep_within(&mut self, budget: &BufferPool) -> bool {
        self.charge = None;
        let chunks: usize = self.chunks.iter().map(|chunk| chunk.as_bytes().len()).sum();
        let reads = self.reads.len() * usize::try_from(READ_BYTES).unwrap_or(usize::MAX);
        self.charge = budget.try_reserve(chunks + reads);
        self.reads_ahead_max =
            if budget.is_half_used() { READS_AHEAD_CROWDED } else { READS_AHEAD_MAX };
        self.charge.is_some()
    }

    /// Exclusive end of what it reads.
    pub(super) fn limit(&self) -> FilePosition {
        self.limit
    }

    /// Base offset of the batch at `position`; `None` at the limit.
    pub(super) async fn base_offset_at(
        &mut self,
        position: FilePosition,
    ) -> Result<Option<Offset>, SegmentError> {
        if position >= self.limit {
            return Ok(None);
        }
        let header = self.header_at(position, Offset::ZERO).await?;
        Ok(Some(header.leader.base_offset))
    }

    /// Batches from `position` on, the first of which has base offset `offset`: one at least, more
    /// while they are in memory and fit into `max_bytes`. `None` at the end of what may be read. What lies before
    /// `position` is forgotten. None goes beyond the offset `upto`.
    pub(super) async fn run(
        &mut self,
        position: FilePosition,
        offset: Offset,
        max_bytes: usize,
        upto: Offset,
    ) -> Result<Option<Walked>, SegmentError> {
        let mut end = position;
        let mut next_offset = offset;
        let (mut epoch, mut append_time) = (Epoch::ZERO, TimestampMs::MIN);
        while end < self.limit && next_offset < upto {
            let header_end = end.get() + HEADER_BYTES as u64;
            if end > position && header_end > self.loaded_end() {
                break;
            }
            let header = self.header_at(end, next_offset).await?;
            let batch_end = end + header.batch_bytes() as u64;
            if end > position && batch_end - position > max_bytes as u64 {
                break;
            }
            if header.leader.base_offset != next_offset || batch_end > self.limit {
                let (found, ends) = (header.leader.base_offset, batch_end);
                return Err(SegmentError::Corrupt {
                    path: self.file.path().to_owned(),
                    position: end,
                    offset: next_offset,
                    what: format!("a batch of base offset {found} that ends at byte {ends}"),
                });
            }
            if header.next_offset() > upto {
                break;
            }
            self.load(batch_end.get()).await?;
            (end, next_offset) = (batch_end, header.next_offset());
            (epoch, append_time) = (header.leader.epoch, header.leader.append_time);
        }
        if end == position {
            return Ok(None);
        }
        let slices = self.slices(position.get(), end.get());
        self.forget_below(end.get());
        let bytes = slices.iter().map(Bytes::len).sum();
        Ok(Some(Walked { slices, bytes, next_offset, epoch, append_time }))
    }

    async fn header_at(
        &mut self,
        position: FilePosition,
        offset: Offset,
    ) -> Result<BatchHeader, SegmentError> {
        self.load(position.get() + HEADER_BYTES as u64).await?;
        let mut bytes = [0; HEADER_BYTES];
        let mut at = 0;
        for slice in self.overlaps(position.get(), position.get() + HEADER_BYTES as u64) {
            bytes[at..at + slice.len()].copy_from_slice(slice);
            at += slice.len();
        }
        let verified = BatchHeader::decode(&bytes)
            .and_then(|header| header.verify_local(self.salt, position).map(|()| header));
        verified.map_err(|error| corrupt(&self.file, position, offset, &error))
    }

    fn loaded_end(&self) -> u64 {
        self.chunks.back().map_or(0, ReadChunk::end)
    }

    /// Reads until everything below `end` is in memory.
    async fn load(&mut self, end: u64) -> Result<(), SegmentError> {
        while self.loaded_end() < end {
            self.read_ahead();
            let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
            let Some(read) = self.reads.front_mut() else {
                return Err(SegmentError::io(self.file.path())(short()));
            };
            let read_end = read.end.min(self.limit.get());
            // It stays in line while it is waited for: who waits may be dropped and come back.
            let chunk = (&mut read.chunk).await;
            self.reads.pop_front();
            let chunk = chunk.map_err(SegmentError::io(self.file.path()))?;
            if chunk.end() < read_end {
                // The next one would leave a hole, and holes look like damage.
                return Err(SegmentError::io(self.file.path())(short()));
            }
            self.chunks.push_back(chunk);
            self.reads_ahead = (self.reads_ahead + 1).min(self.reads_ahead_max);
            self.read_ahead();
        }
        Ok(())
    }

    fn read_ahead(&mut self) {
        let stop = block_ceil(self.limit.get());
        while self.reads.len() < self.reads_ahead && self.next_read < stop {
            let range = self.next_read..(self.next_read + READ_BYTES).min(stop);
            let end = range.end;
            self.next_read = end;
            let file = self.file.clone();
            let chunk = start(async move { file.read(range).await });
            self.reads.push_back(Read { end, chunk });
        }
    }

    fn overlaps(&self, from: u64, to: u64) -> impl Iterator<Item = &[u8]> {
        self.chunks.iter().filter_map(move |chunk| {
            let range = within(chunk, from, to)?;
            chunk.as_bytes().get(range)
        })
    }

    fn slices(&self, from: u64, to: u64) -> SmallVec<[Bytes; 4]> {
        let part = |chunk: &ReadChunk| Some(chunk.to_bytes().slice(within(chunk, from, to)?));
        self.chunks.iter().filter_map(part).collect()
    }

    fn forget_below(&mut self, position: u64) {
        while self.chunks.front().is_some_and(|chunk| chunk.end() <= position)
            && self.chunks.len() > 1
        {
            self.chunks.pop_front();
        }
    }
}

/// The part of a chunk that lies in `from..to`, as a range of its bytes.
fn within(chunk: &ReadChunk, from: u64, to: u64) -> Option<std::ops::Range<usize>> {
    let start = from.max(chunk.start());
    let end = to.min(chunk.end());
    (start < end).then(|| {
        let at = |position: u64| usize::try_from(position - chunk.start()).unwrap_or(usize::MAX);
        at(start)..at(end)
    })
}
