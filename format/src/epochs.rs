//! The epoch table of a log: which epoch began at which offset.

use crate::limits::EPOCHS_PER_SEGMENT_HEADER_MAX;
use crate::numbers::{Epoch, Offset};

/// An epoch and where it began.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: Epoch,
    /// Offset of the first record that it could have. Epochs without records share their start with
    /// the next one.
    pub start: Offset,
}

/// The latest epochs of a log, at most [`EPOCHS_PER_SEGMENT_HEADER_MAX`].
///
/// Invariant: epochs grow, starts never fall.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EpochTable {
    entries: Vec<EpochStart>,
}

impl EpochTable {
    /// A table without epochs.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Adds an epoch and forgets the oldest one when the table is full. Returns whether it was
    /// added: an epoch or a start that goes back is not.
    #[must_use = "false: the entry does not belong here"]
    pub fn push(&mut self, entry: EpochStart) -> bool {
        let grows = self
            .entries
            .last()
            .is_none_or(|last| last.epoch < entry.epoch && last.start <= entry.start);
        if grows {
            if self.entries.len() == EPOCHS_PER_SEGMENT_HEADER_MAX {
                self.entries.remove(0);
            }
            self.entries.push(entry);
        }
        grows
    }

    /// The highest epoch.
    pub fn latest(&self) -> Option<EpochStart> {
        self.entries.last().copied()
    }

    /// The epoch that the record at `offset` was written in; `None` when that is no longer known.
    /// Where several began at one offset, the last of them wrote the record.
    pub fn epoch_at(&self, offset: Offset) -> Option<Epoch> {
        let after = self.entries.partition_point(|entry| entry.start <= offset);
        after.checked_sub(1).map(|index| self.entries[index].epoch)
    }

    /// Whether an epoch began exactly at `offset`: then a batch without records may stand there.
    pub fn begins_at(&self, offset: Offset) -> bool {
        self.entries.binary_search_by_key(&offset, |entry| entry.start).is_ok()
    }

    /// Forgets epochs that began at or after `end`, as a cut there does, except those that began
    /// exactly there and are not above `last`: their control batch may remain.
    pub fn cut(&mut self, end: Offset, last: Epoch) {
        self.entries.retain(|entry| entry.start <= end && entry.epoch <= last);
    }

    /// All of them, oldest first.
    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(epoch: u64, start: u64) -> EpochStart {
        EpochStart { epoch: Epoch::new(epoch), start: Offset::new(start) }
    }

    fn table(entries: &[(u64, u64)]) -> EpochTable {
        let mut table = EpochTable::new();
        for &(epoch, start) in entries {
            assert!(table.push(entry(epoch, start)));
        }
        table
    }

    #[test]
    fn entries_that_go_back_are_refused() {
        let mut table = table(&[(3, 10)]);
        assert!(!table.push(entry(3, 10)));
        assert!(!table.push(entry(4, 9)));
        assert!(table.push(entry(4, 10)));
        assert_eq!(table.latest(), Some(entry(4, 10)));
    }

    #[test]
    fn full_table_forgets_its_oldest_epoch() {
        let mut table = EpochTable::new();
        for epoch in 0..=EPOCHS_PER_SEGMENT_HEADER_MAX as u64 {
            assert!(table.push(entry(epoch, epoch)));
        }
        assert_eq!(table.entries().len(), EPOCHS_PER_SEGMENT_HEADER_MAX);
        assert_eq!(table.entries()[0], entry(1, 1));
        assert_eq!(table.epoch_at(Offset::ZERO), None);
    }

    #[test]
    fn record_belongs_to_the_last_epoch_that_began_at_or_before_it() {
        let table = table(&[(1, 0), (2, 5), (4, 5), (7, 9)]);
        for (offset, epoch) in [(0, 1), (4, 1), (5, 4), (8, 4), (9, 7), (1000, 7)] {
            assert_eq!(table.epoch_at(Offset::new(offset)), Some(Epoch::new(epoch)), "{offset}");
        }
    }

    #[test]
    fn cut_keeps_the_epochs_of_what_remains() {
        let mut table = table(&[(1, 0), (2, 5), (4, 5), (7, 9)]);
        table.cut(Offset::new(5), Epoch::new(2));
        assert_eq!(table.entries(), [entry(1, 0), entry(2, 5)]);
    }
}
