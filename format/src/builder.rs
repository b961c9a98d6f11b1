//! Puts records together into a batch, as a producer sends it.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use crate::batch::{ClientHeader, Codec, PayloadCrc};
use crate::ids::ProducerId;
use crate::limits::{
    BATCH_BYTES_MAX, CLIENT_HEADER_BYTES, HEADER_BYTES, HEADERS_PER_RECORD_MAX, KEY_BYTES_MAX,
    RECORD_HEADER_NAME_BYTES_MAX, RECORDS_PER_BATCH_MAX,
};
use crate::numbers::{ProducerEpoch, Sequence, TimestampMs};
use crate::varint;

/// Buffers that are watched for reuse after their batch was handed out.
const BUFFERS_WATCHED_MAX: usize = 64;

/// A record to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordInput<'a> {
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamp: TimestampMs,
    /// The key, if there is one.
    pub key: Option<&'a [u8]>,
    /// The value, if there is one.
    pub value: Option<&'a [u8]>,
    /// Names and values that travel with it.
    pub headers: &'a [(&'a str, &'a [u8])],
}

/// Who sends a batch, and its place among what they sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerStamp {
    /// The producer.
    pub id: ProducerId,
    /// Which life of it.
    pub epoch: ProducerEpoch,
    /// Sequence of the first record.
    pub first_sequence: Sequence,
}

impl ProducerStamp {
    /// A producer without identity, whose retries are not recognised.
    pub const NONE: Self =
        Self { id: ProducerId::NONE, epoch: ProducerEpoch::ZERO, first_sequence: Sequence::ZERO };
}

/// Why a record was not added. The batch is as it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PushError {
    /// It fits into the next batch, not into this one.
    #[error("batch is full")]
    Full,
    /// It fits into no batch.
    #[error("record: {what} may be at most {max}, found {found}")]
    RecordTooLarge {
        /// What is limited, with its unit.
        what: &'static str,
        /// Its value.
        found: usize,
        /// The limit.
        max: usize,
    },
}

/// Builds one batch after the other.
///
/// A batch is full at its capacity; one record that is larger makes a batch of its own, up to
/// [`BATCH_BYTES_MAX`]. A buffer is used again once every [`Bytes`] of its batch has been dropped.
#[derive(Debug)]
pub struct BatchBuilder {
    /// Header space, then the payload so far. Empty before the first record of a batch.
    buffer: BytesMut,
    capacity_bytes: usize,
    record_count: u32,
    first_timestamp: TimestampMs,
    max_timestamp: TimestampMs,
    /// Empty handles on the allocations of batches that were handed out, oldest first.
    used: VecDeque<BytesMut>,
}

