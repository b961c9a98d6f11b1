//! The requests of a peer's stream, cut out of its bytes. A peer is one of the cluster, but its bytes are
//! not trusted: what makes no sense is refused with what was found.

use std::collections::VecDeque;

use bytes::Bytes;
use forebay_engine::StampedBatch;
use forebay_format::ClientHeader;
use forebay_format::limits::HEADER_BYTES;
use forebay_proto::v1;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};

use crate::grpc::chunks::Chunks;
use crate::grpc::frame::PREFIX_BYTES;
use crate::grpc::status::Refusal;

/// A message with its batches, the prefix not counted.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The first message, before it is known that a peer sends.
const HELLO_BYTES_MAX: usize = 1024;

/// Field numbers of `ReplicateRequest`.
const HELLO_FIELD: u32 = 1;
const MESSAGE_FIELD: u32 = 2;
const BATCHES_FIELD: u32 = 3;

/// One request, as it came.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) hello: Option<v1::PeerHello>,
    pub(super) message: Option<v1::PeerMessage>,
    /// Each of them verified.
    pub(super) batches: VecDeque<StampedBatch>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Requests {
    chunks: Chunks,
    /// Whether the hello has come.
    begun: bool,
}

impl Requests {
    /// Bytes that have come.
    pub(super) fn push(&mut self, data: Bytes) {
        self.chunks.push(data);
    }

    /// The next request, when all of it is there.
    ///
    /// # Errors
    /// Bytes that are no request. What follows them cannot be told apart any more.
    #[expect(clippy::big_endian_bytes, reason = "gRPC says so")]
    pub(super) fn next(&mut self) -> Result<Option<Request>, Refusal> {
        if self.chunks.len() < PREFIX_BYTES {
            return Ok(None);
        }
        let mut prefix = [0; PREFIX_BYTES];
        let [compressed, length @ ..] = self.chunks.peek(&mut prefix) else { return Ok(None) };
        if *compressed != 0 {
            return Err(wrong("a compressed message; expected plain ones"));
        }
        let length: [u8; 4] = length.try_into().expect("a prefix has four bytes of length");
        let length = u32::from_be_bytes(length) as usize;
        let limit = if self.begun { MESSAGE_BYTES_MAX } else { HELLO_BYTES_MAX };
        if length > limit {
            return Err(wrong(&format!("a message of {length} bytes; the limit is {limit}")));
        }
        if self.chunks.len() < PREFIX_BYTES + length {
            return Ok(None);
        }
        self.chunks.skip(PREFIX_BYTES);
        let request = self.request(length)?;
        match (request.hello.is_some(), std::mem::replace(&mut self.begun, true)) {
            (false, false) => Err(wrong("a message before who sends it was said")),
            (true, true) => Err(wrong("a second hello")),
            _ => Ok(Some(request)),
        }
    }

    /// Reads a request of so many bytes.
    fn request(&mut self, length: usize) -> Result<Request, Refusal> {
        let end = self.chunks.len() - length;
        let mut request = Request::default();
        while self.chunks.len() > end {
            let (field, bytes) = self.field(self.chunks.len() - end)?;
            match field {
                HELLO_FIELD => request.hello = Some(decoded(self.chunks.take_together(bytes))?),
                MESSAGE_FIELD => request.message = Some(decoded(self.chunks.take_together(bytes))?),
                BATCHES_FIELD => self.batches(bytes, &mut request.batches)?,
                // From a later release.
                _ => self.chunks.skip(bytes),
            }
        }
        Ok(request)
    }

    /// The number and length of the next field, which must end within `left` bytes.
    fn field(&mut self, left: usize) -> Result<(u32, usize), Refusal> {
        let mut start = [0; 20];
        let there = left.min(start.len());
        let mut start = self.chunks.peek(&mut start[..there]);
        let before = start.len();
        let broken = |_| wrong("bytes that are no protobuf");
        let (field, wire) = decode_key(&mut start).map_err(broken)?;
        if wire != WireType::LengthDelimited {
            return Err(wrong("a field that is no message and no bytes"));
        }
        let length = decode_varint(&mut start).map_err(broken)?;
        let used = before - start.len();
        let length = usize::try_from(length).ok().filter(|length| *length <= left - used);
        let length = length.ok_or_else(|| wrong("a field that is longer than its message"))?;
        self.chunks.skip(used);
        Ok((field, length))
    }

