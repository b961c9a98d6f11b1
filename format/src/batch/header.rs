//! The whole header: what leader and replica add to the client's part, bytes 64 to 112.

use super::client::{ClientHeader, check_preamble, malformed};
use super::error::BatchError;
use super::meta::BatchMeta;
use crate::checksum::crc32c;
use crate::le;
use crate::limits::{CLIENT_HEADER_BYTES, HEADER_BYTES};
use crate::numbers::{Epoch, FilePosition, Offset, SegmentSalt, TimestampMs};

const AT_BASE_OFFSET: usize = 64;
const AT_EPOCH: usize = 72;
const AT_APPEND_TIME: usize = 80;
const AT_PREVIOUS_HEADER_CRC: usize = 88;
const AT_HEADER_CRC: usize = 92;
const AT_DURABLE_UPTO: usize = 96;
const AT_LOCAL_CRC: usize = 104;
const AT_RESERVED: usize = 108;

/// What the leader decides about a batch.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderFields {
    /// Offset of the first record; for a control batch, of the next record.
    pub base_offset: Offset,
    /// The leader's epoch.
    pub epoch: Epoch,
    /// The leader's clock. Invariant: never falls within a partition.
    pub append_time: TimestampMs,
    /// Header CRC of the batch before; 0 for the first batch of a partition.
    pub previous_header_crc: u32,
}

/// What each replica writes for itself. No other replica looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalFields {
    /// Exclusive end of what was known to be synced in this file when the batch was written.
    pub durable_upto: FilePosition,
    /// See [`BatchHeader::verify_local`].
    pub local_crc: u32,
}

/// The header of a stored batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The client's part.
    pub client: ClientHeader,
    /// The leader's part.
    pub leader: LeaderFields,
    /// CRC32C of both, which the next batch repeats as `previous_header_crc`.
    pub header_crc: u32,
    /// This replica's part.
    pub local: LocalFields,
}

impl BatchHeader {
    /// Reads a header and verifies its header CRC. Not verified are the local CRC, which needs the
    /// place in the file, and the payload.
    ///
    /// # Errors
    /// Anything that a leader cannot have written.
    #[inline]
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, BatchError> {
        // Magic and version first: zeros, or a later layout, are not a damaged batch.
        check_preamble(client_part(bytes))?;
        let (found, expected) =
            (crc32c(&bytes[..AT_HEADER_CRC]), le::get_u32(bytes, AT_HEADER_CRC));
        if found != expected {
            return Err(BatchError::HeaderCrc { found, expected });
        }
        let client = ClientHeader::decode(client_part(bytes))?;
        let base_offset = Offset::new(le::get_u64(bytes, AT_BASE_OFFSET));
        if base_offset.checked_add(client.record_count.into()).is_none() {
            return malformed("base offset", base_offset.get(), "below 2^64 with its records");
        }
        let reserved = le::get_u32(bytes, AT_RESERVED);
        if reserved != 0 {
            return malformed("reserved field at byte 108", reserved.into(), "0");
        }
        Ok(Self {
            client,
            leader: LeaderFields {
                base_offset,
                epoch: Epoch::new(le::get_u64(bytes, AT_EPOCH)),
                append_time: TimestampMs::new(le::get_i64(bytes, AT_APPEND_TIME)),
                previous_header_crc: le::get_u32(bytes, AT_PREVIOUS_HEADER_CRC),
            },
            header_crc: expected,
            local: LocalFields {
                durable_upto: FilePosition::new(le::get_u64(bytes, AT_DURABLE_UPTO)),
                local_crc: le::get_u32(bytes, AT_LOCAL_CRC),
            },
        })
    }

    /// Whether this batch was written to `position` of the file whose present life has `salt`.
    ///
    /// # Errors
    /// [`BatchError::LocalCrc`] for a batch of an earlier life of the file, one that was copied from
    /// elsewhere, and a damaged `durable_upto`.
    #[inline]
    pub fn verify_local(
        &self,
        salt: SegmentSalt,
        position: FilePosition,
    ) -> Result<(), BatchError> {
        let found = local_crc(salt, position, self.header_crc, self.local.durable_upto);
        if found != self.local.local_crc {
            return Err(BatchError::LocalCrc { found, expected: self.local.local_crc });
        }
        Ok(())
    }

    /// The same without what only this replica's file is concerned with.
    #[inline]
    pub fn meta(&self) -> BatchMeta {
        BatchMeta { client: self.client, leader: self.leader, header_crc: self.header_crc }
    }