impl BatchBuilder {
    /// Batches of at most `capacity_bytes`, header included; at least room for a header and at most
    /// [`BATCH_BYTES_MAX`]. Allocates nothing yet.
    pub fn new(capacity_bytes: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            capacity_bytes: capacity_bytes.clamp(HEADER_BYTES, BATCH_BYTES_MAX),
            record_count: 0,
            first_timestamp: TimestampMs::ZERO,
            max_timestamp: TimestampMs::ZERO,
            used: VecDeque::new(),
        }
    }

    /// Records in the batch so far.
    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    /// Whether the batch has no record yet.
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Length of the batch so far, header included; 0 without a record.
    pub fn batch_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`PushError::Full`]: take the batch with [`Self::finish`] and push again.
    #[inline]
    pub fn push(&mut self, record: &RecordInput<'_>) -> Result<(), PushError> {
        let first_timestamp = if self.is_empty() { record.timestamp } else { self.first_timestamp };
        let delta = varint::zigzag(record.timestamp.get().wrapping_sub(first_timestamp.get()));
        let body = body_bytes(record, delta)?;
        let needed = varint::len(body as u64) + body;
        if self.buffer.len() + needed > self.capacity_bytes
            || self.record_count == RECORDS_PER_BATCH_MAX
            || self.is_empty()
        {
            self.make_room(needed)?;
        }
        self.write(record, body, delta);
        self.first_timestamp = first_timestamp;
        self.max_timestamp = if self.is_empty() {
            record.timestamp
        } else {
            self.max_timestamp.max(record.timestamp)
        };
        self.record_count += 1;
        Ok(())
    }

    /// The batch: header with the client's part and zeros, then the payload, checksum done. The
    /// builder is empty afterwards.
    ///
    /// # Panics
    /// Without a record: there is no such batch.
    pub fn finish(&mut self, producer: ProducerStamp) -> Bytes {
        assert!(!self.is_empty(), "a batch has at least one record");
        let header = ClientHeader {
            codec: Codec::None,
            control: false,
            payload_bytes: 0,
            record_count: self.record_count,
            first_timestamp: self.first_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: producer.id,
            first_sequence: producer.first_sequence,
            producer_epoch: producer.epoch,
            payload_crc: 0,
        };
        seal(&mut self.buffer, header);
        let batch = self.buffer.split().freeze();
        let rest = std::mem::take(&mut self.buffer);
        if self.used.len() == BUFFERS_WATCHED_MAX {
            self.used.pop_front();
        }
        self.used.push_back(rest);
        self.record_count = 0;
        batch
    }

    /// Gives the memory of batches that were handed out back as soon as they are dropped, instead of
    /// keeping it for later ones. For a producer that falls idle.
    pub fn release_buffers(&mut self) {
        self.used = VecDeque::new();
    }

    #[cold]
    fn make_room(&mut self, needed: usize) -> Result<(), PushError> {
        if !self.is_empty() {
            return Err(PushError::Full);
        }
        let batch = HEADER_BYTES + needed;
        if batch > BATCH_BYTES_MAX {
            let what = "bytes with their batch header";
            return Err(PushError::RecordTooLarge { what, found: batch, max: BATCH_BYTES_MAX });
        }
        let capacity = self.capacity_bytes.max(batch);
        // Batches are answered, and dropped, in about the order they were sent in.
        let reusable = self.used.front_mut().is_some_and(|oldest| oldest.try_reclaim(capacity));
        self.buffer = reusable
            .then(|| self.used.pop_front())
            .flatten()
            .unwrap_or_else(|| BytesMut::with_capacity(capacity));
        self.buffer.resize(HEADER_BYTES, 0);
        Ok(())
    }

    #[inline]
    fn write(&mut self, record: &RecordInput<'_>, body: usize, delta: u64) {
        // Lengths are put together in front, so that a record costs few copies.
        let mut front = [0; 4 * varint::BYTES_MAX];
        let mut end = varint::write(body as u64, &mut front, 0);
        end = varint::write(delta, &mut front, end);
        end = varint::write(optional_len(record.key), &mut front, end);
        if let Some(key) = record.key {
            self.buffer.extend_from_slice(&front[..end]);
            self.buffer.extend_from_slice(key);
            end = 0;
        }
        end = varint::write(optional_len(record.value), &mut front, end);
        self.buffer.extend_from_slice(&front[..end]);
        self.buffer.extend_from_slice(record.value.unwrap_or_default());
        end = varint::write(record.headers.len() as u64, &mut front, 0);
        self.buffer.extend_from_slice(&front[..end]);
        for (name, value) in record.headers {
            end = varint::write(name.len() as u64, &mut front, 0);
            self.buffer.extend_from_slice(&front[..end]);
            self.buffer.extend_from_slice(name.as_bytes());
            end = varint::write(value.len() as u64, &mut front, 0);
            self.buffer.extend_from_slice(&front[..end]);
            self.buffer.extend_from_slice(value);
        }
    }
}

