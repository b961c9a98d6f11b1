//! `ProduceRequest` and `ProduceResponse`, field by field as in `producer.proto`.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use forebay_format::{Epoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, TimestampMs};
use forebay_proto::v1;
use prost::Message;

use super::{
    GRPC_PREFIX_BYTES, WireError,
    protobuf::{
        LENGTH_DELIMITED, VARINT, VARINT_BYTES_MAX, expect_type, get_key, get_length, get_u32,
        get_varint, key, put_varint, skip, varint_len,
    },
};
use crate::refusal::Refusal;

/// Fields of `ProduceRequest`.
const REQUEST_BATCH: u64 = 2;

/// Fields of `ProduceBatch`.
const BATCH_REQUEST_ID: u64 = 1;
const BATCH_PARTITION: u64 = 2;
const BATCH_WRITE_CONCERN: u64 = 3;
const BATCH_WRITE_CONCERN_REPLICAS: u64 = 4;
const BATCH_TIMEOUT_MS: u64 = 5;
const BATCH_RAW: u64 = 6;

/// Fields of `ProduceResponse`.
const RESPONSE_RESULTS: u64 = 1;
const RESPONSE_DRAINING: u64 = 2;

/// Fields of `ProduceResult`.
const RESULT_REQUEST_ID: u64 = 1;
const RESULT_PARTITION: u64 = 2;
const RESULT_ACK: u64 = 3;
const RESULT_ERROR: u64 = 4;

/// Fields of `ProduceAck`.
const ACK_BASE_OFFSET: u64 = 1;
const ACK_RECORD_COUNT: u64 = 2;
const ACK_EPOCH: u64 = 3;
const ACK_DURABLE_REPLICAS: u64 = 4;
const ACK_REPLICAS: u64 = 5;
const ACK_APPEND_TIME_MS: u64 = 6;
const ACK_DUPLICATE: u64 = 7;

/// Bytes before the batch in a `ProduceRequest`, at most: the gRPC prefix, and eight keys with a
/// number each.
pub(crate) const PREFIX_BYTES_MAX: usize = GRPC_PREFIX_BYTES + 8 * (1 + VARINT_BYTES_MAX);

/// The first message of a stream.
pub(crate) fn encode_open(topic: &str, producer: Option<(ProducerId, ProducerEpoch)>) -> Bytes {
    let open = v1::ProduceOpen {
        topic: topic.to_owned(),
        producer_id: producer
            .map(|(id, _)| Bytes::copy_from_slice(&id.to_bytes()))
            .unwrap_or_default(),
        producer_epoch: producer.map(|(_, epoch)| epoch.get()).unwrap_or_default(),
        topic_id: String::new(),
    };
    encode_message(&v1::ProduceRequest { message: Some(v1::produce_request::Message::Open(open)) })
}

/// A message with its gRPC prefix, through the generated code.
pub(super) fn encode_message(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(GRPC_PREFIX_BYTES + length);
    put_grpc_prefix(&mut bytes, length);
    message.encode(&mut bytes).expect("BytesMut grows");
    bytes.freeze()
}

fn put_grpc_prefix(into: &mut BytesMut, length: usize) {
    into.put_u8(0);
    into.put_u32(u32::try_from(length).expect("messages are a few MiB at most"));
}

/// The write concern as two fields of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WireConcern {
    pub(crate) concern: v1::WriteConcern,
    /// 0 except with `WriteConcern::Replicas`.
    pub(crate) replicas: u32,
}

/// A batch that is to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchMessage {
    pub(crate) request_id: u64,
    pub(crate) partition: PartitionIndex,
    pub(crate) concern: WireConcern,
    /// 0: the server's default.
    pub(crate) timeout_ms: u32,
    /// Bytes of the batch, which follow what is encoded here.
    pub(crate) batch_bytes: usize,
}

