//! Which alarm of a replica people are to see, and for how long. Pure.

use forebay_replication::Alarm;
use forebay_replication::metadata::PartitionState;

/// Whether people still have to look at it. Metadata that went back are right again as soon as they are newer
/// than what was seen; a replica that takes part in nothing does so until its process ends.
pub(super) fn still_holds(alarm: &Alarm, state: Option<&PartitionState>) -> bool {
    match alarm {
        Alarm::MetadataRolledBack { seen, found } => state.is_none_or(|state| {
            let same = state.version == *seen && found == seen;
            state.version < *seen || same
        }),
        Alarm::CutBelowCommitted { .. } | Alarm::ChainBroken { .. } => true,
    }
}

/// What people are to see when another alarm comes: what lasts is not hidden by what is put right by a
/// confirmation.
pub(super) fn graver(before: Option<Alarm>, new: Alarm) -> Alarm {
    match (before, new) {
        (
            Some(lasting @ (Alarm::CutBelowCommitted { .. } | Alarm::ChainBroken { .. })),
            Alarm::MetadataRolledBack { .. },
        ) => lasting,
        (_, new) => new,
    }
}

#[cfg(test)]
mod tests {
    use forebay_format::{Offset, Position};

    use super::*;

    #[test]
    fn lasting_alarm_is_not_hidden_by_metadata_that_went_back() {
        let back = |seen| Alarm::MetadataRolledBack { seen, found: 1 };
        let cut = Alarm::CutBelowCommitted { cut: Position::default(), committed: Offset::new(9) };
        for (before, new, shown) in [
            (None, back(5), back(5)),
            (Some(back(5)), back(6), back(6)),
            (Some(back(5)), cut, cut),
            (Some(cut), back(5), cut),
        ] {
            assert_eq!(graver(before, new), shown, "{new:?} after {before:?}");
        }
    }
}
