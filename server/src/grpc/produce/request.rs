//! The messages of a produce stream.

use std::iter;

use forebay_format::limits::HEADER_BYTES;
use forebay_proto::v1;
use smallvec::SmallVec;

use bytes::Bytes;

/// A batch's payload, in the pieces that it arrived in.
pub(super) type Pieces = SmallVec<[Bytes; 2]>;

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

/// Its numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) request_id: u64,
    pub(super) partition: u32,
    pub(super) write_concern: i32,
    pub(super) write_concern_replicas: u32,
    pub(super) timeout_ms: u32,
}

/// Its records.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// A whole header, and what follows it.
    Raw {
        header: Box<[u8; HEADER_BYTES]>,
        payload: Pieces,
    },
    /// Fewer bytes than a header has.
    RawTooShort {
        bytes: usize,
    },
    Records(v1::RecordList),
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
            Some(Wire::RawBatch(bytes)) => raw(&bytes),
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

/// Cuts a batch into header and payload.
fn raw(bytes: &Bytes) -> Content {
    let Some(header) = bytes.first_chunk() else {
        return Content::RawTooShort { bytes: bytes.len() };
    };
    let payload = iter::once(bytes.slice(HEADER_BYTES..)).collect();
    Content::Raw { header: Box::new(*header), payload }
}
