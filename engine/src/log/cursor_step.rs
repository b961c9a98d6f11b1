//! What an open log has for a cursor: where a place is, and the next run from memory, or what to read it from.

use std::rc::Rc;

use bytes::Bytes;
use forebay_format::limits::BATCH_BYTES_MAX;
use forebay_format::segment::FIRST_BATCH_POSITION;
use forebay_format::{FilePosition, Offset, TimestampMs};

use super::committed::BatchEnd;
use super::cursor::{Cursor, Run};
use super::partition::OpenLog;
use crate::segment::{ActiveSegment, SealedSegment};

/// What is to be done for the next run.
pub(super) enum Step {
    Run(Run),
    Wait,
    Sealed(Rc<SealedSegment>),
    Growing { segment: Rc<ActiveSegment>, limit: FilePosition },
    NextSegment(Offset),
    Gone { earliest: Offset, latest: Offset },
}

/// A place at a batch boundary.
pub(super) struct Place {
    pub(super) segment: Offset,
    pub(super) position: FilePosition,
    pub(super) offset: Offset,
}

impl Place {
    pub(super) fn start_of(segment: Offset) -> Self {
        Self { segment, position: FIRST_BATCH_POSITION, offset: segment }
    }
}

impl OpenLog {
    pub(super) fn readable_base(&self) -> Offset {
        self.readable.segment.header().base_offset
    }

    pub(super) fn readable_place(&self) -> Place {
        Place {
            segment: self.readable_base(),
            position: self.readable.position,
            offset: self.durable.end,
        }
    }

    /// The start of the segment that holds `offset`; the readable end for the end.
    pub(super) fn segment_of(&self, offset: Offset) -> Place {
        if offset >= self.committed() {
            match &self.committed {
                None => return self.readable_place(),
                Some(mark) => {
                    if let Some(BatchEnd { offset, segment, position }) = mark.place_of(offset) {
                        return Place { segment, position, offset };
                    }
                }
            }
        }
        let after = self.sealed.partition_point(|sealed| sealed.base_offset <= offset);
        match after.checked_sub(1).and_then(|at| self.sealed.get(at)) {
            Some(sealed) if offset < sealed.end_offset => Place::start_of(sealed.base_offset),
            _ => Place::start_of(self.readable_base()),
        }
    }

    /// The start of the first segment that can hold a batch of `time` or later.
    pub(super) fn segment_of_time(&self, time: TimestampMs) -> Place {
        let first =
            self.sealed.iter().find(|sealed| sealed.last_append().is_none_or(|last| last >= time));
        let base = first.map_or_else(|| self.readable_base(), |sealed| sealed.base_offset);
        if base > self.committed() {
            return self.segment_of(self.committed());
        }
        Place::start_of(base)
    }

    /// Whole batches from `position` of the readable segment on, out of the tail cache.
    pub(super) fn cached_run(&self, cursor: &Cursor, max_bytes: usize) -> Option<Run> {
        let (segment, position) = (cursor.segment, cursor.position);
        if !self.cache.holds(segment, position) {
            return None;
        }
        let (end, next_offset) = self.boundary(position, max_bytes)?;
        // Where the index has gaps, because it is full, a run is cut by walking the headers.
        let longest = BATCH_BYTES_MAX as u64 + self.index_interval_bytes;
        if end - position > longest.max(max_bytes as u64) {
            return None;
        }
        let slices = self.cache.slices(segment, position, end)?;
        let bytes = slices.iter().map(Bytes::len).sum();
        Some(Run {
            slices,
            bytes,
            first_offset: cursor.next_offset,
            next_offset,
            committed: self.committed(),
            earliest: self.log_start(),
        })
    }

    /// Where the readable segment ends for readers; `None` where only the file knows.
    pub(super) fn committed_end(&self) -> Option<(FilePosition, Offset)> {
        let Some(mark) = &self.committed else {
            return Some((self.readable.position, self.durable.end));
        };
        let end = mark.place_of(self.committed())?;
        (end.segment == self.readable_base()).then_some((end.position, end.offset))
    }

    /// A batch boundary of the readable segment behind `position`, at most `max_bytes` away if
    /// there is one that near.
    pub(super) fn boundary(
        &self,
        position: FilePosition,
        max_bytes: usize,
    ) -> Option<(FilePosition, Offset)> {
        let all = self.committed_end()?;
        let wanted = position + max_bytes as u64;
        if wanted >= all.0 {
            return Some(all);
        }
        let base = self.readable_base();
        let index = self.readable.segment.index().borrow();
        let near = index.at_or_before(wanted).filter(|entry| entry.position() > position);
        let entry = near.or_else(|| index.after(wanted));
        match entry {
            Some(entry) if entry.position() < all.0 => {
                Some((entry.position(), base + u64::from(entry.relative_offset)))
            }
            _ => Some(all),
        }
    }

    pub(super) fn step(&self, cursor: &Cursor, max_bytes: usize) -> Step {
        let (earliest, latest) = (self.log_start(), self.committed());
        if cursor.next_offset < earliest {
            return Step::Gone { earliest, latest };
        }
        if cursor.next_offset >= latest {
            return Step::Wait;
        }
        if cursor.segment == self.readable_base() {
            if let Some(run) = self.cached_run(cursor, max_bytes) {
                return Step::Run(run);
            }
            let segment = Rc::clone(&self.readable.segment);
            return Step::Growing { segment, limit: self.readable.position };
        }
        match self.sealed_at(cursor.segment) {
            Some(sealed) if cursor.next_offset >= sealed.end_offset => {
                Step::NextSegment(sealed.end_offset)
            }
            Some(sealed) if !sealed.is_finished() => Step::Wait,
            Some(sealed) => Step::Sealed(Rc::clone(sealed)),
            None => Step::Gone { earliest, latest },
        }
    }
}

/// What a segment is read from.
pub(super) enum Source {
    Sealed(Rc<SealedSegment>),
    Growing(Rc<ActiveSegment>, FilePosition),
}

impl OpenLog {
    pub(super) fn place_of(&self, cursor: &Cursor) -> Option<Source> {
        if cursor.segment == self.readable_base() {
            let segment = Rc::clone(&self.readable.segment);
            return Some(Source::Growing(segment, self.readable.position));
        }
        self.sealed_at(cursor.segment).map(Rc::clone).map(Source::Sealed)
    }

    pub(super) fn segment_after(&self, base: Offset) -> Option<Offset> {
        self.sealed_at(base).map(|sealed| sealed.end_offset)
    }

    pub(super) fn sealed_at(&self, base: Offset) -> Option<&Rc<SealedSegment>> {
        let at = self.sealed.partition_point(|sealed| sealed.base_offset < base);
        self.sealed.get(at).filter(|sealed| sealed.base_offset == base)
    }
}