impl BatchMessage {
    /// Writes everything up to the batch: at most [`PREFIX_BYTES_MAX`].
    pub(crate) fn encode_prefix(&self, into: &mut BytesMut) {
        // The enum's numbers are the wire's, and small.
        let concern = u64::from((self.concern.concern as i32).cast_unsigned());
        let numbers = [
            (BATCH_REQUEST_ID, self.request_id),
            (BATCH_PARTITION, self.partition.get().into()),
            (BATCH_WRITE_CONCERN, concern),
            (BATCH_WRITE_CONCERN_REPLICAS, self.concern.replicas.into()),
            (BATCH_TIMEOUT_MS, self.timeout_ms.into()),
        ];
        let batch_bytes = self.batch_bytes as u64;
        let numbers_len: usize = numbers
            .iter()
            .filter(|(_, value)| *value != 0)
            .map(|(_, value)| 1 + varint_len(*value))
            .sum();
        let inner = numbers_len + 1 + varint_len(batch_bytes) + self.batch_bytes;
        put_grpc_prefix(into, 1 + varint_len(inner as u64) + inner);
        put_varint(into, key(REQUEST_BATCH, LENGTH_DELIMITED));
        put_varint(into, inner as u64);
        for (field, value) in numbers {
            if value != 0 {
                put_varint(into, key(field, VARINT));
                put_varint(into, value);
            }
        }
        put_varint(into, key(BATCH_RAW, LENGTH_DELIMITED));
        put_varint(into, batch_bytes);
    }
}

/// What the server says about an appended batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct AckFields {
    pub(crate) base_offset: Offset,
    pub(crate) record_count: u32,
    pub(crate) epoch: Epoch,
    pub(crate) durable_replicas: u32,
    pub(crate) replicas: u32,
    pub(crate) append_time: TimestampMs,
    pub(crate) duplicate: bool,
}

/// The answer to one batch.
#[derive(Debug)]
pub(crate) struct Produced {
    pub(crate) request_id: u64,
    pub(crate) partition: PartitionIndex,
    pub(crate) outcome: Result<AckFields, Refusal>,
}

/// Reads a `ProduceResponse`. Results go to `each` as they are found; the answer says whether the
/// server is about to stop serving the stream.
pub(crate) fn decode_produce_response(
    mut message: Bytes,
    mut each: impl FnMut(Produced),
) -> Result<bool, WireError> {
    let mut draining = false;
    while message.has_remaining() {
        let (field, wire_type) = get_key(&mut message)?;
        match field {
            RESPONSE_RESULTS => {
                expect_type(field, wire_type, LENGTH_DELIMITED)?;
                let length = get_length(&mut message)?;
                each(decode_result(&message[..length])?);
                message.advance(length);
            }
            RESPONSE_DRAINING => {
                draining = true;
                skip(&mut message, field, wire_type)?;
            }
            _ => skip(&mut message, field, wire_type)?,
        }
    }
    Ok(draining)
}

fn decode_result(mut from: &[u8]) -> Result<Produced, WireError> {
    let mut produced = Produced {
        request_id: 0,
        partition: PartitionIndex::new(0),
        outcome: Ok(AckFields::default()),
    };
    while from.has_remaining() {
        let (field, wire_type) = get_key(&mut from)?;
        match field {
            RESULT_REQUEST_ID => {
                expect_type(field, wire_type, VARINT)?;
                produced.request_id = get_varint(&mut from)?;
            }
            RESULT_PARTITION => {
                expect_type(field, wire_type, VARINT)?;
                produced.partition = PartitionIndex::new(get_u32(&mut from, field)?);
            }
            RESULT_ACK => {
                expect_type(field, wire_type, LENGTH_DELIMITED)?;
                let length = get_length(&mut from)?;
                produced.outcome = Ok(decode_ack(&from[..length])?);
                from.advance(length);
            }
            RESULT_ERROR => {
                expect_type(field, wire_type, LENGTH_DELIMITED)?;
                let length = get_length(&mut from)?;
                produced.outcome = Err(v1::Error::decode(&from[..length])?.into());
                from.advance(length);
            }
            _ => skip(&mut from, field, wire_type)?,
        }
    }
    Ok(produced)
}

