//! The messages of a produce stream, cut out of the bytes of the connection without copying a payload.
//!
//! A `ProduceRequest` with one raw batch at its end is what every client of ours sends, and what stubs of
//! other languages make of a raw batch: its few fields are read here. Everything else, that is the
//! opening message, plain records, and any order of fields that is legal but unusual, is put together
//! and given to prost.

use bytes::Bytes;
use forebay_format::limits::HEADER_BYTES;
use forebay_proto::v1;
use prost::Message;

use super::fields::{FIELDS_BYTES_MAX, Fields, read_fields};
use super::plain;
use crate::grpc::chunks::{Chunks, Pieces};
use crate::grpc::frame::PREFIX_BYTES;
use crate::grpc::status::Refusal;

/// A gRPC message, its prefix not counted. The limit of stock clients, and of what is put together here.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Request {
    Open(v1::ProduceOpen),
    Batch(Batch),
    /// Nothing that this release knows.
    Empty,
}

/// One `ProduceBatch`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Batch {
    pub(super) fields: Fields,
    pub(super) content: Content,
}

/// Its records.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// A whole header, and what follows it.
    Raw {
        header: [u8; HEADER_BYTES],
        payload: Pieces,
    },
    /// More bytes than a message may have; they are not even kept.
    RawTooLarge {
        bytes: usize,
    },
    /// Fewer bytes than a header has.
    RawTooShort {
        bytes: usize,
    },
    Records(v1::RecordList),
    /// So many that they were not even decoded.
    TooManyRecords,
    Missing,
}

impl From<v1::ProduceRequest> for Request {
    fn from(request: v1::ProduceRequest) -> Self {
        use v1::produce_batch::Content as Wire;
        use v1::produce_request::Message;
        let batch = match request.message {
            Some(Message::Open(open)) => return Self::Open(open),
            None => return Self::Empty,
            Some(Message::Batch(batch)) => batch,
        };
        let content = match batch.content {
            Some(Wire::RawBatch(bytes)) => raw(&mut Chunks::from(bytes)),
            Some(Wire::Records(records)) => Content::Records(records),
            None => Content::Missing,
        };
        let fields = Fields {
            request_id: batch.request_id,
            partition: batch.partition,
            write_concern: batch.write_concern,
            write_concern_replicas: batch.write_concern_replicas,
            timeout_ms: batch.timeout_ms,
        };
        Self::Batch(Batch { fields, content })
    }
}

/// Cuts all of `bytes` into header and payload.
fn raw(bytes: &mut Chunks) -> Content {
    if bytes.len() < HEADER_BYTES {
        return Content::RawTooShort { bytes: bytes.len() };
    }
    let mut header = [0; HEADER_BYTES];
    bytes.copy_to(&mut header);
    let payload = bytes.take(bytes.len());
    Content::Raw { header, payload }
}

/// Cuts the bytes of a request stream into messages.
#[derive(Debug, Default)]
pub(super) struct Messages {
    chunks: Chunks,
    /// Length of the message that comes next, once its prefix was read.
    message: Option<usize>,
    /// Bytes of a batch that was refused for its length, and that have not arrived yet.
    skip: usize,
    /// Length of the one that was given out last.
    last_bytes: usize,
}

impl Messages {
    /// Adds what has arrived.
    pub(super) fn push(&mut self, chunk: Bytes) {
        self.chunks.push(chunk);
    }

    /// Bytes that have arrived and were not given out as messages.
    pub(super) fn unfinished_bytes(&self) -> usize {
        self.chunks.len()
    }

    /// Bytes that the message given out last took, its prefix included.
    #[inline]
    pub(super) fn last_bytes(&self) -> usize {
        self.last_bytes
    }

