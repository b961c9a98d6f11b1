//! A place in a log that moves forward: runs of whole batches, from memory or from disk.
//!
//! The newest bytes come out of the tail cache, as the very buffers that were written, cut at a
//! boundary that the index knows. Older ones come from disk through [`DiskReader`], which walks
//! their headers. Neither copies a payload. Nobody sees beyond the committed mark.

use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use forebay_format::segment::FIRST_BATCH_POSITION;
use forebay_format::{Epoch, FileError, FilePosition, Offset, TimestampMs};
use smallvec::SmallVec;

use super::cursor_step::{Place, Source, Step};
use super::disk_reader::{DiskReader, Walked};
use super::partition::{NotOpen, OpenLog, PartitionLog};
use super::sequencer::Lineage;
use super::{Corruption, ReadError, ReserveError};
use crate::clock::Clock;
use crate::segment::{ActiveSegment, SealedSegment, SegmentError, SegmentReader, SegmentUse};

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CursorStart {
    /// At this offset.
    Offset(Offset),
    /// At this offset, for a reader that has read the record before it in this epoch.
    After {
        /// Of the record before.
        epoch: Epoch,
        /// The offset.
        offset: Offset,
    },
    /// At the first batch that was appended at or after this time; at the end, if there is none.
    Timestamp(TimestampMs),
    /// At the first record that the log holds.
    Earliest,
    /// At the committed end.
    Latest,
}

impl CursorStart {
    /// At this offset, behind a record of this epoch, if it was read.
    pub(crate) fn behind(epoch: Option<Epoch>, offset: Offset) -> Self {
        epoch.map_or(Self::Offset(offset), |epoch| Self::After { epoch, offset })
    }
}

/// Whole batches, back to back as they are stored.
#[derive(Debug, Clone)]
pub struct Run {
    /// The bytes; a batch may straddle slices. They own what they lie in and must be dropped on
    /// this executor.
    pub slices: SmallVec<[Bytes; 4]>,
    /// Length of all slices.
    pub bytes: usize,
    /// Offset of the cursor: the first batch's base offset. A cursor that was asked for an offset
    /// within a batch stands at the start of that batch.
    pub first_offset: Offset,
    /// Offset after the last batch.
    pub next_offset: Offset,
    /// The committed end now.
    pub committed: Offset,
    /// First offset of the log now.
    pub earliest: Offset,
}

/// A reader of one partition. Holds the files and buffers of one run at a time, and of what is
/// read ahead.
pub(crate) struct Cursor {
    log: Rc<PartitionLog>,
    /// Base offset of the segment that is read.
    pub(super) segment: Offset,
    pub(super) position: FilePosition,
    pub(super) next_offset: Offset,
    /// Of the record before, where that was read and the log is a replica's.
    epoch: Option<Epoch>,
    /// Which life of the log the place is in.
    rewritten: u64,
    disk: Option<DiskReader>,
    /// The sealed segment that is read, kept open.
    sealed: Option<Rc<SegmentReader>>,
    /// Keeps the file of a segment that grows, or grew when this began, from being used again.
    used: Option<SegmentUse>,
}

impl PartitionLog {
    /// A cursor at `start`.
    ///
    /// # Errors
    /// `OutOfRange` with the range; `Ahead` and `Lost` where this is not the log that was read before; why the
    /// log cannot be opened or read.
    pub(crate) async fn cursor(self: &Rc<Self>, start: CursorStart) -> Result<Cursor, ReadError> {
        let status = self.status().await?;
        let past = match start {
            CursorStart::After { epoch, offset } => Some((epoch, offset)),
            _ => None,
        };
        let start = self.start_on_lineage(start)?;
        let (earliest, latest) = (status.earliest, status.committed);
        match start {
            CursorStart::Earliest => self.cursor_at(earliest).await,
            CursorStart::Latest => self.cursor_at(latest).await,
            CursorStart::Offset(requested) if requested < earliest || requested > latest => {
                Err(ReadError::OutOfRange { requested, earliest, latest })
            }
            CursorStart::Offset(offset) | CursorStart::After { offset, .. } => {
                let mut cursor = self.cursor_at(offset).await?;
                // Elsewhere it stands in the middle of a batch, and is given that one first.
                cursor.epoch =
                    past.filter(|(_, at)| *at == cursor.next_offset).map(|(epoch, _)| epoch);
                Ok(cursor)
            }
            CursorStart::Timestamp(time) => self.cursor_at_time(time).await,
        }
    }

