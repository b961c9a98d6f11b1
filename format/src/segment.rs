//! The first block of a segment file: whose it is, where it starts, and what came before.
//!
//! Batches follow at [`FIRST_BATCH_POSITION`].

use thiserror::Error;

use crate::epochs::{EpochStart, EpochTable};
use crate::file_error::{FileError, FileKind};
use crate::frame::Frame;
use crate::ids::{ClusterId, PartitionId, PartitionIndex, ReplicaId, TopicId};
use crate::le;
use crate::limits::{BLOCK_BYTES, EPOCHS_PER_SEGMENT_HEADER_MAX};
use crate::numbers::{Epoch, FilePosition, Offset, SegmentSalt, TimestampMs};

/// Bytes of the header: one block.
pub const SEGMENT_HEADER_BYTES: usize = BLOCK_BYTES;

/// Where the first batch of a segment begins.
pub const FIRST_BATCH_POSITION: FilePosition = FilePosition::new(SEGMENT_HEADER_BYTES as u64);

/// First bytes of a segment file.
pub const MAGIC: u32 = u32::from_le_bytes(*b"FSEG");

/// Version that is written and read.
pub const VERSION: u8 = 1;

const AT_EPOCH_COUNT: usize = 8;
const AT_PARTITION: usize = 12;
const AT_CLUSTER: usize = 16;
const AT_TOPIC: usize = 32;
const AT_REPLICA: usize = 48;
const AT_BASE_OFFSET: usize = 64;
const AT_SALT: usize = 72;
const AT_PREVIOUS_APPEND_TIME: usize = 80;
const AT_PREVIOUS_HEADER_CRC: usize = 88;
const AT_EPOCHS: usize = 96;
const EPOCH_ENTRY_BYTES: usize = 16;
const AT_CRC: usize = SEGMENT_HEADER_BYTES - 4;

const FRAME: Frame = Frame {
    kind: FileKind::SegmentHeader,
    magic: MAGIC,
    version: VERSION,
    fixed_bytes: SEGMENT_HEADER_BYTES,
    at_crc: AT_CRC,
};

const _: () = assert!(AT_EPOCHS + EPOCHS_PER_SEGMENT_HEADER_MAX * EPOCH_ENTRY_BYTES <= AT_CRC);

/// Whose log a segment belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SegmentIdentity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The partition.
    pub partition: PartitionId,
    /// The replica that wrote it.
    pub replica: ReplicaId,
}

/// A segment of somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("segment belongs to another {field}: expected {expected}, found {found}")]
pub struct ForeignSegment {
    /// Which of cluster, topic, partition and replica differs.
    pub field: &'static str,
    /// What the header says.
    pub found: String,
    /// What it should say.
    pub expected: String,
}

/// The header of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Whose log it is.
    pub identity: SegmentIdentity,
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Random bits of this life of the file.
    pub salt: SegmentSalt,
    /// Append time of the last batch before this segment; [`TimestampMs::MIN`] when there was none.
    /// Append times never fall, even when every earlier segment has been deleted.
    pub previous_append_time: TimestampMs,
    /// Header CRC of the last batch before this segment; 0 when there was none. The chain goes on
    /// from it.
    pub previous_header_crc: u32,
    /// The epochs so far, none of which began after `base_offset`.
    pub epochs: EpochTable,
}

impl SegmentHeader {
    /// Writes the whole block.
    pub fn encode(&self, out: &mut [u8; SEGMENT_HEADER_BYTES]) {
        out.fill(0);
        let entries = self.epochs.entries();
        let count = u32::try_from(entries.len()).expect("an epoch table is bounded");
        le::put_u32(out, AT_EPOCH_COUNT, count);
        le::put_u32(out, AT_PARTITION, self.identity.partition.partition.get());
        le::put(out, AT_CLUSTER, &self.identity.cluster.to_bytes());
        le::put(out, AT_TOPIC, &self.identity.partition.topic.to_bytes());
        le::put(out, AT_REPLICA, &self.identity.replica.to_bytes());
        le::put_u64(out, AT_BASE_OFFSET, self.base_offset.get());
        le::put_u64(out, AT_SALT, self.salt.get());
        le::put_i64(out, AT_PREVIOUS_APPEND_TIME, self.previous_append_time.get());
        le::put_u32(out, AT_PREVIOUS_HEADER_CRC, self.previous_header_crc);
        for (index, entry) in entries.iter().enumerate() {
            let at = AT_EPOCHS + index * EPOCH_ENTRY_BYTES;
            le::put_u64(out, at, entry.epoch.get());
            le::put_u64(out, at + 8, entry.start.get());
        }
        FRAME.seal(out);
    }

