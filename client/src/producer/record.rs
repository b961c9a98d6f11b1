//! What goes into a producer: a record, or a batch that was built elsewhere.

use bytes::Bytes;
use forebay_format::{
    BatchError, ClientHeader, PartitionIndex, PayloadCrc, ProducerStamp, RecordInput, TimestampMs,
    limits::{CLIENT_HEADER_BYTES, HEADER_BYTES},
};

/// A record to be sent. It borrows; the bytes are copied once, into the batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Record<'a> {
    /// Where it goes. `None`: by the key as Kafka does, or without a key to one partition until its
    /// batch is full, then to the next.
    pub partition: Option<PartitionIndex>,
    /// The key, if there is one.
    pub key: Option<&'a [u8]>,
    /// The value, if there is one.
    pub value: Option<&'a [u8]>,
    /// Names and values that travel with it.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// `None`: now.
    pub timestamp: Option<TimestampMs>,
}

impl<'a> Record<'a> {
    /// A record with a value and nothing else.
    pub fn of(value: &'a [u8]) -> Self {
        Self { value: Some(value), ..Self::default() }
    }

    /// The same with a key.
    #[must_use]
    pub fn with_key(self, key: &'a [u8]) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The same for one partition.
    #[must_use]
    pub fn to(self, partition: PartitionIndex) -> Self {
        Self { partition: Some(partition), ..self }
    }

    pub(super) fn input(&self, now: TimestampMs) -> RecordInput<'a> {
        RecordInput {
            timestamp: self.timestamp.unwrap_or(now),
            key: self.key,
            value: self.value,
            headers: self.headers,
        }
    }
}

/// A record's place among those that a producer accepted for one partition. Cheap: two numbers.
/// The [`BatchAck`](super::BatchAck) whose sequences include it says which offset it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// The partition.
    pub partition: PartitionIndex,
    /// Counts the records accepted for this partition, from 0, or from where a resumed producer
    /// goes on.
    pub sequence: u64,
}

/// A batch that was built elsewhere, for instance from records that are sent again and again. Its
/// payload is never copied.
#[derive(Debug, Clone)]
pub struct PreparedBatch {
    header: ClientHeader,
    payload: Bytes,
}

impl PreparedBatch {
    /// Takes apart what [`forebay_format::BatchBuilder::finish`] returned.
    ///
    /// # Errors
    /// When the bytes are not one batch.
    pub fn new(mut batch: Bytes) -> Result<Self, BatchError> {
        let header = ClientHeader::decode(&batch)?;
        if batch.len() != header.batch_bytes() {
            let expected = header.batch_bytes();
            return Err(BatchError::Length { found: batch.len(), expected });
        }
        Ok(Self { header, payload: batch.split_off(HEADER_BYTES) })
    }

    /// Records in it.
    pub fn record_count(&self) -> u32 {
        self.header.record_count
    }

    /// Length of the batch, header included.
    pub fn batch_bytes(&self) -> usize {
        self.header.batch_bytes()
    }

    /// Header for this sender, and the payload. The checksum is computed again only when the sender
    /// changes what it covers.
    pub(super) fn stamped(&self, stamp: ProducerStamp) -> ([u8; HEADER_BYTES], Bytes) {
        let mut header = self.header;
        header.producer_id = stamp.id;
        header.producer_epoch = stamp.epoch;
        header.first_sequence = stamp.first_sequence;
        let mut bytes = [0; HEADER_BYTES];
        let front: &mut [u8; CLIENT_HEADER_BYTES] =
            bytes.first_chunk_mut().expect("a header is longer than its client's part");
        header.encode(front);
        if header != self.header {
            let mut crc = PayloadCrc::start(front);
            crc.update(&self.payload);
            header.payload_crc = crc.finish();
            header.encode(front);
        }
        (bytes, self.payload.clone())
    }
}

#[cfg(test)]
mod tests {
    use forebay_format::{BatchBuilder, ProducerEpoch, ProducerId, Sequence};

    use super::*;

    #[test]
    fn a_stamped_batch_is_what_the_builder_would_have_made() {
        let stamp = ProducerStamp {
            id: ProducerId::from_u128(9),
            epoch: ProducerEpoch::new(1),
            first_sequence: Sequence::new(77),
        };
        let build = |stamp| {
            let mut builder = BatchBuilder::new(1000);
            builder.push(&Record::of(b"value").with_key(b"k").input(TimestampMs::new(5))).unwrap();
            builder.finish(stamp)
        };
        let prepared = PreparedBatch::new(build(ProducerStamp::NONE)).unwrap();
        for stamp in [stamp, ProducerStamp::NONE] {
            let (header, payload) = prepared.stamped(stamp);
            assert_eq!([&header[..], &payload].concat(), build(stamp));
        }
    }

    #[test]
    fn bytes_that_are_not_one_batch_are_refused() {
        let mut builder = BatchBuilder::new(1000);
        builder.push(&Record::of(b"value").input(TimestampMs::ZERO)).unwrap();
        let batch = builder.finish(ProducerStamp::NONE);
        assert!(PreparedBatch::new(batch.slice(..batch.len() - 1)).is_err());
        assert!(PreparedBatch::new(Bytes::from_static(b"batch")).is_err());
    }
}
