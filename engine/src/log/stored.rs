//! Reading a log as it is stored, for those who are to hold the same: control batches included, up to the
//! durable end, whatever is committed.

use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use forebay_format::limits::{BATCH_BYTES_MAX, HEADER_BYTES};
use forebay_format::segment::FIRST_BATCH_POSITION;
use forebay_format::{BatchHeader, FilePosition, Offset, Position};
use smallvec::SmallVec;

use super::ReadError;
use super::disk_reader::{DiskReader, Walked};
use super::locate::{LogPlace, NO_LIMIT};
use super::partition::{NotOpen, OpenLog, PartitionLog, ReadableEnd};
use crate::segment::{SealedSegment, SegmentError, SegmentReader, SegmentUse};

/// What follows a position.
#[derive(Debug, Clone)]
pub enum Stored {
    /// These batches.
    Run(StoredRun),
    /// Nothing yet.
    AtEnd,
    /// Batches that are not stored any more.
    Gone,
}

/// Whole batches, back to back as they are stored. The replica's part of each header is this replica's.
#[derive(Debug, Clone)]
pub struct StoredRun {
    /// The bytes; a batch may straddle slices. They own what they lie in and must be dropped on
    /// this executor.
    pub slices: SmallVec<[Bytes; 4]>,
    /// Length of all slices.
    pub bytes: usize,
    /// End position of the last batch.
    pub upto: Position,
}

/// Reads on from position to position, ahead of what it is asked for.
pub struct StoredReader {
    log: Rc<PartitionLog>,
    at: Option<At>,
    disk: Option<DiskReader>,
    sealed: Option<Rc<SegmentReader>>,
    used: Option<SegmentUse>,
}

/// Where a reader stands.
#[derive(Debug, Clone, Copy)]
struct At {
    /// The position that was asked for, or read up to.
    after: Position,
    place: LogPlace,
    /// Which life of the log it is in.
    rewritten: u64,
}

/// What is to be done for the next run.
enum Step {
    Run(StoredRun),
    AtEnd,
    Growing(ReadableEnd),
    Sealed(Rc<SealedSegment>),
    NextSegment(Offset),
    Gone,
}

impl StoredReader {
    pub(super) fn new(log: Rc<PartitionLog>) -> Self {
        Self { log, at: None, disk: None, sealed: None, used: None }
    }

    /// The batches whose end position is above `after`, up to the durable end: as many as fit into
    /// `max_bytes`, and one at least. Does not wait for more to be appended. Asked for what follows the
    /// run before, it goes on where it is; anything else is looked up. May be dropped.
    ///
    /// # Errors
    /// Why the log cannot be read; damage; the shard stops.
    pub async fn read_after(
        &mut self,
        after: Position,
        max_bytes: usize,
    ) -> Result<Stored, ReadError> {
        loop {
            if self.log.context.stopping.get() {
                return Err(ReadError::Stopping);
            }
            let rewritten = self.log.rewritten.get();
            let stands = self.at.filter(|at| at.after == after && at.rewritten == rewritten);
            let Some(at) = stands else {
                if !self.go_to(after, rewritten).await? {
                    return Ok(Stored::Gone);
                }
                continue;
            };
            let step = match self.log.with_open(|open| open.stored_step(&at.place, max_bytes)) {
                Ok(step) => step,
                Err(NotOpen::Never(error)) => return Err(error.into()),
                Err(NotOpen::Closed | NotOpen::Busy) => {
                    self.log.ensure_open().await?;
                    continue;
                }
            };
            let read = match step {
                Step::Run(run) => {
                    (self.disk, self.used) = (None, None);
                    self.log.context.metrics.cache_read_bytes.add(run.bytes as u64);
                    Ok(Some(run))
                }
                Step::AtEnd => {
                    if after > self.log.with_open(|open| open.durable).unwrap_or_default() {
                        // What will be appended may be below.
                        self.at = None;
                    }
                    return Ok(Stored::AtEnd);
                }
                Step::Gone => return Ok(Stored::Gone),
                Step::NextSegment(base) => {
                    self.enter(base, &at);
                    continue;
                }
                Step::Growing(end) => self.read_growing(&end, &at, max_bytes).await,
                Step::Sealed(sealed) => self.read_sealed(&sealed, &at, max_bytes).await,
            };
            match read {
                Ok(Some(run)) => {
                    let place = LogPlace {
                        position: at.place.position + run.bytes as u64,
                        offset: run.upto.end,
                        ..at.place
                    };
                    self.at = Some(At { after: run.upto, place, ..at });
                    return Ok(Stored::Run(run));
                }
                Ok(None) => {}
                Err(_) if self.log.rewritten.get() != rewritten => {}
                Err(error) => return Err(self.log.read_error(error)),
            }
        }
    }

    /// Looks a position up. `false`: what follows it is not stored any more.
    async fn go_to(&mut self, after: Position, rewritten: u64) -> Result<bool, ReadError> {
        (self.at, self.disk, self.sealed, self.used) = (None, None, None, None);
        let place = self.log.locate(after).await?;
        self.at = place.map(|place| At { after, place, rewritten });
        Ok(self.at.is_some())
    }

    async fn read_growing(
        &mut self,
        end: &ReadableEnd,
        at: &At,
        max_bytes: usize,
    ) -> Result<Option<StoredRun>, SegmentError> {
        let spent = self.disk.as_ref().is_none_or(|disk| at.place.position >= disk.limit());
        if spent && let Some(file) = end.segment.file() {
            let salt = end.segment.header().salt;
            self.used = Some(self.log.in_use.begin(at.place.segment));
            self.disk = Some(DiskReader::new(file, salt, at.place.position, end.position));
        }
        self.run(at, max_bytes).await
    }

