//! The last batches that a leader appended, in memory: what live followers are fed from, before it is
//! on this node's own disk (R14).

use std::collections::VecDeque;

use bytes::Bytes;
use forebay_engine::IncomingBatch;
use forebay_format::limits::{CLIENT_HEADER_BYTES, HEADER_BYTES};
use forebay_format::{BatchMeta, Position, stamp_leader};
use smallvec::SmallVec;

use super::link::Batches;

/// Bytes of durable batches that are kept for followers which are a little behind.
const KEPT_BYTES: usize = 4 * 1024 * 1024;

/// See the module. Invariant: everything appended in this epoch that is not durable is in here.
#[derive(Debug, Default)]
pub(super) struct Window {
    batches: VecDeque<Held>,
    bytes: usize,
}

#[derive(Debug)]
struct Held {
    /// Where the batch before it ends.
    after: Position,
    /// Where it ends.
    upto: Position,
    /// With the leader's fields; what a replica writes for itself is zero.
    header: Bytes,
    payload: SmallVec<[Bytes; 2]>,
    bytes: usize,
}

/// Batches to be sent.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) batches: Batches,
    pub(super) bytes: usize,
    /// Where the last one ends.
    pub(super) upto: Position,
}

impl Window {
    /// Adds a batch that was appended behind `after`.
    pub(super) fn push(&mut self, after: Position, batch: &IncomingBatch, meta: &BatchMeta) {
        let mut header = [0; HEADER_BYTES];
        header[..CLIENT_HEADER_BYTES].copy_from_slice(&batch.header);
        let header_crc = stamp_leader(&mut header, &meta.leader);
        debug_assert_eq!(header_crc, meta.header_crc, "stamped as the protocol does it");
        let bytes = batch.batch_bytes();
        self.bytes += bytes;
        self.batches.push_back(Held {
            after,
            upto: meta.position(),
            header: Bytes::copy_from_slice(&header),
            payload: batch.payload.clone(),
            bytes,
        });
    }

    /// Lets go of the oldest, as far as they are durable and too many.
    pub(super) fn trim(&mut self, durable: Position) {
        while self.bytes > KEPT_BYTES
            && let Some(front) = self.batches.front().filter(|front| front.upto <= durable)
        {
            self.bytes -= front.bytes;
            self.batches.pop_front();
        }
    }

    /// Forgets everything: the log ends otherwise now, or somebody else leads.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Batches that follow `after`, one at least; `None` when they are not in here.
    pub(super) fn after(
        &self,
        after: Position,
        batches_max: usize,
        bytes_max: usize,
    ) -> Option<Run> {
        let first = self.batches.partition_point(|held| held.upto <= after);
        let begins = self.batches.get(first)?;
        if begins.after > after {
            return None;
        }
        let mut run = Run { batches: Batches::new(), bytes: 0, upto: after };
        for held in self.batches.range(first..).take(batches_max) {
            if run.bytes > 0 && run.bytes + held.bytes > bytes_max {
                break;
            }
            run.batches.push(held.header.clone());
            run.batches.extend(held.payload.iter().cloned());
            run.bytes += held.bytes;
            run.upto = held.upto;
        }
        Some(run)
    }
}

#[cfg(test)]
mod tests {
    use forebay_format::{
        BatchBuilder, ClientHeader, Epoch, LeaderFields, Offset, ProducerStamp, RecordInput,
        TimestampMs,
    };

    use super::*;

    fn at(end: u64) -> Position {
        Position::new(Epoch::new(3), Offset::new(end))
    }

    fn window(batches: u64, value: &[u8]) -> Window {
        let mut window = Window::default();
        for base in 0..batches {
            let mut builder = BatchBuilder::new(0);
            let record = RecordInput { value: Some(value), ..RecordInput::default() };
            builder.push(&record).expect("it fits");
            let bytes = builder.finish(ProducerStamp::NONE);
            let header: [u8; CLIENT_HEADER_BYTES] = *bytes.first_chunk().expect("a header");
            let payload = Bytes::copy_from_slice(&bytes[HEADER_BYTES..]);
            let batch = IncomingBatch { header, payload: SmallVec::from_iter([payload]) };
            let leader = LeaderFields {
                base_offset: Offset::new(base),
                epoch: Epoch::new(3),
                append_time: TimestampMs::new(1),
                previous_header_crc: 0,
            };
            let client = ClientHeader::decode(&header).expect("a good header");
            window.push(at(base), &batch, &BatchMeta::stamp(client, leader));
        }
        window
    }

    #[test]
    fn what_follows_is_found_within_both_limits() {
        let window = window(5, b"abc");
        let run = window.after(at(2), 2, usize::MAX).expect("it is there");
        assert_eq!((run.upto, run.batches.len()), (at(4), 4));
        let run = window.after(at(0), 9, 1).expect("one at least");
        assert_eq!(run.upto, at(1));
        assert!(window.after(at(5), 9, 9).is_none(), "nothing follows");
    }

    #[test]
    fn only_durable_batches_go_and_what_went_is_not_there() {
        let mut window = window(8, &vec![7; 1 << 20]);
        window.trim(at(3));
        assert!(window.after(at(2), 1, 1).is_none());
        assert!(window.after(at(3), 1, 1).is_some(), "it is not durable");
        window.trim(at(8));
        assert!(window.after(at(7), 1, 1).is_some());
        assert!(window.bytes <= KEPT_BYTES);
        window.clear();
        assert!(window.after(at(7), 1, 1).is_none());
    }
}