    /// The same start without the past, if that is the log's.
    fn start_on_lineage(&self, start: CursorStart) -> Result<CursorStart, ReadError> {
        let CursorStart::After { epoch, offset } = start else { return Ok(start) };
        let lineage = match self.decider.sequencer() {
            Some(sequencer) => sequencer.lineage(epoch, offset),
            // Who knows its past is not there.
            None if self.decider.is_replica() => Lineage::Ahead,
            // A log that is served alone has never lost anything that was read.
            None => Lineage::Shared,
        };
        match lineage {
            Lineage::Shared => Ok(CursorStart::Offset(offset)),
            Lineage::Ahead => Err(ReadError::Ahead { epoch, requested: offset }),
            Lineage::Parted { from } => Err(ReadError::Lost { from, upto: offset }),
        }
    }

    async fn cursor_at(self: &Rc<Self>, offset: Offset) -> Result<Cursor, ReadError> {
        let mut cursor = self.cursor_in_segment(|open| open.segment_of(offset)).await?;
        if cursor.next_offset >= offset {
            return Ok(cursor);
        }
        cursor
            .jump(
                |sealed| sealed.before_offset(offset),
                |active| active.index().borrow().before_offset(offset),
            )
            .await?;
        cursor.walk_until(|walked| walked.next_offset > offset).await?;
        Ok(cursor)
    }

    async fn cursor_at_time(self: &Rc<Self>, time: TimestampMs) -> Result<Cursor, ReadError> {
        let mut cursor = self.cursor_in_segment(|open| open.segment_of_time(time)).await?;
        cursor
            .jump(
                |sealed| sealed.before_time(time),
                |active| active.index().borrow().before_time(time),
            )
            .await?;
        cursor.walk_until(|walked| walked.append_time >= time).await?;
        Ok(cursor)
    }

    /// A cursor at the first batch of a segment, or at the end when `choose` says so.
    async fn cursor_in_segment(
        self: &Rc<Self>,
        choose: impl Fn(&OpenLog) -> Place,
    ) -> Result<Cursor, ReadError> {
        loop {
            self.ensure_open().await?;
            let Ok(place) = self.with_open(|open| choose(open)) else { continue };
            return Ok(Cursor {
                log: Rc::clone(self),
                segment: place.segment,
                position: place.position,
                next_offset: place.offset,
                epoch: None,
                rewritten: self.rewritten.get(),
                disk: None,
                sealed: None,
                used: None,
            });
        }
    }

    pub(super) fn read_error(&self, error: SegmentError) -> ReadError {
        match error {
            SegmentError::Io { path, error } => {
                self.poison_if_lost(&error);
                ReadError::Unavailable { message: format!("{}: {error}", path.display()) }
            }
            SegmentError::Foreign { .. }
            | SegmentError::Header { error: FileError::Version { .. }, .. } => {
                ReadError::Unavailable { message: error.to_string() }
            }
            SegmentError::Header { path, error } => self.damaged(Corruption {
                file: path,
                position: FilePosition::ZERO,
                offset: Offset::ZERO,
                what: error.to_string(),
            }),
            SegmentError::Corrupt { path, position, offset, what } => {
                self.damaged(Corruption { file: path, position, offset, what })
            }
        }
    }

    /// Damage found by a reader puts the whole partition out of service: what is acknowledged on
    /// top of lost bytes cannot be repaired later.
    fn damaged(&self, corruption: Corruption) -> ReadError {
        self.quarantine(&ReserveError::Corrupt(corruption.clone()));
        ReadError::Corrupt(corruption)
    }
}

impl Cursor {
    /// Offset of the next record to be read.
    pub(crate) fn position(&self) -> Offset {
        self.next_offset
    }

