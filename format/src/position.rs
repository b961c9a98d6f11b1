//! Where a log ends, in a way that two logs can be compared by.

use std::fmt;

use crate::numbers::{Epoch, Offset};

/// A place in a log: the epoch of the last batch before it, and the exclusive end offset.
///
/// An epoch has one leader, which only ever appends, so two logs that hold the same position are equal
/// up to it. The offset alone says nothing of the kind: offsets that were never committed are used
/// again. An epoch-start batch takes no offset but begins an epoch, so that it has a position of its
/// own. Ordered by epoch first (R5): a longer log of an older epoch is behind.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// Epoch of the last batch; 0 for a log that never had one.
    pub epoch: Epoch,
    /// Offset after its last record.
    pub end: Offset,
}

impl Position {
    /// The end of a log that never had a batch.
    pub const ZERO: Self = Self { epoch: Epoch::ZERO, end: Offset::ZERO };

    /// Puts the two together.
    pub const fn new(epoch: Epoch, end: Offset) -> Self {
        Self { epoch, end }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_epoch_is_ahead_of_a_longer_log_and_its_start_has_a_place_of_its_own() {
        let at = |epoch, end| Position::new(Epoch::new(epoch), Offset::new(end));
        assert!(at(2, 5) > at(1, 900));
        assert!(at(2, 5) > at(1, 5), "the epoch-start batch of 2, appended at 5");
        assert!(at(2, 6) > at(2, 5));
    }
}
