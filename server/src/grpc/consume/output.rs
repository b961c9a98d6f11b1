//! The messages of a consume stream as bytes.
//!
//! Stored batches go out as the very buffers that they were read or written in, behind a few bytes that
//! say what they are. Small messages are put together, so that a thousand quiet partitions do not
//! become a thousand tiny frames, which HTTP/2 peers take for an attack.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use forebay_engine::Run;
use forebay_proto::v1;
use prost::Message;

use crate::grpc::frame;
use crate::net::Piece;

/// Messages are put together until there is this much.
const TOGETHER_BYTES: usize = 64 * 1024;

/// A run up to this length is copied to the messages around it; that costs less than a frame.
const COPIED_BYTES_MAX: usize = 4 * 1024;

/// Bytes to be sent.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Large payloads, each behind whatever comes before it.
    pieces: VecDeque<Piece>,
    /// What comes after them.
    tail: BytesMut,
}

impl Output {
    /// Adds a message.
    pub(super) fn message(&mut self, message: v1::consume_response::Message) {
        let start = frame::begin_message(&mut self.tail);
        let response = v1::ConsumeResponse { message: Some(message) };
        response.encode(&mut self.tail).expect("a buffer grows as it needs to");
        frame::end_message(&mut self.tail, start, 0);
    }

    /// Adds a message as it came from elsewhere.
    pub(super) fn encoded(&mut self, message: Bytes) {
        let start = frame::begin_message(&mut self.tail);
        frame::end_message(&mut self.tail, start, message.len());
        if message.len() <= COPIED_BYTES_MAX {
            self.tail.extend_from_slice(&message);
        } else {
            self.payload(std::iter::once(message));
        }
    }

    /// Adds a `RawBatches` message of a run.
    pub(super) fn batches(&mut self, partition: u32, run: Run) {
        let start = frame::begin_message(&mut self.tail);
        let fields = v1::RawBatches {
            partition,
            committed_offset: run.committed.get(),
            raw_batches: Bytes::new(),
        };
        let fields_bytes = fields.encoded_len();
        let payload = 1 + prost::length_delimiter_len(run.bytes) + run.bytes;
        self.tail.put_u8(tag::BATCHES);
        self.length(fields_bytes + payload);
        fields.encode(&mut self.tail).expect("a buffer grows as it needs to");
        self.tail.put_u8(tag::RAW_BATCHES);
        self.length(run.bytes);
        frame::end_message(&mut self.tail, start, run.bytes);
        if run.bytes <= COPIED_BYTES_MAX {
            run.slices.iter().for_each(|slice| self.tail.extend_from_slice(slice));
        } else {
            self.payload(run.slices.into_iter());
        }
    }

    /// Whether there is so much that it should be sent before more is made.
    pub(super) fn is_enough(&self) -> bool {
        !self.pieces.is_empty() || self.tail.len() >= TOGETHER_BYTES
    }

    /// The next bytes, if there are any.
    pub(super) fn next(&mut self) -> Option<Piece> {
        self.pieces.pop_front().or_else(|| {
            (!self.tail.is_empty()).then(|| self.tail.split().freeze().chain(Bytes::new()))
        })
    }

    /// Slices two by two, the first one behind what was made for it: no tiny frames.
    fn payload(&mut self, mut slices: impl Iterator<Item = Bytes>) {
        let mut first = self.tail.split().freeze();
        loop {
            let second = slices.next();
            if second.is_none() && first.is_empty() {
                return;
            }
            self.pieces.push_back(first.chain(second.unwrap_or_default()));
            first = slices.next().unwrap_or_default();
        }
    }

    fn length(&mut self, length: usize) {
        prost::encode_length_delimiter(length, &mut self.tail).expect("a buffer grows");
    }
}

/// Tags of the fields, with their wire types.
mod tag {
    pub(super) const BATCHES: u8 = 1 << 3 | 2;
    pub(super) const RAW_BATCHES: u8 = 3 << 3 | 2;
}

#[cfg(test)]
mod tests {
    use forebay_format::Offset;
    use proptest::prelude::*;
    use v1::consume_response::Message as Wire;

    use super::*;

    /// The messages in what is sent.
    fn messages(output: &mut Output) -> Vec<Wire> {
        let mut bytes = BytesMut::new();
        while let Some(piece) = output.next() {
            assert!(piece.has_remaining(), "an empty frame");
            bytes.put(piece);
        }
        let mut bytes = bytes.freeze();
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let prefix = bytes.split_to(frame::PREFIX_BYTES);
            #[expect(clippy::big_endian_bytes, reason = "gRPC says so")]
            let length = u32::from_be_bytes(prefix[1..].try_into().expect("four bytes"));
            let message = bytes.split_to(length as usize);
            let response = v1::ConsumeResponse::decode(message).expect("a right message");
            found.push(response.message.expect("a message"));
        }
        found
    }

    fn run(slices: &[Bytes], committed: u64) -> Run {
        Run {
            slices: slices.iter().cloned().collect(),
            bytes: slices.iter().map(Bytes::len).sum(),
            first_offset: Offset::ZERO,
            next_offset: Offset::ZERO,
            committed: Offset::new(committed),
            earliest: Offset::ZERO,
        }
    }

    fn watermark(partition: u32) -> Wire {
        Wire::Watermark(v1::Watermark { partition, earliest_offset: 1, committed_offset: 2 })
    }

    proptest! {
        #[test]
        fn batches_are_written_as_prost_reads_them(
            partition: u32,
            committed: u64,
            lengths in proptest::collection::vec(1..9000_usize, 1..7),
        ) {
            let slices: Vec<Bytes> =
                lengths.iter().zip(0_u8..).map(|(n, fill)| vec![fill; *n].into()).collect();
            let mut output = Output::default();
            output.message(watermark(1));
            output.batches(partition, run(&slices, committed));
            output.message(watermark(2));
            let carried = v1::ConsumeResponse { message: Some(watermark(3)) };
            output.encoded(carried.encode_to_vec().into());
            let batches = v1::RawBatches {
                partition,
                committed_offset: committed,
                raw_batches: slices.concat().into(),
            };
            prop_assert_eq!(
                messages(&mut output),
                vec![watermark(1), Wire::Batches(batches), watermark(2), watermark(3)]
            );
        }
    }

    #[test]
    fn a_large_payload_is_not_copied_and_a_small_one_shares_a_frame() {
        let large = Bytes::from(vec![1; 100_000]);
        let mut output = Output::default();
        output.batches(0, run(std::slice::from_ref(&large), 9));
        assert!(output.is_enough());
        let piece = output.next().expect("a piece");
        assert_eq!(piece.last_ref().as_ptr(), large.as_ptr());
        assert!(output.next().is_none());

        let small = Bytes::from(vec![1; 100]);
        output.batches(0, run(&[small], 9));
        output.message(watermark(0));
        assert!(output.next().is_some());
        assert!(output.next().is_none());
    }
}