    /// Cuts so many bytes into batches, and verifies each.
    fn batches(
        &mut self,
        bytes: usize,
        batches: &mut VecDeque<StampedBatch>,
    ) -> Result<(), Refusal> {
        let end = self.chunks.len() - bytes;
        while self.chunks.len() > end {
            if self.chunks.len() - end < HEADER_BYTES {
                return Err(wrong("a batch that is shorter than a header"));
            }
            let mut header = [0; HEADER_BYTES];
            self.chunks.copy_to(&mut header);
            let broken = |error| wrong(&format!("a batch that does not verify: {error}"));
            let payload = ClientHeader::decode(&header).map_err(broken)?.payload_len();
            if self.chunks.len() - end < payload {
                return Err(wrong("a batch that is longer than its message"));
            }
            let payload = self.chunks.take(payload);
            batches.push_back(StampedBatch::verify(header, payload).map_err(broken)?);
        }
        Ok(())
    }
}

fn decoded<M: Message + Default>(bytes: Bytes) -> Result<M, Refusal> {
    M::decode(bytes).map_err(|error| wrong(&error.to_string()))
}

fn wrong(what: &str) -> Refusal {
    Refusal::Request { field: "message", message: format!("a peer has sent {what}") }
}

#[cfg(test)]
mod tests {
    use forebay_format::{
        BatchBuilder, Epoch, LeaderFields, Offset, ProducerStamp, RecordInput, TimestampMs,
        stamp_leader,
    };
    use proptest::prelude::*;

    use super::*;

    /// A batch of one record, as a leader's log holds it.
    fn batch(base: u64, value: &[u8]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(0);
        let record = RecordInput { value: Some(value), ..RecordInput::default() };
        builder.push(&record).expect("it fits");
        let mut bytes = builder.finish(ProducerStamp::NONE).to_vec();
        let leader = LeaderFields {
            base_offset: Offset::new(base),
            epoch: Epoch::new(3),
            append_time: TimestampMs::new(9),
            previous_header_crc: 7,
        };
        let header: &mut [u8; HEADER_BYTES] = bytes.first_chunk_mut().expect("a header");
        stamp_leader(header, &leader);
        bytes
    }

    fn hello() -> v1::PeerHello {
        v1::PeerHello { cluster_id: vec![7; 16].into(), from_node: 2, to_node: 1 }
    }

    fn message() -> v1::PeerMessage {
        let topic_id = vec![5; 16].into();
        let message = Some(v1::peer_message::Message::NotMatched(v1::NotMatched {}));
        v1::PeerMessage { topic_id, partition: 4, epoch: 3, message }
    }