fn decode_ack(mut from: &[u8]) -> Result<AckFields, WireError> {
    let mut ack = AckFields::default();
    while from.has_remaining() {
        let (field, wire_type) = get_key(&mut from)?;
        if wire_type != VARINT {
            skip(&mut from, field, wire_type)?;
            continue;
        }
        match field {
            ACK_BASE_OFFSET => ack.base_offset = Offset::new(get_varint(&mut from)?),
            ACK_RECORD_COUNT => ack.record_count = get_u32(&mut from, field)?,
            ACK_EPOCH => ack.epoch = Epoch::new(get_varint(&mut from)?),
            ACK_DURABLE_REPLICAS => ack.durable_replicas = get_u32(&mut from, field)?,
            ACK_REPLICAS => ack.replicas = get_u32(&mut from, field)?,
            ACK_APPEND_TIME_MS => {
                ack.append_time = TimestampMs::new(get_varint(&mut from)?.cast_signed());
            }
            ACK_DUPLICATE => ack.duplicate = get_varint(&mut from)? != 0,
            _ => skip(&mut from, field, wire_type)?,
        }
    }
    Ok(ack)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_generated_code_reads_what_is_encoded_by_hand(
            request_id: u64,
            partition: u32,
            concern in 0..=5_i32,
            replicas in 0..5_u32,
            timeout_ms: u32,
            batch in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let concern = v1::WriteConcern::try_from(concern).expect("a number of the enum");
            let mut bytes = BytesMut::new();
            BatchMessage {
                request_id,
                partition: PartitionIndex::new(partition),
                concern: WireConcern { concern, replicas },
                timeout_ms,
                batch_bytes: batch.len(),
            }
            .encode_prefix(&mut bytes);
            prop_assert!(bytes.len() <= PREFIX_BYTES_MAX);
            bytes.extend_from_slice(&batch);
            let mut bytes = bytes.freeze();
            prop_assert_eq!(bytes.get_u8(), 0);
            prop_assert_eq!(bytes.get_u32() as usize, bytes.len());
            let decoded = v1::ProduceRequest::decode(bytes).expect("generated code reads it");
            let Some(v1::produce_request::Message::Batch(decoded)) = decoded.message else {
                panic!("not a batch: {decoded:?}");
            };
            prop_assert_eq!(decoded.request_id, request_id);
            prop_assert_eq!(decoded.partition, partition);
            prop_assert_eq!(decoded.write_concern(), concern);
            prop_assert_eq!(decoded.write_concern_replicas, replicas);
            prop_assert_eq!(decoded.timeout_ms, timeout_ms);
            let Some(v1::produce_batch::Content::RawBatch(raw)) = decoded.content else {
                panic!("no raw batch: {:?}", decoded.content);
            };
            prop_assert_eq!(&raw[..], &batch[..]);
        }

        #[test]
        fn acks_of_the_generated_code_are_read_by_hand(
            request_id: u64,
            partition: u32,
            base_offset: u64,
            record_count: u32,
            epoch: u64,
            append_time_ms: i64,
            duplicate: bool,
        ) {
            let ack = v1::ProduceAck {
                base_offset, record_count, epoch, append_time_ms, duplicate,
                durable_replicas: 2, replicas: 3,
            };
            let response = v1::ProduceResponse {
                results: vec![v1::ProduceResult {
                    request_id,
                    partition,
                    outcome: Some(v1::produce_result::Outcome::Ack(ack)),
                    carried_to: Some(v1::CarriedTo { node_id: 300, address: "a:1".to_owned() }),
                }],
                draining: None,
            };
            let mut seen = Vec::new();
            let draining =
                decode_produce_response(response.encode_to_vec().into(), |one| seen.push(one))
                    .expect("well formed");
            prop_assert!(!draining);
            prop_assert_eq!(seen.len(), 1);
            prop_assert_eq!((seen[0].request_id, seen[0].partition.get()), (request_id, partition));
            let expected = AckFields {
                base_offset: Offset::new(base_offset),
                record_count,
                epoch: Epoch::new(epoch),
                durable_replicas: 2,
                replicas: 3,
                append_time: TimestampMs::new(append_time_ms),
                duplicate,
            };
            prop_assert_eq!(seen[0].outcome.clone(), Ok(expected));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            let _ignored = decode_produce_response(bytes.into(), drop);
        }
    }

    #[test]
    fn errors_keep_reason_and_message() {
        let error = v1::Error {
            code: 8,
            reason: "DISK_FULL".to_owned(),
            message: "no room".to_owned(),
            retry_after_ms: 250,
            ..Default::default()
        };
        let response = v1::ProduceResponse {
            results: vec![v1::ProduceResult {
                request_id: 4,
                partition: 2,
                outcome: Some(v1::produce_result::Outcome::Error(error)),
                carried_to: Some(v1::CarriedTo { node_id: 300, address: "a:1".to_owned() }),
            }],
            draining: Some(v1::Draining::default()),
        };
        let mut seen = Vec::new();
        let draining =
            decode_produce_response(response.encode_to_vec().into(), |one| seen.push(one))
                .expect("well formed");
        assert!(draining);
        let refusal = seen[0].outcome.clone().expect_err("an error was sent");
        assert_eq!((refusal.reason.as_str(), refusal.message.as_str()), ("DISK_FULL", "no room"));
        assert_eq!(refusal.retry_after, Some(std::time::Duration::from_millis(250)));
        assert!(refusal.is_retriable());
    }
}
