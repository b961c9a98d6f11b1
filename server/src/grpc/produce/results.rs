//! The answers of a stream as bytes of messages, many in one.
//!
//! Acknowledgements are written by hand: there can be a million in a second, and each is a handful of
//! small numbers. Everything else goes through prost.

use bytes::{Bytes, BytesMut};
use forebay_engine::Appended;
use forebay_proto::v1;
use forebay_proto::v1::produce_result::Outcome;
use prost::Message;

use crate::grpc::frame;
use crate::grpc::status::Failure;

/// A message that has reached this is ended: far below the 4 MiB that clients take.
const MESSAGE_BYTES: usize = 256 * 1024;

/// One result with its tag and length: three numbers, and an ack of seven.
const RESULT_BYTES_MAX: usize = 2 + 11 + 6 + 2 + 3 * 11 + 3 * 6 + 2;

// Lengths of results and acks are single bytes.
const _: () = assert!(RESULT_BYTES_MAX < 0x80);

/// Answers that have not been sent.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// Whole messages, and the one that is being written.
    buffer: BytesMut,
    /// Where that one begins, if there is one.
    message: Option<usize>,
    /// Of each partition of the topic.
    replicas: u32,
}

impl Results {
    /// The topic, which is known from now on, has so many replicas of each partition.
    pub(super) fn set_replicas(&mut self, replicas: u32) {
        self.replicas = replicas;
    }

    pub(super) fn ack(&mut self, request_id: u64, partition: u32, appended: &Appended) {
        self.begin();
        let mut result = Fields::default();
        // The lengths of result and ack come last, when they are known.
        let length_at = result.tagged_byte(tag::RESULT, 0);
        result.number(tag::REQUEST_ID, request_id);
        result.number(tag::PARTITION, partition.into());
        let ack_length_at = result.tagged_byte(tag::ACK, 0);
        result.number(tag::BASE_OFFSET, appended.base_offset.get());
        result.number(tag::RECORD_COUNT, appended.record_count.into());
        result.number(tag::EPOCH, appended.epoch.get());
        result.number(tag::DURABLE_REPLICAS, appended.durable_replicas.into());
        result.number(tag::REPLICAS, self.replicas.into());
        result.number(tag::APPEND_TIME_MS, appended.append_time.get().cast_unsigned());
        result.number(tag::DUPLICATE, appended.duplicate.into());
        result.set_length(ack_length_at);
        result.set_length(length_at);
        self.buffer.extend_from_slice(result.as_bytes());
        self.end_if_large();
    }

    pub(super) fn error(&mut self, request_id: u64, partition: u32, failure: Failure) {
        let outcome = Some(Outcome::Error(failure.into_error()));
        self.add_result(v1::ProduceResult { request_id, partition, outcome, carried_to: None });
    }

    /// What another node has answered.
    pub(super) fn carried(
        &mut self,
        (request_id, partition): (u64, u32),
        outcome: Outcome,
        to: v1::CarriedTo,
    ) {
        let (outcome, carried_to) = (Some(outcome), Some(to));
        self.add_result(v1::ProduceResult { request_id, partition, outcome, carried_to });
    }

    fn add_result(&mut self, result: v1::ProduceResult) {
        self.add(&v1::ProduceResponse { results: vec![result], draining: None });
    }

    /// How much there is to be sent.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Says that the node is about to stop.
    pub(super) fn draining(&mut self) {
        let draining = Some(v1::Draining::default());
        self.add(&v1::ProduceResponse { results: Vec::new(), draining });
    }

    /// Everything that is to be sent, if there is anything.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        self.end();
        (!self.buffer.is_empty()).then(|| self.buffer.split().freeze())
    }

    /// Parts of a message one after the other are the whole message.
    fn add(&mut self, part: &v1::ProduceResponse) {
        self.begin();
        part.encode(&mut self.buffer).expect("a buffer grows as it needs to");
        self.end_if_large();
    }

    fn begin(&mut self) {
        if self.message.is_none() {
            self.message = Some(frame::begin_message(&mut self.buffer));
        }
    }

    fn end(&mut self) {
        if let Some(start) = self.message.take() {
            frame::end_message(&mut self.buffer, start, 0);
        }
    }

    fn end_if_large(&mut self) {
        if self.message.is_some_and(|start| self.buffer.len() - start >= MESSAGE_BYTES) {
            self.end();
        }
    }
}

/// Tags of the fields, with their wire types.
mod tag {
    pub(super) const RESULT: u8 = 1 << 3 | 2;
    pub(super) const REQUEST_ID: u8 = 1 << 3;
    pub(super) const PARTITION: u8 = 2 << 3;
    pub(super) const ACK: u8 = 3 << 3 | 2;
    pub(super) const BASE_OFFSET: u8 = 1 << 3;
    pub(super) const RECORD_COUNT: u8 = 2 << 3;
    pub(super) const EPOCH: u8 = 3 << 3;
    pub(super) const DURABLE_REPLICAS: u8 = 4 << 3;
    pub(super) const REPLICAS: u8 = 5 << 3;
    pub(super) const APPEND_TIME_MS: u8 = 6 << 3;
    pub(super) const DUPLICATE: u8 = 7 << 3;
}

