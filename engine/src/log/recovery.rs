//! What a start does with what it finds: the decision table, without any I/O.
//!
//! | found | done |
//! | --- | --- |
//! | a clean entry that names this replica, salt, end and log start | trust it, no scan |
//! | an active segment whose batches all verify | keep all of it |
//! | bytes that are no batch, at or above everything known to be synced | cut there |
//! | the same below it | corruption: never cut |
//! | a batch that verifies and does not continue the one before | corruption: never cut |
//! | a log that ends before, or otherwise than, a clean entry of this replica says | corruption: never cut |
//! | a cut that was recorded and not finished | finish it first |
//! | a folder that is to take the place of a replica's log | let it, before anything else is looked at |
//!
//! (A header block of somebody else is refused, and a bad index rebuilt, where they are read:
//! `segment::sealed`.)

use forebay_format::{CleanEntry, FilePosition, Offset, PartitionMeta, SegmentHeader};

use crate::segment::{Scan, ScanStop};

/// What to do with the active segment after its walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TailDecision {
    /// All of it is log.
    Keep,
    /// The log ends at `at`. Bytes up to `wipe_end` must be zeroed before anything is appended,
    /// because batches of this life of the file lie there; nothing needs to be when it is not
    /// beyond `at`.
    Cut {
        /// Exclusive end of the last good batch.
        at: FilePosition,
        /// Exclusive end of the bytes to zero.
        wipe_end: FilePosition,
    },
    /// Bytes that were durable are damaged.
    Corrupt {
        /// Where.
        position: FilePosition,
        /// The offset that should be there.
        offset: Offset,
        /// What is wrong, in words.
        what: String,
    },
}

/// Up to where a clean stop of this replica says that everything was synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Vouched {
    /// Exclusive end of the last batch then.
    pub(super) end: FilePosition,
    /// Whether the walk found a batch that ends there, with the header checksum of that time.
    pub(super) fits: bool,
}

/// Decides what the end of a walk means.
pub(super) fn decide_tail(scan: &Scan, vouched: Option<Vouched>) -> TailDecision {
    let corrupt = |what: String| TailDecision::Corrupt {
        position: scan.end,
        offset: scan.chain.next_offset,
        what,
    };
    if let Some(Vouched { end, .. }) = vouched.filter(|vouched| scan.end < vouched.end) {
        let found = match &scan.stop {
            ScanStop::End => "the file ends".to_owned(),
            ScanStop::NotABatch { error, .. } => error.to_string(),
            ScanStop::BrokenChain { what } => what.clone(),
        };
        return corrupt(format!("{found}; the last clean stop left a log up to byte {end}"));
    }
    if let Some(Vouched { end, fits: false }) = vouched {
        return corrupt(format!(
            "no batch ends at byte {end} with the checksum that the last clean stop noted"
        ));
    }
    match &scan.stop {
        ScanStop::End => TailDecision::Keep,
        // Sectors of an unsynced group persist in any order, so whatever follows it says nothing.
        ScanStop::NotABatch { later_batches_end, .. } if scan.end >= scan.durable_upto => {
            TailDecision::Cut { at: scan.end, wipe_end: *later_batches_end }
        }
        ScanStop::NotABatch { error, .. } => {
            corrupt(format!("{error}; everything below byte {} was synced", scan.durable_upto))
        }
        ScanStop::BrokenChain { what } => corrupt(what.clone()),
    }
}

/// Whether a clean entry describes the files that are there, so that no scan is needed.
pub(super) fn trusts(
    entry: &CleanEntry,
    meta: &PartitionMeta,
    active: &SegmentHeader,
    active_bytes: u64,
) -> bool {
    entry.replica == meta.replica
        && entry.promised_epoch == meta.promised_epoch
        && entry.log_start == meta.log_start
        && meta.pending_cut.is_none()
        && entry.active_segment == active.base_offset
        && entry.salt == active.salt
        && entry.end_position.get() <= active_bytes
}

#[cfg(test)]
mod tests {
    use forebay_format::{BatchError, Epoch, TimestampMs};

    use super::*;
    use crate::segment::Chain;

    fn scan(end: u64, durable_upto: u64, stop: ScanStop) -> Scan {
        Scan {
            end: FilePosition::new(end),
            chain: Chain {
                next_offset: Offset::new(7),
                header_crc: 1,
                epoch: Epoch::new(1),
                append_time: TimestampMs::new(0),
            },
            durable_upto: FilePosition::new(durable_upto),
            stop,
        }
    }

    fn not_a_batch(later: u64) -> ScanStop {
        ScanStop::NotABatch {
            error: BatchError::Magic { found: 0, expected: 1 },
            later_batches_end: FilePosition::new(later),
        }
    }

    #[test]
    fn a_segment_of_good_batches_is_kept_whole() {
        assert_eq!(decide_tail(&scan(8192, 4096, ScanStop::End), None), TailDecision::Keep);
    }

    #[test]
    fn a_torn_tail_is_cut_at_the_last_good_batch() {
        let cut = TailDecision::Cut { at: FilePosition::new(8192), wipe_end: FilePosition::new(0) };
        assert_eq!(decide_tail(&scan(8192, 8192, not_a_batch(0)), None), cut);
    }

    #[test]
    fn good_batches_behind_a_torn_one_do_not_save_it_and_are_wiped() {
        let cut =
            TailDecision::Cut { at: FilePosition::new(8192), wipe_end: FilePosition::new(20_000) };
        assert_eq!(decide_tail(&scan(8192, 5000, not_a_batch(20_000)), None), cut);
    }

    #[test]
    fn damage_below_what_was_synced_is_corruption() {
        let decision = decide_tail(&scan(8192, 8193, not_a_batch(20_000)), None);
        assert!(matches!(decision, TailDecision::Corrupt { .. }), "{decision:?}");
    }

    #[test]
    fn a_batch_written_here_that_breaks_the_chain_is_corruption_even_at_the_end() {
        let stop = ScanStop::BrokenChain { what: "epoch 1 after epoch 2".to_owned() };
        let decision = decide_tail(&scan(8192, 0, stop), None);
        assert!(matches!(decision, TailDecision::Corrupt { .. }), "{decision:?}");
    }

    fn vouched(end: u64, fits: bool) -> Vouched {
        Vouched { end: FilePosition::new(end), fits }
    }

    #[test]
    fn a_torn_tail_below_the_end_of_a_clean_stop_is_corruption() {
        let decision = decide_tail(&scan(8192, 5000, not_a_batch(0)), Some(vouched(9000, false)));
        assert!(matches!(decision, TailDecision::Corrupt { .. }), "{decision:?}");
    }

    #[test]
    fn a_file_that_ends_before_the_end_of_a_clean_stop_is_corruption() {
        let decision = decide_tail(&scan(8192, 5000, ScanStop::End), Some(vouched(9000, false)));
        assert!(matches!(decision, TailDecision::Corrupt { .. }), "{decision:?}");
    }

    #[test]
    fn another_batch_at_the_end_of_a_clean_stop_is_corruption() {
        let decision = decide_tail(&scan(8192, 5000, not_a_batch(0)), Some(vouched(8192, false)));
        assert!(matches!(decision, TailDecision::Corrupt { .. }), "{decision:?}");
    }

    #[test]
    fn what_lies_behind_the_end_of_a_clean_stop_is_cut() {
        let decision = decide_tail(&scan(8192, 5000, not_a_batch(0)), Some(vouched(8192, true)));
        assert!(matches!(decision, TailDecision::Cut { .. }), "{decision:?}");
    }
}