/// Writes `header` in front of the payload that `batch` already holds, with its length and checksum.
pub(crate) fn seal(batch: &mut [u8], mut header: ClientHeader) {
    let (front, payload) =
        batch.split_first_chunk_mut::<HEADER_BYTES>().expect("a batch has room for its header");
    let front: &mut [u8; CLIENT_HEADER_BYTES] =
        front.first_chunk_mut().expect("a header is longer than its client's part");
    header.payload_bytes = u32::try_from(payload.len()).expect("a batch is far smaller than 4 GiB");
    header.encode(front);
    let mut crc = PayloadCrc::start(front);
    crc.update(payload);
    header.payload_crc = crc.finish();
    header.encode(front);
}

#[inline]
fn optional_len(bytes: Option<&[u8]>) -> u64 {
    bytes.map_or(0, |bytes| bytes.len() as u64 + 1)
}

#[inline]
fn body_bytes(record: &RecordInput<'_>, delta: u64) -> Result<usize, PushError> {
    let key = record.key.map_or(0, <[u8]>::len);
    if key > KEY_BYTES_MAX {
        return too_large("key bytes", key, KEY_BYTES_MAX);
    }
    let value = record.value.map_or(0, <[u8]>::len);
    if value > BATCH_BYTES_MAX {
        return too_large("value bytes", value, BATCH_BYTES_MAX);
    }
    let fixed = varint::len(delta)
        + varint::len(optional_len(record.key))
        + key
        + varint::len(optional_len(record.value))
        + value;
    Ok(fixed + headers_bytes(record.headers)?)
}

#[inline]
fn headers_bytes(headers: &[(&str, &[u8])]) -> Result<usize, PushError> {
    if headers.len() > HEADERS_PER_RECORD_MAX {
        return too_large("headers", headers.len(), HEADERS_PER_RECORD_MAX);
    }
    let mut bytes = varint::len(headers.len() as u64);
    for (name, value) in headers {
        if name.len() > RECORD_HEADER_NAME_BYTES_MAX {
            return too_large("header name bytes", name.len(), RECORD_HEADER_NAME_BYTES_MAX);
        }
        if value.len() > BATCH_BYTES_MAX {
            return too_large("header value bytes", value.len(), BATCH_BYTES_MAX);
        }
        bytes += varint::len(name.len() as u64) + name.len();
        bytes += varint::len(value.len() as u64) + value.len();
    }
    Ok(bytes)
}