    /// The epoch of the record before, if that was read here and the log is a replica's.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// The next whole batches: as many as fit into `max_bytes`, and one at least. Waits at the
    /// committed end until there is more. The first batch after a start in the middle of one
    /// begins before the offset that was asked for.
    ///
    /// # Errors
    /// `OutOfRange` when retention overtook the cursor; `Ahead` and `Lost` where the log was cut below it, and
    /// what it has read is not there, or is another's; damage; the shard stops. The cursor stays where it is.
    pub(crate) async fn next(&mut self, max_bytes: usize) -> Result<Run, ReadError> {
        loop {
            let seen = self.log.progress.version();
            match self.try_next(max_bytes).await? {
                Some(run) => return Ok(run),
                None => self.log.progress.beyond(seen).await,
            }
        }
    }

    /// As [`Cursor::next`], but `None` where that would wait for more to be appended.
    ///
    /// # Errors
    /// As [`Cursor::next`].
    pub(crate) async fn try_next(&mut self, max_bytes: usize) -> Result<Option<Run>, ReadError> {
        loop {
            if self.log.context.stopping.get() {
                return Err(ReadError::Stopping);
            }
            if self.is_astray() {
                self.find_way_back().await?;
            }
            let step = match self.log.with_open(|open| {
                open.last_used = Clock::monotonic();
                open.step(self, max_bytes)
            }) {
                Ok(step) => step,
                Err(NotOpen::Never(error)) => return Err(error.into()),
                // An append opens it.
                Err(NotOpen::Closed) if self.is_at_closed_end() => return Ok(None),
                Err(NotOpen::Closed | NotOpen::Busy) => {
                    self.log.ensure_open().await?;
                    continue;
                }
            };
            match step {
                Step::Run(run) => {
                    (self.disk, self.used) = (None, None);
                    self.position += run.bytes as u64;
                    self.move_to(run.next_offset);
                    self.log.context.metrics.cache_read_bytes.add(run.bytes as u64);
                    return Ok(Some(run));
                }
                Step::Wait => return Ok(None),
                Step::NextSegment(base) => self.enter(base),
                Step::Sealed(sealed) if self.sealed.is_none() => {
                    // Retention may overtake the cursor while this waits.
                    self.open_sealed(&sealed).await?;
                }
                Step::Sealed(sealed) => {
                    let (file, salt, end) = self.open_sealed(&sealed).await?;
                    // One that was made while the segment grew may stop short of its end.
                    if self.disk.as_ref().is_none_or(|disk| disk.limit() != end) {
                        self.disk = Some(DiskReader::new(file, salt, self.position, end));
                    }
                    match self.disk_run(max_bytes).await {
                        Ok(Some(run)) => return Ok(Some(run)),
                        Ok(None) if self.position < end => return Ok(None),
                        Ok(None) => self.enter(sealed.end_offset),
                        Err(_) if self.is_astray() => {}
                        Err(error) => return Err(error),
                    }
                }
                Step::Growing { segment, limit } => {
                    self.read_growing(&segment, limit);
                    match self.disk_run(max_bytes).await {
                        Ok(Some(run)) => return Ok(Some(run)),
                        // Control batches only, so far.
                        Ok(None) => {
                            self.disk = None;
                            return Ok(None);
                        }
                        Err(_) if self.is_astray() => {}
                        Err(error) => return Err(error),
                    }
                }
                Step::Gone { earliest, latest } => {
                    return Err(ReadError::OutOfRange {
                        requested: self.next_offset,
                        earliest,
                        latest,
                    });
                }
            }
        }
    }

    /// Whether the cursor is at the committed end.
    pub(crate) fn at_end(&self) -> bool {
        match self.log.with_open(|open| self.next_offset >= open.committed()) {
            Ok(at_end) => at_end,
            Err(_) => self.is_at_closed_end(),
        }
    }

    fn is_at_closed_end(&self) -> bool {
        self.log.closed_marks().is_some_and(|(_, end)| self.next_offset == end)
    }

    /// The committed end and the first offset of the log, as far as known without waiting.
    pub(crate) fn marks(&self) -> Option<(Offset, Offset)> {
        let open = self.log.with_open(|open| (open.log_start(), open.committed())).ok();
        open.or_else(|| self.log.closed_marks())
    }

