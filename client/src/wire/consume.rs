//! `ConsumeRequest` and `ConsumeResponse`. Raw batches are cut out of the message without a copy;
//! everything else goes through the generated types.

use bytes::{Buf, Bytes};
use forebay_format::{Offset, PartitionIndex};
use forebay_proto::v1;
use prost::Message;

use super::{
    Slices, WireError,
    produce::encode_message,
    protobuf::{
        LENGTH_DELIMITED, VARINT, expect_type, get_key, get_length, get_u32, get_varint, skip,
    },
};

/// Fields of `ConsumeResponse`.
const RESPONSE_BATCHES: u64 = 1;

/// Fields of `RawBatches`.
const BATCHES_PARTITION: u64 = 1;
const BATCHES_COMMITTED_OFFSET: u64 = 2;
const BATCHES_RAW: u64 = 3;

/// What the server sends on a consume stream.
#[derive(Debug)]
pub(crate) enum ConsumeMessage {
    /// Whole batches, back to back.
    Batches { partition: PartitionIndex, committed: Offset, bytes: Slices },
    /// Anything else.
    Other(v1::consume_response::Message),
    /// A kind of message that this client is too old for.
    Unknown,
}

/// A request with its gRPC prefix.
pub(crate) fn encode_consume_request(message: v1::consume_request::Message) -> Bytes {
    encode_message(&v1::ConsumeRequest { message: Some(message) })
}

/// Reads a `ConsumeResponse`.
pub(crate) fn decode_consume_response(mut message: Slices) -> Result<ConsumeMessage, WireError> {
    let mut first = [0];
    if !message.peek(&mut first) {
        return Ok(ConsumeMessage::Unknown);
    }
    // The one-byte key of field 1 with a length.
    if u64::from(first[0]) != super::protobuf::key(RESPONSE_BATCHES, LENGTH_DELIMITED) {
        let decoded = v1::ConsumeResponse::decode(message)?;
        return Ok(decoded.message.map_or(ConsumeMessage::Unknown, ConsumeMessage::Other));
    }
    message.advance(1);
    let length = get_length(&mut message)?;
    decode_batches(message.split_to(length))
}

fn decode_batches(mut from: Slices) -> Result<ConsumeMessage, WireError> {
    let mut partition = PartitionIndex::new(0);
    let mut committed = Offset::ZERO;
    let mut bytes = Slices::default();
    while from.has_remaining() {
        let (field, wire_type) = get_key(&mut from)?;
        match field {
            BATCHES_PARTITION => {
                expect_type(field, wire_type, VARINT)?;
                partition = PartitionIndex::new(get_u32(&mut from, field)?);
            }
            BATCHES_COMMITTED_OFFSET => {
                expect_type(field, wire_type, VARINT)?;
                committed = Offset::new(get_varint(&mut from)?);
            }
            BATCHES_RAW => {
                expect_type(field, wire_type, LENGTH_DELIMITED)?;
                let length = get_length(&mut from)?;
                bytes = from.split_to(length);
            }
            _ => skip(&mut from, field, wire_type)?,
        }
    }
    Ok(ConsumeMessage::Batches { partition, committed, bytes })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn batches_of_the_generated_code_are_read_by_hand(
            partition: u32,
            committed_offset: u64,
            raw in proptest::collection::vec(any::<u8>(), 0..300),
            frame in 1..300_usize,
        ) {
            let response = v1::ConsumeResponse {
                message: Some(v1::consume_response::Message::Batches(v1::RawBatches {
                    partition, committed_offset, raw_batches: raw.clone().into(),
                })),
            };
            let mut message = Slices::default();
            for piece in response.encode_to_vec().chunks(frame) {
                message.push(Bytes::copy_from_slice(piece));
            }
            let decoded = decode_consume_response(message).expect("well formed");
            let ConsumeMessage::Batches { partition: p, committed, bytes } = decoded else {
                panic!("not batches: {decoded:?}");
            };
            prop_assert_eq!((p.get(), committed.get()), (partition, committed_offset));
            prop_assert_eq!(&bytes.into_contiguous()[..], &raw[..]);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            let _ignored = decode_consume_response(Slices::from(Bytes::from(bytes)));
        }
    }

    #[test]
    fn other_messages_come_through_the_generated_types() {
        let watermark = v1::consume_response::Message::Watermark(v1::Watermark {
            partition: 3,
            earliest_offset: 1,
            committed_offset: 9,
        });
        let response = v1::ConsumeResponse { message: Some(watermark.clone()) };
        let decoded = decode_consume_response(Slices::from(Bytes::from(response.encode_to_vec())));
        assert!(matches!(decoded, Ok(ConsumeMessage::Other(message)) if message == watermark));
    }
}