#[cold]
fn too_large<T>(what: &'static str, found: usize, max: usize) -> Result<T, PushError> {
    Err(PushError::RecordTooLarge { what, found, max })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchError;
    use crate::record::Records;
    use crate::record_counter::count_records;

    fn record(value: &[u8]) -> RecordInput<'_> {
        RecordInput { value: Some(value), ..RecordInput::default() }
    }

    fn read(batch: &[u8]) -> (ClientHeader, Vec<Option<Vec<u8>>>) {
        let header = ClientHeader::decode(batch).unwrap();
        let payload = &batch[HEADER_BYTES..];
        count_records(payload, header.record_count).unwrap();
        let records = Records::new(payload, header.record_count, header.first_timestamp);
        (header, records.map(|record| record.unwrap().value.map(<[u8]>::to_vec)).collect())
    }

    #[test]
    fn batch_is_full_at_its_capacity() {
        let mut builder = BatchBuilder::new(HEADER_BYTES + 25);
        // 5 bytes of lengths and a value of 5 bytes.
        assert_eq!(builder.push(&record(b"first")), Ok(()));
        assert_eq!(builder.push(&record(b"other")), Ok(()));
        assert_eq!(builder.push(&record(b"")), Ok(()));
        assert_eq!(builder.batch_bytes(), HEADER_BYTES + 25);
        assert_eq!(builder.push(&record(b"")), Err(PushError::Full));
        let (header, values) = read(&builder.finish(ProducerStamp::NONE));
        assert_eq!(header.record_count, 3);
        assert_eq!(values, [Some(b"first".to_vec()), Some(b"other".to_vec()), Some(vec![])]);
        assert!(builder.is_empty() && builder.batch_bytes() == 0);
    }

    #[test]
    fn record_larger_than_the_capacity_makes_a_batch_of_its_own() {
        let mut builder = BatchBuilder::new(1000);
        builder.push(&record(b"small")).unwrap();
        let large = vec![7; 5000];
        assert_eq!(builder.push(&record(&large)), Err(PushError::Full));
        builder.finish(ProducerStamp::NONE);
        builder.push(&record(&large)).unwrap();
        assert_eq!(builder.push(&record(b"")), Err(PushError::Full));
        let (_, values) = read(&builder.finish(ProducerStamp::NONE));
        assert_eq!(values, [Some(large)]);
    }

    #[test]
    fn record_that_fits_nowhere_is_refused_with_the_limit() {
        let mut builder = BatchBuilder::new(1000);
        let found = builder.push(&record(&vec![0; BATCH_BYTES_MAX - HEADER_BYTES]));
        assert!(matches!(found, Err(PushError::RecordTooLarge { max: BATCH_BYTES_MAX, .. })));
        let key = vec![0; KEY_BYTES_MAX + 1];
        let found = builder.push(&RecordInput { key: Some(&key), ..RecordInput::default() });
        assert!(matches!(found, Err(PushError::RecordTooLarge { what: "key bytes", .. })));
        let headers = [("", &[][..]); HEADERS_PER_RECORD_MAX + 1];
        let found = builder.push(&RecordInput { headers: &headers, ..RecordInput::default() });
        assert!(matches!(found, Err(PushError::RecordTooLarge { what: "headers", .. })));
        assert!(builder.is_empty());
        let largest = vec![0; BATCH_BYTES_MAX - HEADER_BYTES - 11];
        assert_eq!(builder.push(&record(&largest)), Ok(()));
        assert_eq!(builder.batch_bytes(), BATCH_BYTES_MAX);
    }

    #[test]
    fn timestamps_of_any_distance_and_order_survive() {
        let times = [0, i64::MIN, i64::MAX, -1, 1_700_000_000_000];
        let mut builder = BatchBuilder::new(1000);
        for time in times {
            let timestamp = TimestampMs::new(time);
            builder.push(&RecordInput { timestamp, ..RecordInput::default() }).unwrap();
        }
        let batch = builder.finish(ProducerStamp::NONE);
        let header = ClientHeader::decode(&batch).unwrap();
        assert_eq!(header.max_timestamp, TimestampMs::MAX);
        let records = Records::new(&batch[HEADER_BYTES..], 5, header.first_timestamp);
        let found: Vec<i64> = records.map(|record| record.unwrap().timestamp.get()).collect();
        assert_eq!(found, times);
    }

    #[test]
    fn buffer_is_used_again_once_its_batch_is_dropped_and_never_before() {
        let mut builder = BatchBuilder::new(1 << 16);
        let mut build = |byte: u8| {
            builder.push(&record(&[byte; 100])).unwrap();
            builder.finish(ProducerStamp::NONE)
        };
        let first = build(1);
        let place = first.as_ptr();
        let second = build(2);
        assert_ne!(second.as_ptr(), place);
        assert_eq!(read(&first).1, [Some(vec![1; 100])]);
        drop(first);
        let third = build(3);
        assert_eq!(third.as_ptr(), place);
        assert_eq!(read(&second).1, [Some(vec![2; 100])]);
        builder.release_buffers();
        assert!(third.is_unique() && second.is_unique());
    }

    #[test]
    fn empty_and_absent_stay_apart() {
        let mut builder = BatchBuilder::new(1000);
        for (key, value) in [(None, None), (Some(&b""[..]), None), (None, Some(&b""[..]))] {
            builder.push(&RecordInput { key, value, ..RecordInput::default() }).unwrap();
        }
        let batch = builder.finish(ProducerStamp::NONE);
        let records = Records::new(&batch[HEADER_BYTES..], 3, TimestampMs::ZERO);
        let found: Result<Vec<_>, BatchError> =
            records.map(|record| record.map(|r| (r.key, r.value))).collect();
        let empty = Some(&b""[..]);
        assert_eq!(found, Ok(vec![(None, None), (empty, None), (None, empty)]));
    }
}