    /// The next message, if all of it has arrived; of a raw batch that is too large, its beginning.
    ///
    /// # Errors
    /// Whatever makes the rest of the stream unreadable. Nothing was put together for it.
    pub(super) fn next(&mut self) -> Result<Option<Request>, Refusal> {
        if self.skip > 0 {
            let there = self.skip.min(self.chunks.len());
            self.chunks.skip(there);
            self.skip -= there;
        }
        let length = match self.message {
            Some(length) => length,
            None if self.chunks.len() < PREFIX_BYTES => return Ok(None),
            None => self.read_prefix()?,
        };
        if length > MESSAGE_BYTES_MAX {
            return self.refuse_too_large(length);
        }
        if self.chunks.len() < length {
            return Ok(None);
        }
        self.message = None;
        self.last_bytes = PREFIX_BYTES + length;
        let mut space = [0; FIELDS_BYTES_MAX];
        let space = &mut space[..length.min(FIELDS_BYTES_MAX)];
        if let Some((fields, skip)) = read_fields(self.chunks.peek(space), length) {
            self.chunks.skip(skip);
            let content = self.read_raw(length - skip);
            return Ok(Some(Request::Batch(Batch { fields, content })));
        }
        let bytes = self.chunks.take_together(length);
        match plain::fields_if_too_many(&bytes)? {
            None => Ok(Some(v1::ProduceRequest::decode(bytes)?.into())),
            Some(fields) => {
                let content = Content::TooManyRecords;
                Ok(Some(Request::Batch(Batch { fields, content })))
            }
        }
    }

    fn read_prefix(&mut self) -> Result<usize, Refusal> {
        let mut prefix = [0; PREFIX_BYTES];
        self.chunks.copy_to(&mut prefix);
        let [compressed, length @ ..] = prefix;
        #[expect(clippy::big_endian_bytes, reason = "gRPC says so")]
        let length = u32::from_be_bytes(length) as usize;
        if compressed != 0 {
            return Err(Refusal::CompressedMessage);
        }
        self.message = Some(length);
        Ok(length)
    }

    /// A raw batch can be answered in place, because its numbers come first. Anything else ends the
    /// stream.
    fn refuse_too_large(&mut self, length: usize) -> Result<Option<Request>, Refusal> {
        if self.chunks.len() < FIELDS_BYTES_MAX {
            return Ok(None);
        }
        let Some((fields, before)) =
            read_fields(self.chunks.peek(&mut [0; FIELDS_BYTES_MAX]), length)
        else {
            return Err(Refusal::MessageTooLarge { found: length, max: MESSAGE_BYTES_MAX });
        };
        self.message = None;
        self.skip = length;
        self.last_bytes = PREFIX_BYTES + FIELDS_BYTES_MAX;
        let content = Content::RawTooLarge { bytes: length - before };
        Ok(Some(Request::Batch(Batch { fields, content })))
    }

    fn read_raw(&mut self, bytes: usize) -> Content {
        if bytes < HEADER_BYTES {
            self.chunks.skip(bytes);
            return Content::RawTooShort { bytes };
        }
        let mut header = [0; HEADER_BYTES];
        self.chunks.copy_to(&mut header);
        Content::Raw { header, payload: self.chunks.take(bytes - HEADER_BYTES) }
    }
}

