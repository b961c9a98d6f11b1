//! Where reading ends in each partition, and whether it has got there. Pure.

use std::collections::BTreeMap;

use forebay_client::{Offset, PartitionIndex};

/// The exclusive ends of what is read.
#[derive(Debug, Clone)]
pub(super) enum Ends {
    /// Read on for ever.
    Never,
    /// Read each partition to its end.
    At {
        ends: BTreeMap<PartitionIndex, Offset>,
        /// Partitions whose end has not been reached.
        open: Vec<PartitionIndex>,
    },
}

impl Ends {
    /// A partition that ends at 0 has reached its end from the beginning.
    pub(super) fn at(ends: impl IntoIterator<Item = (PartitionIndex, Offset)>) -> Self {
        let ends: BTreeMap<_, _> = ends.into_iter().collect();
        let open =
            ends.iter().filter(|(_, end)| **end > Offset::ZERO).map(|(one, _)| *one).collect();
        Self::At { ends, open }
    }

    /// The end of one partition.
    pub(super) fn of(&self, partition: PartitionIndex) -> Option<Offset> {
        match self {
            Self::Never => None,
            Self::At { ends, .. } => ends.get(&partition).copied(),
        }
    }

    /// Everything before `next` has been read in this partition.
    pub(super) fn reach(&mut self, partition: PartitionIndex, next: Offset) {
        if let Self::At { ends, open } = self
            && ends.get(&partition).is_some_and(|end| next >= *end)
        {
            open.retain(|one| *one != partition);
        }
    }

    /// Whether all ends have been reached.
    pub(super) fn are_reached(&self) -> bool {
        matches!(self, Self::At { open, .. } if open.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: PartitionIndex = PartitionIndex::new(0);
    const SECOND: PartitionIndex = PartitionIndex::new(1);

    #[test]
    fn reading_ends_when_every_partition_has_reached_its_end() {
        let mut ends = Ends::at([(FIRST, Offset::new(5)), (SECOND, Offset::new(3))]);
        ends.reach(FIRST, Offset::new(4));
        ends.reach(SECOND, Offset::new(7));
        assert!(!ends.are_reached());
        ends.reach(FIRST, Offset::new(5));
        assert!(ends.are_reached());
    }

    #[test]
    fn empty_partitions_are_not_waited_for() {
        assert!(Ends::at([(FIRST, Offset::ZERO)]).are_reached());
    }

    #[test]
    fn without_ends_reading_goes_on() {
        let mut ends = Ends::Never;
        ends.reach(FIRST, Offset::new(u64::MAX));
        assert!(!ends.are_reached());
    }
}
