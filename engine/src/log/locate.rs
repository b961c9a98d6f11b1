//! Finding a position in a log: the segment by its header, the neighbourhood by the index, the batch by
//! walking.
//!
//! An epoch-start batch takes no offset but has a position of its own, so an index, which knows offsets
//! alone, only says where to begin.

use std::rc::Rc;

use forebay_format::segment::FIRST_BATCH_POSITION;
use forebay_format::{EpochTable, FilePosition, Offset, Position, SegmentHeader, SegmentSalt};

use super::ReadError;
use super::disk_reader::DiskReader;
use super::partition::{PartitionLog, ReadableEnd};
use super::retention::is_given_up;
use crate::io::DirectFile;
use crate::segment::{Chain, SealedSegment, SegmentError, SegmentReader, SegmentUse};

/// Offset that no batch goes beyond.
pub(super) const NO_LIMIT: Offset = Offset::new(u64::MAX);

/// A place between two batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogPlace {
    /// Base offset of the segment.
    pub(super) segment: Offset,
    /// Where in it.
    pub(super) position: FilePosition,
    /// Offset of the next record there.
    pub(super) offset: Offset,
}

/// What is stored of a log durably, as it was at one moment.
struct Stored {
    sealed: Vec<Rc<SealedSegment>>,
    growing: ReadableEnd,
    durable: Position,
    epochs: EpochTable,
}

/// One segment, open.
enum Part {
    Sealed(Rc<SegmentReader>),
    Growing(ReadableEnd),
}

impl Part {
    fn header(&self) -> &SegmentHeader {
        match self {
            Self::Sealed(reader) => &reader.header,
            Self::Growing(end) => end.segment.header(),
        }
    }

    fn begins(&self) -> Position {
        Chain::before(self.header()).position()
    }

    /// File, salt and exclusive end; `None` while nothing is on disk.
    fn file(&self) -> Option<(DirectFile, SegmentSalt, FilePosition)> {
        let salt = self.header().salt;
        match self {
            Self::Sealed(reader) => Some((reader.file.clone(), salt, reader.end())),
            Self::Growing(end) => Some((end.segment.file()?, salt, end.position)),
        }
    }

    /// A batch at or before the one with the record `offset`.
    fn near(&self, offset: Offset) -> FilePosition {
        match self {
            Self::Sealed(reader) => reader.before_offset(offset),
            Self::Growing(end) => {
                let found = end.segment.index().borrow().before_offset(offset);
                found.filter(|at| *at < end.position).unwrap_or(FIRST_BATCH_POSITION)
            }
        }
    }
}

impl PartitionLog {
    /// The place behind the last durable batch whose end position is at most `to`. `None` when the log
    /// that is stored begins above.
    ///
    /// # Errors
    /// Why the log cannot be read.
    pub(super) async fn locate(
        self: &Rc<Self>,
        to: Position,
    ) -> Result<Option<LogPlace>, ReadError> {
        loop {
            self.ensure_open().await?;
            let life = self.rewritten.get();
            let stored = self.with_open(|open| Stored {
                sealed: open.sealed.iter().map(Rc::clone).collect(),
                growing: open.readable.clone(),
                durable: open.durable,
                epochs: open.state.epochs.clone(),
            });
            let Ok(stored) = stored else { continue };
            match self.locate_in(&stored, to).await {
                _ if self.rewritten.get() != life => {}
                found => return found.map_err(|error| self.read_error(error)),
            }
        }
    }

    async fn locate_in(
        &self,
        stored: &Stored,
        to: Position,
    ) -> Result<Option<LogPlace>, SegmentError> {
        if to >= stored.durable {
            let ReadableEnd { segment, position } = &stored.growing;
            let (segment, position) = (segment.header().base_offset, *position);
            return Ok(Some(LogPlace { segment, position, offset: stored.durable.end }));
        }
        // The last segment that begins at or below.
        let (mut below, mut above) = (0, stored.sealed.len() + 1);
        let mut found = None;
        while below < above {
            let middle = usize::midpoint(below, above);
            let (part, used) = self.open_part(stored, middle).await?;
            if part.begins() <= to {
                below = middle + 1;
                found = Some((part, used));
            } else {
                above = middle;
            }
        }
        match found {
            Some((part, _used)) => self.walk_to(&part, &stored.epochs, to).await.map(Some),
            None => Ok(None),
        }
    }

    async fn open_part(
        &self,
        stored: &Stored,
        at: usize,
    ) -> Result<(Part, Option<SegmentUse>), SegmentError> {
        let Some(sealed) = stored.sealed.get(at) else {
            let used = self.in_use.begin(stored.growing.segment.header().base_offset);
            return Ok((Part::Growing(stored.growing.clone()), Some(used)));
        };
        let identity = stored.growing.segment.header().identity;
        let reader = sealed.reader(&self.path, &identity, &self.in_use).await?;
        Ok((Part::Sealed(reader), None))
    }

    async fn walk_to(
        &self,
        part: &Part,
        epochs: &EpochTable,
        to: Position,
    ) -> Result<LogPlace, SegmentError> {
        let base = part.header().base_offset;
        let mut place = LogPlace { segment: base, position: FIRST_BATCH_POSITION, offset: base };
        let Some((file, salt, limit)) = part.file() else { return Ok(place) };
        let bound = first_offset_beyond(epochs, to).unwrap_or(base);
        if let Some(before) = bound.checked_sub(Offset::new(1))
            && before >= base.get()
        {
            place.position = part.near(Offset::new(before));
        }
        let mut disk = DiskReader::new(file, salt, place.position, limit);
        place.offset = disk.base_offset_at(place.position).await?.unwrap_or(base);
        while let Some(batch) = disk.run(place.position, place.offset, 1, NO_LIMIT).await? {
            if Position::new(batch.epoch, batch.next_offset) > to {
                break;
            }
            place.position += batch.bytes as u64;
            place.offset = batch.next_offset;
        }
        Ok(place)
    }
}

impl PartitionLog {
    /// The header of the last segment that begins at or below the log start, and not behind the first batch of
    /// an epoch that stands there: that may be the last batch of the segment before.
    pub(super) async fn header_at_log_start(self: &Rc<Self>) -> Result<SegmentHeader, ReadError> {
        loop {
            self.ensure_open().await?;
            let part = self.with_open(|open| {
                let log_start = open.log_start();
                let epochs = &open.state.epochs;
                // What is given up may be there still.
                let mut kept = open
                    .sealed
                    .iter()
                    .skip_while(|sealed| is_given_up(sealed.end_offset, log_start, epochs));
                match kept.next() {
                    Some(sealed) => Err((Rc::clone(sealed), open.identity)),
                    None => Ok(open.readable.segment.header().clone()),
                }
            });
            match part {
                Ok(Ok(header)) => return Ok(header),
                Ok(Err((sealed, identity))) => {
                    let reader = sealed.reader(&self.path, &identity, &self.in_use).await;
                    return match reader {
                        Ok(reader) => Ok(reader.header.clone()),
                        Err(error) => Err(self.read_error(error)),
                    };
                }
                Err(_) => {}
            }
        }
    }
}

/// The lowest base offset that a batch beyond `to` can have; `None` when the table does not go back so far.
fn first_offset_beyond(epochs: &EpochTable, to: Position) -> Option<Offset> {
    let entries = epochs.entries();
    match entries.iter().position(|entry| entry.epoch > to.epoch) {
        None => Some(to.end),
        Some(0) => None,
        Some(at) => Some(to.end.min(entries[at].start)),
    }
}