/// Fields of one result, on the stack.
struct Fields {
    bytes: [u8; RESULT_BYTES_MAX],
    length: usize,
}

impl Default for Fields {
    fn default() -> Self {
        Self { bytes: [0; RESULT_BYTES_MAX], length: 0 }
    }
}

impl Fields {
    #[inline]
    fn byte(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    /// Returns where the byte is.
    #[inline]
    fn tagged_byte(&mut self, tag: u8, byte: u8) -> usize {
        self.byte(tag);
        self.byte(byte);
        self.length - 1
    }

    /// A number, unless it is zero, which is not written.
    #[inline]
    fn number(&mut self, tag: u8, mut value: u64) {
        if value == 0 {
            return;
        }
        self.byte(tag);
        while value >= 0x80 {
            self.byte(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.byte(value.to_le_bytes()[0]);
    }

    /// Everything after this place is its content.
    #[inline]
    fn set_length(&mut self, at: usize) {
        self.bytes[at] = u8::try_from(self.length - at - 1).expect("asserted above");
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use forebay_format::{Epoch, Offset, TimestampMs};
    use proptest::prelude::*;

    use super::*;
    use crate::grpc::status::Refusal;

    /// The messages in the bytes of a stream.
    fn messages(mut bytes: Bytes) -> Vec<v1::ProduceResponse> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let prefix = bytes.split_to(frame::PREFIX_BYTES);
            #[expect(clippy::big_endian_bytes, reason = "gRPC says so")]
            let length = u32::from_be_bytes(prefix[1..].try_into().expect("four bytes"));
            assert_eq!(prefix[0], 0);
            let message = bytes.split_to(length as usize);
            found.push(v1::ProduceResponse::decode(message).expect("a right message"));
        }
        found
    }

    fn acknowledged(request_id: u64, partition: u32, appended: &Appended) -> v1::ProduceResult {
        let ack = v1::ProduceAck {
            base_offset: appended.base_offset.get(),
            record_count: appended.record_count,
            epoch: appended.epoch.get(),
            durable_replicas: appended.durable_replicas,
            replicas: 3,
            append_time_ms: appended.append_time.get(),
            duplicate: appended.duplicate,
        };
        v1::ProduceResult {
            request_id,
            partition,
            outcome: Some(Outcome::Ack(ack)),
            carried_to: None,
        }
    }

    prop_compose! {
        fn appended()(
            base_offset: u64, record_count: u32, epoch: u64, append_time: i64, durable_replicas: u32, duplicate: bool,
        ) -> Appended {
            Appended {
                base_offset: Offset::new(base_offset),
                record_count,
                epoch: Epoch::new(epoch),
                append_time: TimestampMs::new(append_time),
                durable_replicas,
                duplicate,
            }
        }
    }

    proptest! {
        #[test]
        fn acks_are_written_as_prost_writes_them(
            acks in proptest::collection::vec((any::<u64>(), any::<u32>(), appended()), 1..20),
        ) {
            let mut results = Results::default();
            results.set_replicas(3);
            for (request_id, partition, appended) in &acks {
                results.ack(*request_id, *partition, appended);
            }
            let expected: Vec<v1::ProduceResult> =
                acks.iter().map(|(id, partition, a)| acknowledged(*id, *partition, a)).collect();
            let bytes = results.take().expect("results");
            let whole = v1::ProduceResponse { results: expected, draining: None };
            prop_assert_eq!(&bytes[frame::PREFIX_BYTES..], whole.encode_to_vec());
            prop_assert_eq!(messages(bytes), vec![whole]);
        }
    }

    #[test]
    fn acks_errors_and_the_notice_share_a_message() {
        let appended = Appended {
            base_offset: Offset::new(7),
            record_count: 1,
            epoch: Epoch::new(1),
            append_time: TimestampMs::new(5),
            durable_replicas: 1,
            duplicate: false,
        };
        let mut results = Results::default();
        results.set_replicas(3);
        assert_eq!(results.take(), None);
        results.ack(1, 0, &appended);
        results.error(2, 3, Refusal::Stopping.into());
        results.draining();
        let found = messages(results.take().expect("results"));
        let [message] = &found[..] else { panic!("{found:?}") };
        assert_eq!(message.results[0], acknowledged(1, 0, &appended));
        assert_eq!((message.results[1].request_id, message.results[1].partition), (2, 3));
        assert!(message.draining.is_some());
        assert_eq!(results.take(), None);
    }

    #[test]
    fn many_answers_become_several_messages_of_bounded_size() {
        let mut results = Results::default();
        for request_id in 0..10_000 {
            results.error(request_id, 0, Refusal::Stopping.into());
        }
        let found = messages(results.take().expect("results"));
        assert!(found.len() > 1);
        assert!(found.iter().all(|message| message.encoded_len() < 2 * MESSAGE_BYTES));
        let ids = found.iter().flat_map(|message| &message.results).map(|r| r.request_id);
        assert!(ids.eq(0..10_000));
    }
}