    /// As it travels: whether it is compressed, the length, the message.
    #[expect(clippy::big_endian_bytes, reason = "gRPC says so")]
    fn prefixed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).expect("a short message");
        [&[0], &length.to_be_bytes()[..], message].concat()
    }

    fn framed(request: &v1::ReplicateRequest) -> Vec<u8> {
        prefixed(&request.encode_to_vec())
    }

    /// A field of a message: what it is by number and kind, a length, and bytes.
    fn field(key: u8, length: u8, bytes: &[u8]) -> Vec<u8> {
        [&[key, length], bytes].concat()
    }

    fn with_batches(batches: &[u8]) -> v1::ReplicateRequest {
        let batches = Bytes::copy_from_slice(batches);
        v1::ReplicateRequest { message: Some(message()), batches, ..Default::default() }
    }

    /// What every stream begins with.
    fn greeting() -> Vec<u8> {
        framed(&v1::ReplicateRequest { hello: Some(hello()), ..Default::default() })
    }

    /// Two requests: two batches with a message, a message alone.
    fn stream() -> Vec<u8> {
        let two = [batch(10, b"one"), batch(11, &[6; 3000])].concat();
        [with_batches(&two), with_batches(&[])].iter().flat_map(framed).collect()
    }

    fn greeted() -> Requests {
        let mut requests = Requests::default();
        requests.push(greeting().into());
        let request = requests.next().expect("a hello").expect("all of it");
        assert_eq!((request.hello, request.message), (Some(hello()), None));
        requests
    }

    /// What a stream holds that comes, after its hello, in pieces of so many bytes.
    fn requests(stream: &[u8], piece: usize) -> Result<Vec<Request>, Refusal> {
        let (mut requests, mut found) = (greeted(), Vec::new());
        for piece in stream.chunks(piece) {
            requests.push(Bytes::copy_from_slice(piece));
            while let Some(request) = requests.next()? {
                found.push(request);
            }
        }
        Ok(found)
    }

    /// Why a stream is refused, in whatever pieces it comes.
    fn refused(stream: &[u8]) -> String {
        let mut refusals = [1, 3, 64, stream.len()].map(|piece| {
            match requests(stream, piece).expect_err("it makes no sense") {
                Refusal::Request { message, .. } => message,
                other => panic!("{other:?}"),
            }
        });
        refusals.sort_unstable();
        assert_eq!(refusals[0], refusals[3], "whatever the pieces, it is refused alike");
        refusals[0].trim_start_matches("a peer has sent ").to_owned()
    }

    #[test]
    fn requests_are_the_same_in_whatever_pieces_they_come() {
        let stream = stream();
        for piece in [1, 2, 5, 63, 64, 65, 1000, stream.len()] {
            let found = requests(&stream, piece).expect("good requests");
            let [two, alone] = &found[..] else { panic!("{found:?}") };
            assert_eq!((two.hello.clone(), two.message.clone()), (None, Some(message())));
            let metas: Vec<_> = two.batches.iter().map(|batch| *batch.meta()).collect();
            let offsets: Vec<_> = metas.iter().map(|meta| meta.leader.base_offset.get()).collect();
            assert_eq!(offsets, [10, 11], "in pieces of {piece}");
            assert!(metas.iter().all(|meta| meta.leader.epoch == Epoch::new(3)));
            assert_eq!((alone.message.clone(), alone.batches.len()), (Some(message()), 0));
        }
    }

    #[test]
    fn a_payload_in_one_piece_is_not_copied() {
        let whole = Bytes::from(framed(&with_batches(&batch(1, &[9; 5000]))));
        let mut requests = greeted();
        requests.push(whole.clone());
        let request = requests.next().expect("good").expect("whole");
        assert_eq!(request.batches.len(), 1);
        drop(request.message);
        drop(requests);
        // The batch is what is left of it.
        assert!(!whole.is_unique());
        drop(request.batches);
        assert!(whole.is_unique());
    }

    #[test]
    fn stream_begins_with_its_hello_and_has_no_other() {
        let refusal = |stream: &[u8]| {
            let mut requests = Requests::default();
            requests.push(Bytes::copy_from_slice(stream));
            match requests.next().and_then(|_| requests.next()) {
                Err(Refusal::Request { message, .. }) => message,
                other => panic!("{other:?}"),
            }
        };
        let first = refusal(&framed(&with_batches(&[])));
        assert!(first.contains("before who sends it was said"), "{first}");
        let second = refusal(&[greeting(), greeting()].concat());
        assert!(second.contains("a second hello"), "{second}");
        // Nobody fills the memory who has not said who it is.
        let large = refusal(&[0, 0, 0, 4, 1]);
        assert!(large.contains("a message of 1025 bytes; the limit is 1024"), "{large}");
    }

    #[test]
    fn fields_of_a_later_release_are_skipped() {
        let known = with_batches(&batch(1, b"x")).encode_to_vec();
        let later = [field(0x7a, 3, b"new"), known, field(0x22, 0, b"")].concat();
        let found = requests(&prefixed(&later), 7).expect("good requests");
        let [request] = &found[..] else { panic!("{found:?}") };
        assert_eq!((request.message.clone(), request.batches.len()), (Some(message()), 1));
    }

    #[test]
    fn a_prefix_that_is_none_of_ours_is_refused_before_the_message_has_come() {
        let compressed = [1, 0, 0, 0, 1];
        assert_eq!(refused(&compressed), "a compressed message; expected plain ones");
        // 64 MiB and one byte.
        let large = [0, 4, 0, 0, 1];
        assert_eq!(refused(&large), "a message of 67108865 bytes; the limit is 67108864");
        let largest = [0, 4, 0, 0, 0];
        assert_eq!(requests(&largest, 5).expect("it may come yet").len(), 0);
    }

    #[test]
    fn fields_that_make_no_sense_are_refused() {
        let too_long = "a field that is longer than its message";
        let no_protobuf = "bytes that are no protobuf";
        for (message, expected) in [
            (field(0x12, 9, b"short"), too_long),
            // A length of 2^64 - 1.
            ([&[0x1a][..], &[0xff; 9], &[1]].concat(), too_long),
            (vec![0x12], no_protobuf),
            (vec![0x12, 0x80], no_protobuf),
            (vec![0xff; 20], no_protobuf),
            // Field number 0.
            (vec![0x02, 0x00], no_protobuf),
            // A number where a message belongs.
            (vec![0x10, 0x01], "a field that is no message and no bytes"),
        ] {
            assert_eq!(refused(&prefixed(&message)), expected, "{message:x?}");
        }
        // The bytes behind the message are not the field's.
        let short = [prefixed(&field(0x12, 2, b"x")), vec![0; 64]].concat();
        assert_eq!(refused(&short), too_long);
        // A message that is none, and a hello that is none.
        for key in [0x0a, 0x12] {
            assert!(!refused(&prefixed(&field(key, 1, b"\x07"))).is_empty());
        }
    }

    #[test]
    fn batches_that_are_cut_short_or_changed_are_refused() {
        let good = batch(1, &[7; 100]);
        let refused = |bytes: &[u8]| refused(&framed(&with_batches(bytes)));
        assert_eq!(refused(&good[..HEADER_BYTES - 1]), "a batch that is shorter than a header");
        assert_eq!(refused(&good[..good.len() - 1]), "a batch that is longer than its message");
        let second_cut = [good.clone(), good[..HEADER_BYTES].to_vec()].concat();
        assert_eq!(refused(&second_cut), "a batch that is longer than its message");
        let one_more = [good.clone(), vec![0]].concat();
        assert_eq!(refused(&one_more), "a batch that is shorter than a header");
        for byte in [0, 20, HEADER_BYTES, good.len() - 1] {
            let mut changed = good.clone();
            changed[byte] ^= 0x10;
            let refusal = refused(&changed);
            assert!(
                refusal.starts_with("a batch that does not verify: ")
                    || refusal == "a batch that is longer than its message",
                "byte {byte}: {refusal}"
            );
        }
    }

    #[test]
    fn a_request_that_has_not_come_whole_is_waited_for() {
        let stream = stream();
        for end in 0..stream.len() {
            let found = requests(&stream[..end], end.max(1)).expect("nothing is wrong so far");
            assert!(found.len() < 2, "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), piece in 1_usize..40) {
            drop(requests(&bytes, piece));
            drop(requests(&prefixed(&bytes), piece));
        }

        #[test]
        fn no_change_of_a_good_stream_makes_it_panic(
            at in any::<prop::sample::Index>(), byte in any::<u8>(), piece in 1_usize..4000,
        ) {
            let mut stream = stream();
            let at = at.index(stream.len());
            stream[at] = byte;
            drop(requests(&stream, piece));
        }
    }
}
