//! The committed mark of a log whose sequencer moves it, and where in the file the mark is.

use std::collections::VecDeque;

use forebay_format::{FilePosition, Offset};

/// The end of a batch with records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchEnd {
    /// Offset after the batch.
    pub(super) offset: Offset,
    /// Base offset of its segment.
    pub(super) segment: Offset,
    /// Where it ends there.
    pub(super) position: FilePosition,
}

/// Up to where a sequencer says that the log is committed.
///
/// Ends of control batches are not kept: they share their offset with the batch before, and a reader that
/// stands at the committed end must stand before what may be cut.
#[derive(Debug)]
pub(super) struct CommittedMark {
    told: Offset,
    /// The last batch end at or below `told`, among those that were appended since the log was opened.
    reached: Option<BatchEnd>,
    /// Ends above `told`, ascending.
    above: VecDeque<BatchEnd>,
}

impl CommittedMark {
    /// The mark of a log that was just opened.
    pub(super) fn new(told: Offset) -> Self {
        Self { told, reached: None, above: VecDeque::new() }
    }

    /// As the sequencer said; the log may not have so much durable.
    pub(super) fn told(&self) -> Offset {
        self.told
    }

    /// Takes note of a batch that was appended.
    pub(super) fn note(&mut self, offset: Offset, segment: Offset, position: FilePosition) {
        let end = BatchEnd { offset, segment, position };
        if offset <= self.told {
            self.reached = Some(end);
        } else {
            self.above.push_back(end);
        }
    }

    /// Moves the mark.
    pub(super) fn tell(&mut self, committed: Offset) {
        if committed < self.told {
            // Where that is, is in the file only.
            self.reached = None;
        }
        self.told = committed;
        while self.above.front().is_some_and(|end| end.offset <= committed) {
            self.reached = self.above.pop_front();
        }
    }

    /// Where the batch ends that ends exactly at `offset`, if that is remembered.
    pub(super) fn place_of(&self, offset: Offset) -> Option<BatchEnd> {
        self.reached.filter(|end| end.offset == offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(offset: u64) -> BatchEnd {
        let position = FilePosition::new(4096 + offset * 100);
        BatchEnd { offset: Offset::new(offset), segment: Offset::ZERO, position }
    }

    #[test]
    fn the_mark_knows_its_place_among_the_batches_appended_since() {
        let mut mark = CommittedMark::new(Offset::new(10));
        assert_eq!(mark.place_of(Offset::new(10)), None);
        for offset in [12, 15, 20] {
            let BatchEnd { offset, segment, position } = end(offset);
            mark.note(offset, segment, position);
        }
        mark.tell(Offset::new(15));
        assert_eq!(mark.place_of(Offset::new(15)), Some(end(15)));
        mark.tell(Offset::new(17));
        assert_eq!(mark.place_of(Offset::new(17)), None, "in the middle of a batch");
        mark.tell(Offset::new(12));
        assert_eq!((mark.told(), mark.place_of(Offset::new(12))), (Offset::new(12), None));
        mark.tell(Offset::new(20));
        assert_eq!(mark.place_of(Offset::new(20)), Some(end(20)));
    }
}