    /// Length of the batch as it is stored, header included.
    #[inline]
    pub fn batch_bytes(&self) -> usize {
        self.client.batch_bytes()
    }

    /// Offset after the last record; the base offset again for a control batch.
    #[inline]
    pub fn next_offset(&self) -> Offset {
        self.leader.base_offset + u64::from(self.client.record_count)
    }
}

/// Writes the leader's fields and the header CRC into a header with a valid client's part. Returns
/// the header CRC, which the next batch carries as its predecessor's.
#[inline]
pub fn stamp_leader(header: &mut [u8; HEADER_BYTES], fields: &LeaderFields) -> u32 {
    le::put_u64(header, AT_BASE_OFFSET, fields.base_offset.get());
    le::put_u64(header, AT_EPOCH, fields.epoch.get());
    le::put_i64(header, AT_APPEND_TIME, fields.append_time.get());
    le::put_u32(header, AT_PREVIOUS_HEADER_CRC, fields.previous_header_crc);
    let crc = crc32c(&header[..AT_HEADER_CRC]);
    le::put_u32(header, AT_HEADER_CRC, crc);
    crc
}

/// Writes this replica's fields into a header that has its header CRC.
#[inline]
pub fn stamp_local(
    header: &mut [u8; HEADER_BYTES],
    salt: SegmentSalt,
    position: FilePosition,
    durable_upto: FilePosition,
) {
    let crc = local_crc(salt, position, le::get_u32(header, AT_HEADER_CRC), durable_upto);
    le::put_u64(header, AT_DURABLE_UPTO, durable_upto.get());
    le::put_u32(header, AT_LOCAL_CRC, crc);
    le::put_u32(header, AT_RESERVED, 0);
}

fn local_crc(
    salt: SegmentSalt,
    position: FilePosition,
    header_crc: u32,
    durable_upto: FilePosition,
) -> u32 {
    let mut covered = [0; 28];
    le::put_u64(&mut covered, 0, salt.get());
    le::put_u64(&mut covered, 8, position.get());
    le::put_u32(&mut covered, 16, header_crc);
    le::put_u64(&mut covered, 20, durable_upto.get());
    crc32c(&covered)
}

fn client_part(bytes: &[u8; HEADER_BYTES]) -> &[u8; CLIENT_HEADER_BYTES] {
    bytes.first_chunk().expect("a header is longer than its client's part")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::client::tests::header as client_header;

    const SALT: SegmentSalt = SegmentSalt::new(0x5a17);
    const POSITION: FilePosition = FilePosition::new(4096);

    fn leader_fields() -> LeaderFields {
        LeaderFields {
            base_offset: Offset::new(100),
            epoch: Epoch::new(3),
            append_time: TimestampMs::new(1_700_000_000_000),
            previous_header_crc: 0xdead_beef,
        }
    }

    fn stamped() -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        client_header().encode(bytes.first_chunk_mut().unwrap());
        stamp_leader(&mut bytes, &leader_fields());
        stamp_local(&mut bytes, SALT, POSITION, FilePosition::new(4000));
        bytes
    }

    #[test]
    fn stamped_header_decodes_to_what_was_stamped() {
        let header = BatchHeader::decode(&stamped()).unwrap();
        assert_eq!(header.client, client_header());
        assert_eq!(header.leader, leader_fields());
        assert_eq!(header.local.durable_upto, FilePosition::new(4000));
        assert_eq!(header.next_offset(), Offset::new(102));
        assert_eq!(header.batch_bytes(), 122);
        assert_eq!(header.verify_local(SALT, POSITION), Ok(()));
    }

    #[test]
    fn every_flipped_bit_is_detected() {
        let bytes = stamped();
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            let found = BatchHeader::decode(&flipped)
                .and_then(|header| header.verify_local(SALT, POSITION));
            assert!(found.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn batch_of_another_place_or_life_of_the_file_does_not_verify() {
        let header = BatchHeader::decode(&stamped()).unwrap();
        for (salt, position) in [(SegmentSalt::new(1), POSITION), (SALT, POSITION + 4096)] {
            let found = header.verify_local(salt, position);
            assert!(matches!(found, Err(BatchError::LocalCrc { .. })), "{found:?}");
        }
    }

    #[test]
    fn last_offset_cannot_be_passed() {
        let mut bytes = stamped();
        let fields = LeaderFields { base_offset: Offset::new(u64::MAX - 1), ..leader_fields() };
        stamp_leader(&mut bytes, &fields);
        let found = BatchHeader::decode(&bytes);
        assert!(matches!(found, Err(BatchError::Malformed { .. })), "{found:?}");
    }
}