    /// Reads the block at the start of `bytes`.
    ///
    /// # Errors
    /// Anything that [`SegmentHeader::encode`] cannot have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, FileError> {
        FRAME.check_start(bytes)?;
        let bytes: &[u8; SEGMENT_HEADER_BYTES] =
            bytes.first_chunk().expect("the start was checked to be there");
        FRAME.check_crc(bytes)?;
        let base_offset = Offset::new(le::get_u64(bytes, AT_BASE_OFFSET));
        Ok(Self {
            identity: SegmentIdentity {
                cluster: ClusterId::from_bytes(le::array(bytes, AT_CLUSTER)),
                partition: PartitionId::new(
                    TopicId::from_bytes(le::array(bytes, AT_TOPIC)),
                    PartitionIndex::new(le::get_u32(bytes, AT_PARTITION)),
                ),
                replica: ReplicaId::from_bytes(le::array(bytes, AT_REPLICA)),
            },
            base_offset,
            salt: SegmentSalt::new(le::get_u64(bytes, AT_SALT)),
            previous_append_time: TimestampMs::new(le::get_i64(bytes, AT_PREVIOUS_APPEND_TIME)),
            previous_header_crc: le::get_u32(bytes, AT_PREVIOUS_HEADER_CRC),
            epochs: decode_epochs(bytes, base_offset)?,
        })
    }

    /// Whether this segment belongs to `expected`.
    ///
    /// # Errors
    /// The first of cluster, topic, partition and replica that differs, with both values.
    pub fn verify_identity(&self, expected: &SegmentIdentity) -> Result<(), ForeignSegment> {
        let found = &self.identity;
        let (mine, theirs) = (expected.partition, found.partition);
        same("cluster", &found.cluster, &expected.cluster)?;
        same("topic", &theirs.topic, &mine.topic)?;
        same("partition", &theirs.partition, &mine.partition)?;
        same("replica", &found.replica, &expected.replica)
    }
}

fn same<T: PartialEq + ToString>(
    field: &'static str,
    found: &T,
    expected: &T,
) -> Result<(), ForeignSegment> {
    if found == expected {
        return Ok(());
    }
    Err(ForeignSegment { field, found: found.to_string(), expected: expected.to_string() })
}

fn decode_epochs(
    bytes: &[u8; SEGMENT_HEADER_BYTES],
    base_offset: Offset,
) -> Result<EpochTable, FileError> {
    let count = le::get_u32(bytes, AT_EPOCH_COUNT);
    let Some(count) =
        usize::try_from(count).ok().filter(|&count| count <= EPOCHS_PER_SEGMENT_HEADER_MAX)
    else {
        return Err(FRAME.malformed("epoch count", count.into(), "at most 200"));
    };
    let mut table = EpochTable::new();
    for index in 0..count {
        let at = AT_EPOCHS + index * EPOCH_ENTRY_BYTES;
        let epoch = Epoch::new(le::get_u64(bytes, at));
        let start = Offset::new(le::get_u64(bytes, at + 8));
        if start > base_offset {
            return Err(FRAME.malformed(
                "start of an epoch",
                start.get(),
                "at most the base offset",
            ));
        }
        if !table.push(EpochStart { epoch, start }) {
            let expected = "above the one before, and not start before it";
            return Err(FRAME.malformed("epoch", epoch.get(), expected));
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        let mut epochs = EpochTable::new();
        assert!(epochs.push(EpochStart { epoch: Epoch::new(1), start: Offset::ZERO }));
        assert!(epochs.push(EpochStart { epoch: Epoch::new(3), start: Offset::new(400) }));
        SegmentHeader {
            identity: SegmentIdentity {
                cluster: ClusterId::from_u128(1),
                partition: PartitionId::new(TopicId::from_u128(2), PartitionIndex::new(3)),
                replica: ReplicaId::from_u128(4),
            },
            base_offset: Offset::new(500),
            salt: SegmentSalt::new(6),
            previous_append_time: TimestampMs::new(-7),
            previous_header_crc: 8,
            epochs,
        }
    }

    fn encoded(header: &SegmentHeader) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut block = [0xaa; SEGMENT_HEADER_BYTES];
        header.encode(&mut block);
        block
    }

    #[test]
    fn header_survives_the_round_trip() {
        assert_eq!(SegmentHeader::decode(&encoded(&header())), Ok(header()));
    }

    #[test]
    fn flipped_bit_is_detected() {
        let block = encoded(&header());
        for at in (0..SEGMENT_HEADER_BYTES).step_by(7).chain([AT_CRC, AT_CRC + 3]) {
            let mut flipped = block;
            flipped[at] ^= 0x10;
            assert!(SegmentHeader::decode(&flipped).is_err(), "byte {at}");
        }
    }

    #[test]
    fn unwritten_block_is_told_from_a_broken_one() {
        let error = SegmentHeader::decode(&[0; SEGMENT_HEADER_BYTES]).expect_err("zeros");
        assert_eq!(error, FileError::Magic { kind: FRAME.kind, found: 0, expected: MAGIC });
    }

    #[test]
    fn segment_of_another_replica_is_refused_naming_both() {
        let mut other = header().identity;
        other.replica = ReplicaId::from_u128(5);
        let error = header().verify_identity(&other).expect_err("another replica");
        assert_eq!((error.field, error.found.ends_with('4')), ("replica", true));
        assert!(error.expected.ends_with('5'));
        assert_eq!(header().verify_identity(&header().identity), Ok(()));
    }

    #[test]
    fn epoch_that_begins_after_the_segment_is_malformed() {
        let mut early = header();
        early.base_offset = Offset::new(399);
        let error = SegmentHeader::decode(&encoded(&early)).expect_err("epoch 3 starts at 400");
        assert!(matches!(error, FileError::Malformed { found: 400, .. }), "{error}");
    }
}