#[cfg(test)]
mod tests {
    use forebay_format::limits::RECORDS_PER_BATCH_MAX;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).expect("small");
        #[expect(clippy::big_endian_bytes, reason = "gRPC says so")]
        let length = length.to_be_bytes();
        [&[0][..], &length, message].concat()
    }

    /// All messages of a stream whose bytes arrive in pieces cut at `cuts`.
    fn read(stream: &[u8], cuts: &[usize]) -> Vec<Request> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let stream = Bytes::copy_from_slice(stream);
        let mut messages = Messages::default();
        let mut found = Vec::new();
        for pair in cuts.windows(2) {
            messages.push(stream.slice(pair[0]..pair[1]));
            while let Some(request) = messages.next().expect("a right message") {
                found.push(together(request));
            }
        }
        assert_eq!(messages.unfinished_bytes(), 0);
        found
    }

    /// The same request with its payload in one piece, to be compared.
    fn together(request: Request) -> Request {
        match request {
            Request::Batch(Batch { fields, content: Content::Raw { header, payload } }) => {
                let bytes = Bytes::from(payload.concat());
                let payload =
                    if bytes.is_empty() { Pieces::new() } else { [bytes].into_iter().collect() };
                Request::Batch(Batch { fields, content: Content::Raw { header, payload } })
            }
            other => other,
        }
    }

    fn by_prost(message: &[u8]) -> Request {
        together(v1::ProduceRequest::decode(message).expect("a right message").into())
    }

    prop_compose! {
        fn batch()(
            request_id in any::<u64>(),
            partition in any::<u32>(),
            write_concern in prop_oneof![0..8_i32, any::<i32>()],
            write_concern_replicas in any::<u32>(),
            timeout_ms in any::<u32>(),
            content in prop_oneof![
                8 => vec(any::<u8>(), 0..400).prop_map(|raw| {
                    Some(v1::produce_batch::Content::RawBatch(raw.into()))
                }),
                1 => vec(any::<u8>(), 0..20).prop_map(|value| {
                    let record = v1::Record { value: Some(value.into()), ..v1::Record::default() };
                    Some(v1::produce_batch::Content::Records(v1::RecordList {
                        records: vec![record],
                        first_sequence: 0,
                    }))
                }),
                1 => Just(None),
            ],
        ) -> v1::ProduceRequest {
            let batch = v1::ProduceBatch {
                request_id, partition, write_concern, write_concern_replicas, timeout_ms, content,
            };
            v1::ProduceRequest { message: Some(v1::produce_request::Message::Batch(batch)) }
        }
    }

    fn message() -> impl Strategy<Value = Vec<u8>> {
        let open = vec(any::<u8>(), 0..20).prop_map(|id| v1::ProduceRequest {
            message: Some(v1::produce_request::Message::Open(v1::ProduceOpen {
                topic: "t".into(),
                producer_id: id.into(),
                producer_epoch: 3,
                topic_id: String::new(),
            })),
        });
        prop_oneof![
            10 => batch().prop_map(|request| request.encode_to_vec()),
            1 => open.prop_map(|request| request.encode_to_vec()),
            1 => Just(Vec::new()),
            // Fields after the batch, unknown fields, and a batch in two parts are legal too.
            1 => (batch(), batch()).prop_map(|(one, other)| {
                [one.encode_to_vec(), other.encode_to_vec()].concat()
            }),
            1 => batch().prop_map(|request| [request.encode_to_vec(), vec![15 << 3, 1]].concat()),
        ]
    }

    proptest! {
        #[test]
        fn messages_are_read_as_prost_reads_them_wherever_they_are_cut(
            messages in vec(message(), 1..5),
            cuts in vec(any::<usize>(), 0..12),
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|m| framed(m)).collect();
            let expected: Vec<Request> = messages.iter().map(|m| by_prost(m)).collect();
            prop_assert_eq!(read(&stream, &cuts), expected);
        }

        #[test]
        fn hostile_bytes_are_refused_or_read_as_prost_reads_them(bytes in vec(any::<u8>(), 0..300)) {
            let mut messages = Messages::default();
            messages.push(framed(&bytes).into());
            match (messages.next(), v1::ProduceRequest::decode(&bytes[..])) {
                (Ok(Some(found)), Ok(expected)) => {
                    prop_assert_eq!(together(found), together(expected.into()));
                }
                (Err(Refusal::Protobuf(_)), Err(_)) => {}
                (found, expected) => prop_assert!(false, "{found:?} but {expected:?}"),
            }
        }
    }

    #[test]
    fn a_message_is_read_alike_at_every_possible_cut() {
        let raw: Vec<u8> = (0..=255).cycle().take(HEADER_BYTES + 40).collect();
        let batch = v1::ProduceBatch {
            request_id: 300,
            partition: 2,
            write_concern: 3,
            write_concern_replicas: 0,
            timeout_ms: 5000,
            content: Some(v1::produce_batch::Content::RawBatch(raw.into())),
        };
        let message = v1::produce_request::Message::Batch(batch);
        let message = v1::ProduceRequest { message: Some(message) }.encode_to_vec();
        let stream = [framed(&message), framed(&message)].concat();
        for cut in 0..=stream.len() {
            assert_eq!(read(&stream, &[cut]), [by_prost(&message), by_prost(&message)], "{cut}");
        }
        let every_byte: Vec<usize> = (0..stream.len()).collect();
        assert_eq!(read(&stream, &every_byte), [by_prost(&message), by_prost(&message)]);
    }

    #[test]
    fn a_payload_is_not_copied() {
        let raw = vec![7; HEADER_BYTES + 5000];
        let content = Some(v1::produce_batch::Content::RawBatch(raw.into()));
        let batch = v1::ProduceBatch { content, ..v1::ProduceBatch::default() };
        let message = v1::produce_request::Message::Batch(batch);
        let message = v1::ProduceRequest { message: Some(message) }.encode_to_vec();
        let stream = Bytes::from(framed(&message));
        let place = stream.as_ptr_range();
        let mut messages = Messages::default();
        messages.push(stream.slice(..3000));
        messages.push(stream.slice(3000..));
        let Ok(Some(Request::Batch(Batch { content: Content::Raw { payload, .. }, .. }))) =
            messages.next()
        else {
            panic!("not a raw batch");
        };
        assert_eq!(payload.len(), 2);
        assert!(payload.iter().all(|piece| place.contains(&piece.as_ptr())));
    }

    #[test]
    fn a_message_over_the_limit_is_refused_by_its_beginning() {
        let mut messages = Messages::default();
        messages.push(Bytes::from_static(&[0, 0, 0x40, 0, 1]));
        assert_eq!(messages.next().expect("too early to say"), None);
        messages.push(Bytes::from_static(&[0; FIELDS_BYTES_MAX]));
        let refusal = messages.next();
        assert!(matches!(refusal, Err(Refusal::MessageTooLarge { found: 4_194_305, .. })));
    }

    #[test]
    fn of_a_raw_batch_over_the_limit_nothing_is_kept_but_its_numbers() {
        let message = |request_id, bytes| {
            let content = Some(v1::produce_batch::Content::RawBatch(vec![7; bytes].into()));
            let batch = v1::ProduceBatch { request_id, content, ..v1::ProduceBatch::default() };
            let message = Some(v1::produce_request::Message::Batch(batch));
            framed(&v1::ProduceRequest { message }.encode_to_vec())
        };
        let stream = Bytes::from([message(5, 5 << 20), message(6, 3)].concat());
        let mut messages = Messages::default();
        let mut found = Vec::new();
        for at in (0..stream.len()).step_by(100_000) {
            messages.push(stream.slice(at..stream.len().min(at + 100_000)));
            while let Some(request) = messages.next().expect("the stream goes on") {
                let Request::Batch(Batch { fields, content }) = request else { panic!("no batch") };
                found.push((fields.request_id, content));
            }
            assert_eq!(messages.unfinished_bytes(), 0);
        }
        let bytes = 5 << 20;
        let [(5, large), (6, Content::RawTooShort { bytes: 3 })] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(large, &Content::RawTooLarge { bytes });
    }

    #[test]
    fn records_beyond_the_limit_are_counted_and_not_decoded() {
        let records = |count: usize, headers: usize| {
            let header = v1::Header::default();
            let record = v1::Record { headers: vec![header; headers], ..v1::Record::default() };
            let list = v1::RecordList { records: vec![record; count], first_sequence: 0 };
            let content = Some(v1::produce_batch::Content::Records(list));
            let batch = v1::ProduceBatch {
                request_id: 7,
                partition: 3,
                timeout_ms: 9,
                content,
                ..Default::default()
            };
            let message = Some(v1::produce_request::Message::Batch(batch));
            let mut messages = Messages::default();
            messages.push(framed(&v1::ProduceRequest { message }.encode_to_vec()).into());
            let Ok(Some(Request::Batch(batch))) = messages.next() else { panic!("no batch") };
            let fields = batch.fields;
            assert_eq!((fields.request_id, fields.partition, fields.timeout_ms), (7, 3, 9));
            batch.content
        };
        let max = RECORDS_PER_BATCH_MAX as usize;
        assert!(matches!(records(max, 0), Content::Records(list) if list.records.len() == max));
        assert_eq!(records(max + 1, 0), Content::TooManyRecords);
        assert!(matches!(records(max / 2, 2), Content::Records(_)));
        assert_eq!(records(max / 2, 3), Content::TooManyRecords);
    }

    #[test]
    fn a_compressed_message_is_refused() {
        let mut messages = Messages::default();
        messages.push(Bytes::from_static(&[1, 0, 0, 0, 1, 0]));
        assert!(matches!(messages.next(), Err(Refusal::CompressedMessage)));
    }
}