    /// Goes on at the start of another segment.
    fn enter(&mut self, base: Offset) {
        self.segment = base;
        self.position = FIRST_BATCH_POSITION;
        self.disk = None;
        self.sealed = None;
        self.used = None;
    }

    /// Whether the log was cut or begun anew since the place was found.
    fn is_astray(&self) -> bool {
        self.rewritten != self.log.rewritten.get()
    }

    /// Goes on behind a run. The log is the one that was read.
    fn move_to(&mut self, next_offset: Offset) {
        if next_offset > self.next_offset && self.log.decider.is_replica() {
            let last = Offset::new(next_offset.get() - 1);
            let epoch = self.log.with_open(|open| open.state.epochs.epoch_at(last));
            self.epoch = epoch.ok().flatten();
        }
        self.next_offset = next_offset;
    }

    /// Finds the place once more. What is committed stays, so that fails only after records were given
    /// up on purpose: then others may lie here, and the offset alone would lead into them.
    async fn find_way_back(&mut self) -> Result<(), ReadError> {
        let log = Rc::clone(&self.log);
        let start = CursorStart::behind(self.epoch, self.next_offset);
        *self = Box::pin(log.cursor(start)).await?;
        Ok(())
    }

    /// What a failed read means. Damage is none when the segment has been retired or cut meanwhile.
    fn read_error(&self, error: SegmentError) -> ReadError {
        if self.is_astray() {
            let message = format!("the log was cut while it was read: {error}");
            return ReadError::Unavailable { message };
        }
        let step = self.log.with_open(|open| open.step(self, 0));
        if let Ok(Step::Gone { earliest, latest }) = step {
            return ReadError::OutOfRange { requested: self.next_offset, earliest, latest };
        }
        self.log.read_error(error)
    }

    async fn open_sealed(
        &mut self,
        sealed: &Rc<SealedSegment>,
    ) -> Result<(crate::io::DirectFile, forebay_format::SegmentSalt, FilePosition), ReadError> {
        if self.sealed.is_none() {
            let identity = self.log.with_open(|open| open.identity);
            let Ok(identity) = identity else { return Err(ReadError::Stopping) };
            let reader = sealed.reader(&self.log.path, &identity, &self.log.in_use).await;
            self.sealed = Some(reader.map_err(|error| self.read_error(error))?);
        }
        let Some(reader) = &self.sealed else { return Err(ReadError::Stopping) };
        Ok((reader.file.clone(), reader.header.salt, reader.end()))
    }

    /// A reader of the segment that still grows sees it up to the end that was durable when it was
    /// made; beyond, a new one is needed, because the last block may be written again.
    fn read_growing(&mut self, segment: &ActiveSegment, limit: FilePosition) {
        let spent = self.disk.as_ref().is_none_or(|disk| self.position >= disk.limit());
        if spent && let Some(file) = segment.file() {
            self.used = Some(self.log.in_use.begin(self.segment));
            self.disk = Some(DiskReader::new(file, segment.header().salt, self.position, limit));
        }
    }

    /// The next run from disk; `None` at the reader's limit.
    async fn disk_run(&mut self, max_bytes: usize) -> Result<Option<Run>, ReadError> {
        let upto = self.log.with_open(|open| open.committed());
        let (Some(disk), Ok(upto)) = (&mut self.disk, upto) else { return Ok(None) };
        let walked = disk.run(self.position, self.next_offset, max_bytes, upto).await;
        let Some(walked) = walked.map_err(|error| self.read_error(error))? else {
            return Ok(None);
        };
        if self.is_astray() {
            // Which epochs the bytes are of is not known any more.
            let message = "the log was cut while it was read".to_owned();
            return Err(ReadError::Unavailable { message });
        }
        let budget = &self.log.context.read_ahead;
        self.disk.take_if(|disk| !disk.keep_within(budget));
        let first_offset = self.next_offset;
        self.position += walked.bytes as u64;
        self.move_to(walked.next_offset);
        self.log.context.metrics.disk_read_bytes.add(walked.bytes as u64);
        let marks = self.log.with_open(|open| (open.log_start(), open.committed()));
        let (earliest, committed) = marks.unwrap_or((first_offset, self.next_offset));
        let Walked { slices, bytes, next_offset, .. } = walked;
        Ok(Some(Run { slices, bytes, first_offset, next_offset, committed, earliest }))
    }

