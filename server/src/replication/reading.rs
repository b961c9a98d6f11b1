//! What the engine is told of a reader's past, from what the protocol answers (R13). Pure.

use forebay_engine::Lineage;
use forebay_format::Epoch;
use forebay_replication::{ReadAnswer, ReadRequest};

/// `own` is the epoch of the replica's last batch.
pub(super) fn lineage(answer: ReadAnswer, own: Epoch, request: &ReadRequest) -> Lineage {
    match answer {
        ReadAnswer::DataLoss { from, .. } => Lineage::Parted { from },
        // It has come to the end, and waits there for what comes next.
        ReadAnswer::Ahead { committed, .. }
            if request.offset <= committed && request.epoch <= own =>
        {
            Lineage::Shared
        }
        ReadAnswer::Ahead { .. } => Lineage::Ahead,
        // That offset is refused by itself.
        ReadAnswer::Readable { .. } | ReadAnswer::BelowLogStart { .. } => Lineage::Shared,
    }
}

#[cfg(test)]
mod tests {
    use forebay_format::Offset;
    use forebay_replication::Token;

    use super::*;

    #[test]
    fn reader_at_the_end_waits_and_one_beyond_it_goes_elsewhere() {
        let ahead = ReadAnswer::Ahead { committed: Offset::new(10), leader: None };
        for (offset, epoch, expected) in [
            (10, 3, Lineage::Shared),
            (11, 3, Lineage::Ahead),
            // It has read a newer leader's records, wherever they lie.
            (10, 4, Lineage::Ahead),
            (5, 4, Lineage::Ahead),
        ] {
            let epoch = Epoch::new(epoch);
            let request = ReadRequest { token: Token(0), epoch, offset: Offset::new(offset) };
            assert_eq!(lineage(ahead, Epoch::new(3), &request), expected, "{request:?}");
        }
    }

    #[test]
    fn reader_on_another_lineage_is_told_from_where_on() {
        let (from, upto) = (Offset::new(4), Offset::new(9));
        let request = ReadRequest { token: Token(0), epoch: Epoch::new(2), offset: upto };
        let answer = ReadAnswer::DataLoss { from, upto };
        assert_eq!(lineage(answer, Epoch::new(3), &request), Lineage::Parted { from });
    }
}
