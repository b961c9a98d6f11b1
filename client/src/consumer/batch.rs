//! A batch as a consumer gets it: verified, in the pieces it came in.

use std::sync::OnceLock;

use bytes::{Buf, Bytes};
use forebay_format::{
    BatchError, BatchHeader, Codec, Offset, PartitionIndex, PayloadCrc, RecordRef, Records,
    limits::{CLIENT_HEADER_BYTES, HEADER_BYTES},
};

use crate::wire::Slices;

/// A batch of one partition. Header and payload checksums were verified, and that it follows the
/// batch before it without a gap.
#[derive(Debug)]
pub struct ConsumedBatch {
    partition: PartitionIndex,
    header: BatchHeader,
    payload: Slices,
    /// The payload in one piece, once somebody wanted it.
    contiguous: OnceLock<Bytes>,
    /// Records before this one were not asked for.
    wanted_from: Offset,
    committed: Offset,
}

impl ConsumedBatch {
    /// Cuts the next batch off a run and verifies it.
    pub(super) fn cut(
        run: &mut Slices,
        partition: PartitionIndex,
        committed: Offset,
    ) -> Result<Self, BatchError> {
        let mut bytes = [0; HEADER_BYTES];
        if !run.peek(&mut bytes) {
            return Err(BatchError::Length { found: run.len(), expected: HEADER_BYTES });
        }
        let header = BatchHeader::decode(&bytes)?;
        if run.len() < header.batch_bytes() {
            return Err(BatchError::Length { found: run.len(), expected: header.batch_bytes() });
        }
        run.advance(HEADER_BYTES);
        let payload = run.split_to(header.client.payload_len());
        let front: &[u8; CLIENT_HEADER_BYTES] =
            bytes.first_chunk().expect("a header is longer than its client's part");
        let mut crc = PayloadCrc::start(front);
        payload.pieces().for_each(|piece| crc.update(piece));
        let (found, expected) = (crc.finish(), header.client.payload_crc);
        if found != expected {
            return Err(BatchError::PayloadCrc { found, expected });
        }
        let wanted_from = header.leader.base_offset;
        Ok(Self { partition, header, payload, contiguous: OnceLock::new(), wanted_from, committed })
    }

    pub(super) fn skip_before(&mut self, wanted_from: Offset) {
        self.wanted_from = wanted_from;
    }

    /// The partition.
    pub fn partition(&self) -> PartitionIndex {
        self.partition
    }

    /// The header as it is stored.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Offset of the first record that was asked for.
    pub fn first_offset(&self) -> Offset {
        self.wanted_from
    }

    /// Offset after the last record.
    pub fn next_offset(&self) -> Offset {
        self.header.leader.base_offset + u64::from(self.header.client.record_count)
    }

    /// Records that were asked for.
    pub fn record_count(&self) -> u64 {
        self.next_offset() - self.wanted_from
    }

    /// Exclusive end of what was committed when this was sent.
    pub fn committed(&self) -> Offset {
        self.committed
    }

    /// The payload as it is stored, in the pieces it came in.
    pub fn payload_pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.payload.pieces()
    }

    /// The payload as it is stored, copied if it came in several pieces.
    pub fn payload(&self) -> &Bytes {
        self.contiguous.get_or_init(|| self.payload.clone().into_contiguous())
    }

    /// The records that were asked for, with their offsets.
    ///
    /// # Errors
    /// When the payload is compressed; it is then left to the caller.
    pub fn records(&self) -> Result<ConsumedRecords<'_>, BatchError> {
        let client = &self.header.client;
        match client.codec {
            Codec::None => Ok(ConsumedRecords {
                records: Records::new(self.payload(), client.record_count, client.first_timestamp),
                next: self.header.leader.base_offset,
                wanted_from: self.wanted_from,
            }),
            found => Err(BatchError::Compressed { found }),
        }
    }
}

/// Records of a batch with their offsets.
#[derive(Debug, Clone)]
pub struct ConsumedRecords<'a> {
    records: Records<'a>,
    next: Offset,
    wanted_from: Offset,
}

impl<'a> Iterator for ConsumedRecords<'a> {
    type Item = Result<(Offset, RecordRef<'a>), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let record = self.records.next()?;
            let offset = self.next;
            self.next += 1;
            match record {
                Ok(_) if offset < self.wanted_from => {}
                record => return Some(record.map(|record| (offset, record))),
            }
        }
    }
}
