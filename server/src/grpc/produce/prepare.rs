//! From a request to what the engine appends. Whether the batch is sound is the engine's to find out, in
//! the pass in which it copies; here only what the engine cannot know is checked.

use std::iter;

use bytes::Bytes;
use forebay_engine::{AppendError, IncomingBatch};
use forebay_format::limits::{CLIENT_HEADER_BYTES, HEADER_BYTES};
use forebay_format::{
    BatchBuilder, BatchError, ClientHeader, ProducerStamp, PushError, RecordInput, Sequence,
    TimestampMs,
};
use forebay_proto::v1;

use super::open::Identity;
use super::request::Content;
use crate::clock;
use crate::grpc::chunks::Pieces;
use crate::grpc::status::{Failure, Refusal};

/// A larger batch that waits for another shard stays in its frames.
const COPIED_BYTES_MAX: usize = 8 * 1024;

/// Makes a batch of a request's content.
pub(super) fn batch(
    content: Content,
    identity: &Identity,
    batch_bytes_max: usize,
) -> Result<IncomingBatch, Failure> {
    match content {
        Content::Raw { header, payload } => raw(&header, payload, identity),
        Content::RawTooLarge { bytes } => {
            Err(AppendError::TooLarge { found: bytes, limit: batch_bytes_max }.into())
        }
        Content::RawTooShort { bytes } => {
            Err(BatchError::Length { found: bytes, expected: HEADER_BYTES }.into())
        }
        Content::Records(records) => plain(&records, identity, batch_bytes_max),
        Content::TooManyRecords => Err(Refusal::TooManyRecords.into()),
        Content::Missing => Err(Refusal::Request {
            field: "content",
            message: "expected raw_batch or records, found neither".to_owned(),
        }
        .into()),
    }
}

fn raw(
    header: &[u8; HEADER_BYTES],
    payload: Pieces,
    identity: &Identity,
) -> Result<IncomingBatch, Failure> {
    let (client, rest) = header.split_first_chunk().expect("longer than the client's part");
    if let Some(byte) = rest.iter().find(|byte| **byte != 0) {
        return Err(BatchError::Malformed {
            field: "a byte of what leader and replica write",
            found: (*byte).into(),
            expected: "0",
        }
        .into());
    }
    let decoded = ClientHeader::decode(client)?;
    let found = Identity { id: decoded.producer_id, epoch: decoded.producer_epoch };
    if found != *identity {
        return Err(Refusal::Request {
            field: "raw_batch",
            message: format!(
                "the stream was opened by producer {} in epoch {}, the batch is of {} in epoch {}",
                identity.id, identity.epoch, found.id, found.epoch
            ),
        }
        .into());
    }
    Ok(IncomingBatch { header: *client, payload })
}

/// Builds the batch that the client did not want to build.
fn plain(
    list: &v1::RecordList,
    identity: &Identity,
    batch_bytes_max: usize,
) -> Result<IncomingBatch, Failure> {
    if list.records.is_empty() {
        return Err(Refusal::Request {
            field: "records",
            message: "expected at least one record, found none".to_owned(),
        }
        .into());
    }
    let now = clock::now();
    let mut builder = BatchBuilder::new(batch_bytes_max);
    for record in &list.records {
        let headers: Vec<(&str, &[u8])> =
            record.headers.iter().map(|h| (h.name.as_str(), &h.value[..])).collect();
        let timestamp = match record.timestamp_ms {
            0 => now,
            millis => TimestampMs::new(millis),
        };
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        builder.push(&RecordInput { timestamp, key, value, headers: &headers }).map_err(
            |error| match error {
                PushError::Full => Refusal::TooManyBytes { max: batch_bytes_max }.into(),
                PushError::RecordTooLarge { .. } => Failure::from(error),
            },
        )?;
    }
    let first_sequence =
        if identity.id.is_zero() { Sequence::ZERO } else { Sequence::new(list.first_sequence) };
    let stamp = ProducerStamp { id: identity.id, epoch: identity.epoch, first_sequence };
    Ok(split(builder.finish(stamp)))
}

/// Copies a small batch out of the frame that it arrived in. Another shard keeps it for a while, and a
/// slice of a kilobyte would keep a frame of a quarter of a megabyte, which nobody counts.
pub(super) fn let_go_of_frames(batch: &mut IncomingBatch) {
    if batch.batch_bytes() <= COPIED_BYTES_MAX && !batch.payload.is_empty() {
        batch.payload = iter::once(batch.payload.concat().into()).collect();
    }
}