    async fn read_sealed(
        &mut self,
        sealed: &Rc<SealedSegment>,
        at: &At,
        max_bytes: usize,
    ) -> Result<Option<StoredRun>, SegmentError> {
        let reader = match &self.sealed {
            Some(reader) if reader.header.base_offset == at.place.segment => Rc::clone(reader),
            _ => {
                let Ok(identity) = self.log.with_open(|open| open.identity) else {
                    return Ok(None);
                };
                sealed.reader(&self.log.path, &identity, &self.log.in_use).await?
            }
        };
        let end = reader.end();
        // One that was made while the segment grew may stop short of its end.
        if self.disk.as_ref().is_none_or(|disk| disk.limit() != end) {
            let (file, salt) = (reader.file.clone(), reader.header.salt);
            self.disk = Some(DiskReader::new(file, salt, at.place.position, end));
        }
        self.sealed = Some(reader);
        let run = self.run(at, max_bytes).await?;
        if run.is_none() {
            self.enter(sealed.end_offset, at);
        }
        Ok(run)
    }

    /// Goes on at the start of another segment.
    fn enter(&mut self, base: Offset, at: &At) {
        let place = LogPlace { segment: base, position: FIRST_BATCH_POSITION, offset: base };
        self.at = Some(At { place, ..*at });
        (self.disk, self.sealed, self.used) = (None, None, None);
    }

    /// The next run from disk; `None` at the reader's limit.
    async fn run(&mut self, at: &At, max_bytes: usize) -> Result<Option<StoredRun>, SegmentError> {
        let Some(disk) = &mut self.disk else { return Ok(None) };
        let LogPlace { position, offset, .. } = at.place;
        let walked = disk.run(position, offset, max_bytes, NO_LIMIT).await?;
        self.disk.take_if(|disk| !disk.keep_within(&self.log.context.read_ahead));
        Ok(walked.map(|Walked { slices, bytes, next_offset, epoch, .. }| {
            self.log.context.metrics.disk_read_bytes.add(bytes as u64);
            StoredRun { slices, bytes, upto: Position::new(epoch, next_offset) }
        }))
    }
}

impl OpenLog {
    fn stored_step(&self, place: &LogPlace, max_bytes: usize) -> Step {
        if place.segment == self.readable.segment.header().base_offset {
            if place.position >= self.readable.position {
                return Step::AtEnd;
            }
            let cached = self.cached_batches(place, self.readable.position, max_bytes);
            return cached.map_or_else(|| Step::Growing(self.readable.clone()), Step::Run);
        }
        let Some(sealed) = self.sealed_at(place.segment) else { return Step::Gone };
        // Only what was sealed since the log was opened is in the cache, and of that the length is exact.
        let end = FilePosition::new(sealed.file_bytes);
        if place.position >= end {
            return Step::NextSegment(sealed.end_offset);
        }
        let cached = self.cached_batches(place, end, max_bytes);
        cached.map_or_else(|| Step::Sealed(Rc::clone(sealed)), Step::Run)
    }

    /// Whole batches from a place on, out of the tail cache.
    fn cached_batches(
        &self,
        place: &LogPlace,
        end: FilePosition,
        max_bytes: usize,
    ) -> Option<StoredRun> {
        if place.position >= end || !self.cache.holds(place.segment, place.position) {
            return None;
        }
        let farthest = place.position + max_bytes.max(BATCH_BYTES_MAX) as u64;
        let slices = self.cache.slices(place.segment, place.position, farthest.min(end))?;
        whole_batches(slices, max_bytes)
    }
}

/// The batches at the start of `slices` that fit into `max_bytes`, one at least; `None` when there is not
/// even a whole one.
fn whole_batches(mut slices: SmallVec<[Bytes; 4]>, max_bytes: usize) -> Option<StoredRun> {
    let all: usize = slices.iter().map(Bytes::len).sum();
    let (mut bytes, mut upto) = (0, None);
    while let Some(header) = header_at(&slices, bytes) {
        let end = bytes + header.batch_bytes();
        if end > all || (bytes > 0 && end > max_bytes) {
            break;
        }
        bytes = end;
        upto = Some(Position::new(header.leader.epoch, header.next_offset()));
    }
    let mut left = bytes;
    slices.retain(|slice| {
        let kept = left.min(slice.len());
        slice.truncate(kept);
        left -= kept;
        kept > 0
    });
    upto.map(|upto| StoredRun { slices, bytes, upto })
}

/// The header that begins `at` bytes into `slices`; `None` when it is not all there.
fn header_at(slices: &[Bytes], at: usize) -> Option<BatchHeader> {
    let mut bytes = [0; HEADER_BYTES];
    let (mut skip, mut filled) = (at, 0);
    for slice in slices {
        let part = slice.get(skip..).unwrap_or_default();
        skip = skip.saturating_sub(slice.len());
        let now = part.len().min(HEADER_BYTES - filled);
        bytes[filled..filled + now].copy_from_slice(&part[..now]);
        filled += now;
        if filled == HEADER_BYTES {
            return BatchHeader::decode(&bytes).ok();
        }
    }
    None
}

impl fmt::Debug for StoredReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredReader")
            .field("partition", &self.log.id)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
