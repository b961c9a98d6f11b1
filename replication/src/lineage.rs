//! R9 and R13: where two logs part, told from their epoch tables alone.

use forebay_format::{Epoch, EpochTable, Offset, Position};

/// The last position that two logs have in common.
///
/// An epoch has one leader, which only appends. So two logs that both have an epoch are equal up to where
/// the first of them leaves it. [`Position::ZERO`] when no epoch is known to both.
pub(crate) fn last_common(
    (ours, our_end): (&EpochTable, Offset),
    (theirs, their_end): (&EpochTable, Offset),
) -> Position {
    for (index, entry) in ours.entries().iter().enumerate().rev() {
        let Ok(other) = theirs.entries().binary_search_by_key(&entry.epoch, |other| other.epoch)
        else {
            continue;
        };
        // With another start, one of the tables is wrong; older epochs may still agree.
        if theirs.entries()[other].start == entry.start {
            let end = end_of(ours, index, our_end).min(end_of(theirs, other, their_end));
            return Position::new(entry.epoch, end);
        }
    }
    Position::ZERO
}

/// Where the log leaves the epoch of this entry.
fn end_of(table: &EpochTable, index: usize, log_end: Offset) -> Offset {
    table.entries().get(index + 1).map_or(log_end, |next| next.start)
}

/// Where a reader that has read up to `upto`, the last record in `epoch`, has left the log: `None` when
/// all it read is in the log, as far as the table knows.
///
/// Only for an `epoch` that is not above the log's own last one: of newer epochs a table knows nothing.
pub(crate) fn parted_at(table: &EpochTable, epoch: Epoch, upto: Offset) -> Option<Offset> {
    let entries = table.entries();
    // The last epoch that is not above the reader's.
    let Some(index) = entries.partition_point(|entry| entry.epoch <= epoch).checked_sub(1) else {
        // Where the table begins, the log has later epochs only.
        return entries.first().map(|first| first.start).filter(|start| *start < upto);
    };
    let end = entries.get(index + 1).map(|next| next.start)?;
    if entries[index].epoch == epoch {
        return (upto > end).then_some(end);
    }
    // The log does not have the epoch, so at least the last record that was read is not in it.
    Some(end.min(Offset::new(upto.get().saturating_sub(1))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_format::EpochStart;

    fn table(entries: &[(u64, u64)]) -> EpochTable {
        let mut table = EpochTable::new();
        for &(epoch, start) in entries {
            assert!(table.push(EpochStart { epoch: Epoch::new(epoch), start: Offset::new(start) }));
        }
        table
    }

    /// Tables and ends of two logs, and where they part.
    type Case<'a> = ((&'a [(u64, u64)], u64), (&'a [(u64, u64)], u64), (u64, u64));

    #[test]
    fn logs_part_where_the_first_of_them_leaves_their_last_common_epoch() {
        let cases: [Case; 9] = [
            ((&[(1, 0)], 9), (&[(1, 0)], 9), (1, 9)),
            ((&[(1, 0)], 9), (&[(1, 0)], 4), (1, 4)),
            ((&[(1, 0), (2, 5)], 9), (&[(1, 0)], 7), (1, 5)),
            // Ends at the same offset, but without the epoch-start batch.
            ((&[(1, 0), (2, 5)], 5), (&[(1, 0)], 5), (1, 5)),
            // Each went on in an epoch of its own, at equal lengths.
            ((&[(1, 0), (3, 5)], 9), (&[(1, 0), (2, 4)], 9), (1, 4)),
            // Epochs without records.
            ((&[(1, 0), (2, 3), (4, 3)], 3), (&[(1, 0), (2, 3), (3, 3)], 8), (2, 3)),
            ((&[(2, 0)], 3), (&[(1, 0)], 3), (0, 0)),
            ((&[(2, 0)], 3), (&[], 0), (0, 0)),
            // A table that contradicts is not believed in that epoch.
            ((&[(1, 0), (2, 5)], 9), (&[(1, 0), (2, 6)], 9), (1, 5)),
        ];
        for ((ours, our_end), (theirs, their_end), (epoch, end)) in cases {
            let (ours, theirs) = (table(ours), table(theirs));
            let (ours, theirs) = ((&ours, Offset::new(our_end)), (&theirs, Offset::new(their_end)));
            let expected = Position::new(Epoch::new(epoch), Offset::new(end));
            assert_eq!(last_common(ours, theirs), expected);
            assert_eq!(last_common(theirs, ours), expected, "the other way round");
        }
    }

    #[test]
    fn reader_has_left_the_log_where_it_leaves_the_epoch_that_was_read() {
        let table = table(&[(2, 0), (4, 5), (5, 9)]);
        let cases = [
            (2, 5, None),
            (2, 6, Some(5)),
            // Epoch 3 never wrote anything that stayed.
            (3, 6, Some(5)),
            (3, 5, Some(4)),
            (4, 9, None),
            (4, 12, Some(9)),
            (5, 900, None),
            // Older than anything that the table knows, at offsets that it knows.
            (1, 3, Some(0)),
        ];
        for (epoch, upto, expected) in cases {
            let found = parted_at(&table, Epoch::new(epoch), Offset::new(upto));
            assert_eq!(found, expected.map(Offset::new), "{epoch} up to {upto}");
        }
    }
}