fn split(mut batch: Bytes) -> IncomingBatch {
    let payload = batch.split_off(HEADER_BYTES);
    let header: &[u8; CLIENT_HEADER_BYTES] =
        batch.first_chunk().expect("a batch begins with its header");
    IncomingBatch { header: *header, payload: iter::once(payload).collect() }
}

#[cfg(test)]
mod tests {
    use forebay_format::{ProducerEpoch, ProducerId};
    use tonic::Code;

    use super::*;

    const NOBODY: Identity = Identity { id: ProducerId::NONE, epoch: ProducerEpoch::ZERO };

    fn built(identity: &Identity) -> ([u8; HEADER_BYTES], Pieces) {
        let mut builder = BatchBuilder::new(1000);
        builder.push(&RecordInput { value: Some(b"v"), ..RecordInput::default() }).expect("fits");
        let stamp = ProducerStamp {
            id: identity.id,
            epoch: identity.epoch,
            first_sequence: Sequence::ZERO,
        };
        let mut batch = builder.finish(stamp);
        let payload = batch.split_off(HEADER_BYTES);
        let header: [u8; HEADER_BYTES] = batch[..].try_into().expect("a header");
        (header, iter::once(payload).collect())
    }

    fn records(count: usize, size: usize) -> Content {
        let record = v1::Record { value: Some(vec![1; size].into()), ..v1::Record::default() };
        Content::Records(v1::RecordList { records: vec![record; count], first_sequence: 5 })
    }

    #[test]
    fn a_batch_of_another_producer_than_the_streams_is_refused() {
        let somebody = Identity { id: ProducerId::random(), epoch: ProducerEpoch::new(1) };
        let (header, payload) = built(&somebody);
        let content = Content::Raw { header, payload };
        assert!(batch(content.clone(), &somebody, 1000).is_ok());
        let failure = batch(content, &NOBODY, 1000).expect_err("another producer");
        assert_eq!((failure.code, failure.reason), (Code::InvalidArgument, "INVALID_REQUEST"));
    }

    #[test]
    fn a_small_batch_for_another_shard_lets_go_of_its_frame() {
        let frame = Bytes::from(vec![7; 100_000]);
        let batch = |length| IncomingBatch {
            header: [0; CLIENT_HEADER_BYTES],
            payload: [frame.slice(10..30), frame.slice(50..50 + length)].into_iter().collect(),
        };
        let (mut small, mut large) = (batch(100), batch(COPIED_BYTES_MAX));
        let_go_of_frames(&mut small);
        let_go_of_frames(&mut large);
        assert_eq!(small.payload.concat(), [7; 120]);
        let of_frame = |piece: &Bytes| frame.as_ptr_range().contains(&piece.as_ptr());
        assert!(!small.payload.iter().any(of_frame));
        assert!(large.payload.iter().all(of_frame));
    }

    #[test]
    fn a_client_that_writes_the_leaders_fields_is_refused() {
        let (mut header, payload) = built(&NOBODY);
        header[CLIENT_HEADER_BYTES] = 9;
        let failure = batch(Content::Raw { header, payload }, &NOBODY, 1000).expect_err("stamped");
        assert_eq!(failure.reason, "BATCH_MALFORMED");
    }

    #[test]
    fn plain_records_become_a_batch_of_the_streams_producer() {
        let somebody = Identity { id: ProducerId::random(), epoch: ProducerEpoch::new(1) };
        let incoming = batch(records(3, 10), &somebody, 1000).expect("a batch");
        let header = ClientHeader::decode(&incoming.header).expect("a header");
        assert_eq!((header.record_count, header.producer_id), (3, somebody.id));
        assert_eq!(header.first_sequence, Sequence::new(5));
        let incoming = batch(records(1, 0), &NOBODY, 1000).expect("an empty record is a record");
        let header = ClientHeader::decode(&incoming.header).expect("a header");
        assert_eq!(header.first_sequence, Sequence::ZERO);
    }

    #[test]
    fn plain_records_that_are_none_or_too_many_are_refused() {
        let none = batch(records(0, 0), &NOBODY, 1000).expect_err("none");
        assert_eq!((none.code, none.field), (Code::InvalidArgument, Some("records")));
        let many = batch(records(100, 100), &NOBODY, 1000).expect_err("too many");
        assert_eq!((many.code, many.reason), (Code::InvalidArgument, "BATCH_TOO_LARGE"));
        assert_eq!(many.metadata, [("limit", "1000".to_owned())]);
        let missing = batch(Content::Missing, &NOBODY, 1000).expect_err("missing");
        assert_eq!(missing.field, Some("content"));
    }
}
