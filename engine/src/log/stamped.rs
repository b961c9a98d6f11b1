//! A batch that a leader has stamped, with all that it says of itself verified.

use bytes::Bytes;
use forebay_format::control::CONTROL_BATCH_BYTES;
use forebay_format::limits::HEADER_BYTES;
use forebay_format::{
    BatchError, BatchHeader, BatchMeta, ClientHeader, Control, LeaderFields, TimestampMs,
    stamp_leader,
};
use smallvec::{SmallVec, smallvec};

use super::payload_check::PayloadCheck;

/// A whole batch with client's and leader's fields. There is none that was not verified; whether it
/// continues a log is another question.
#[derive(Debug, Clone)]
pub struct StampedBatch {
    /// As it came; the replica's part is that of the replica it came from.
    pub(super) header: [u8; HEADER_BYTES],
    pub(super) payload: SmallVec<[Bytes; 2]>,
    meta: BatchMeta,
}

impl StampedBatch {
    /// Verifies a batch in the pieces in which it arrived: limits, header and payload checksums, length,
    /// and, unless it is compressed, that its records add up. The replica's part of the header is not
    /// looked at.
    ///
    /// # Errors
    /// What was found, and what was expected.
    pub fn verify(
        header: [u8; HEADER_BYTES],
        payload: SmallVec<[Bytes; 2]>,
    ) -> Result<Self, BatchError> {
        let meta = BatchHeader::decode(&header)?.meta();
        let found = HEADER_BYTES + payload.iter().map(Bytes::len).sum::<usize>();
        if found != meta.client.batch_bytes() {
            return Err(BatchError::Length { found, expected: meta.client.batch_bytes() });
        }
        let client = header.first_chunk().expect("a header is longer than its client's part");
        let mut check = PayloadCheck::start(client, &meta.client);
        payload.iter().for_each(|piece| check.update(piece));
        check.finish()?;
        Ok(Self { header, payload, meta })
    }

    /// The batch that an epoch begins with.
    pub fn epoch_start(time: TimestampMs, leader: LeaderFields) -> Self {
        let batch: [u8; CONTROL_BATCH_BYTES] = Control::EpochStart.encode(time);
        let (header, payload) = batch.split_first_chunk().expect("a batch begins with its header");
        let mut header = *header;
        let header_crc = stamp_leader(&mut header, &leader);
        let client = ClientHeader::decode(&header).expect("what was encoded just now");
        let meta = BatchMeta { client, leader, header_crc };
        Self { header, payload: smallvec![Bytes::copy_from_slice(payload)], meta }
    }

    /// All but the payload.
    pub fn meta(&self) -> &BatchMeta {
        &self.meta
    }

    /// Length in bytes as stored, header included.
    pub(super) fn batch_bytes(&self) -> usize {
        self.meta.client.batch_bytes()
    }
}

#[cfg(test)]
mod tests {
    use forebay_format::{Epoch, Offset};

    use super::*;

    fn fields() -> LeaderFields {
        LeaderFields {
            base_offset: Offset::new(5),
            epoch: Epoch::new(3),
            append_time: TimestampMs::new(9),
            previous_header_crc: 7,
        }
    }

    #[test]
    fn a_batch_survives_the_way_over_a_network_and_no_flipped_bit_of_it_does() {
        let batch = StampedBatch::epoch_start(TimestampMs::new(9), fields());
        assert_eq!(*batch.meta(), BatchMeta::stamp(batch.meta().client, fields()));
        let again = StampedBatch::verify(batch.header, batch.payload.clone()).expect("good");
        assert_eq!(again.meta(), batch.meta());
        // What the sender's replica has written for itself is nobody else's business.
        for byte in 0..96 {
            let mut header = batch.header;
            header[byte] ^= 0x20;
            assert!(StampedBatch::verify(header, batch.payload.clone()).is_err(), "byte {byte}");
        }
        let other: SmallVec<[Bytes; 2]> = smallvec![Bytes::from_static(&[2, 0, 0, 0])];
        assert!(StampedBatch::verify(batch.header, other).is_err());
        assert!(StampedBatch::verify(batch.header, SmallVec::new()).is_err());
    }
}
