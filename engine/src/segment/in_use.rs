//! Which segment files somebody reads, so that none of them is given to another log.
//!
//! Kept by base offset and beside the segments' own entries, because a reader may outlive those: a
//! log that was closed and opened again has new entries for the same files.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use forebay_format::Offset;

/// The segments of one log that are read.
#[derive(Debug, Default)]
pub(crate) struct SegmentsInUse(RefCell<BTreeMap<Offset, Weak<()>>>);

/// Says, for as long as it lives, that a segment is read.
#[derive(Debug, Clone)]
pub(crate) struct SegmentUse {
    _held: Rc<()>,
}

impl SegmentsInUse {
    /// To be called before the first wait on the way to the file.
    pub(crate) fn begin(&self, segment: Offset) -> SegmentUse {
        let mut uses = self.0.borrow_mut();
        if let Some(held) = uses.get(&segment).and_then(Weak::upgrade) {
            return SegmentUse { _held: held };
        }
        uses.retain(|_, held| held.strong_count() > 0);
        let held = Rc::new(());
        uses.insert(segment, Rc::downgrade(&held));
        SegmentUse { _held: held }
    }

    /// Whether somebody reads the segment.
    pub(crate) fn contains(&self, segment: Offset) -> bool {
        self.0.borrow().get(&segment).is_some_and(|held| held.strong_count() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_in_use_until_the_last_of_its_readers_is_gone() {
        let uses = SegmentsInUse::default();
        let (first, second) = (uses.begin(Offset::new(5)), uses.begin(Offset::new(5)));
        let other = uses.begin(Offset::new(9));
        drop(first);
        assert!(uses.contains(Offset::new(5)) && uses.contains(Offset::new(9)));
        drop((second, other));
        assert!(!uses.contains(Offset::new(5)) && !uses.contains(Offset::new(9)));
    }
}