    /// Moves forward in the present segment to a place that its index knows.
    async fn jump(
        &mut self,
        in_sealed: impl Fn(&SegmentReader) -> FilePosition,
        in_active: impl Fn(&ActiveSegment) -> Option<FilePosition>,
    ) -> Result<(), ReadError> {
        let step = self.log.with_open(|open| open.step(self, 0));
        let to = match step {
            Ok(Step::Sealed(sealed)) => {
                self.open_sealed(&sealed).await?;
                self.sealed.as_deref().map(in_sealed)
            }
            Ok(Step::Growing { segment, limit }) => in_active(&segment).filter(|at| *at < limit),
            Ok(Step::Run(_)) => {
                let readable = self.log.with_open(|open| open.readable.clone());
                readable
                    .ok()
                    .and_then(|end| in_active(&end.segment).filter(|at| *at < end.position))
            }
            _ => None,
        };
        if let Some(to) = to.filter(|to| *to > self.position) {
            // The offset there is in its batch's header; the walk takes it from the first one.
            let offset = self.offset_at(to).await?;
            let committed = self.log.with_open(|open| open.committed());
            if committed.is_ok_and(|committed| offset <= committed) {
                self.position = to;
                self.disk = None;
                self.next_offset = offset;
            }
        }
        Ok(())
    }

    /// Base offset of the batch at `position` of the present segment.
    async fn offset_at(&mut self, position: FilePosition) -> Result<Offset, ReadError> {
        let Some(mut disk) = self.disk_reader().await? else { return Ok(self.next_offset) };
        let base = disk.base_offset_at(position).await;
        let base = base.map_err(|error| self.read_error(error))?;
        Ok(base.unwrap_or(self.next_offset))
    }

    /// A reader of the present segment from the present position on.
    async fn disk_reader(&mut self) -> Result<Option<DiskReader>, ReadError> {
        let position = self.position;
        match self.log.with_open(|open| open.place_of(self)) {
            Ok(Some(Source::Sealed(sealed))) => {
                let (file, salt, end) = self.open_sealed(&sealed).await?;
                Ok(Some(DiskReader::new(file, salt, position, end)))
            }
            Ok(Some(Source::Growing(segment, limit))) => {
                self.used = Some(self.log.in_use.begin(self.segment));
                let salt = segment.header().salt;
                Ok(segment.file().map(|file| DiskReader::new(file, salt, position, limit)))
            }
            Ok(None) | Err(_) => Ok(None),
        }
    }

    /// Skips batches until one fulfils `wanted`, within the present segment and those behind it.
    async fn walk_until(&mut self, wanted: impl Fn(&Walked) -> bool) -> Result<(), ReadError> {
        loop {
            let upto = self.log.with_open(|open| open.committed());
            let Ok(upto) = upto.map(|upto| upto.max(self.next_offset)) else { return Ok(()) };
            if self.next_offset == upto {
                return Ok(());
            }
            let Some(mut disk) = self.disk_reader().await? else { return Ok(()) };
            loop {
                let one = disk.run(self.position, self.next_offset, 1, upto).await;
                let one = one.map_err(|error| self.read_error(error))?;
                let Some(batch) = one else { break };
                if wanted(&batch) {
                    return Ok(());
                }
                self.position += batch.bytes as u64;
                self.next_offset = batch.next_offset;
            }
            if self.next_offset >= upto {
                return Ok(());
            }
            match self.log.with_open(|open| open.segment_after(self.segment)) {
                Ok(Some(next)) => self.enter(next),
                Ok(None) | Err(_) => return Ok(()),
            }
        }
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor")
            .field("partition", &self.log.id)
            .field("next_offset", &self.next_offset)
            .finish_non_exhaustive()
    }
}
