//! The `clean` file: where every log of a data directory ended at a clean stop, so that the next
//! start need not look.
//!
//! It is read and unlinked, and that synced, before anything is written: it must never speak of a
//! log that has moved on.

use crate::epochs::EpochStart;
use crate::file_error::{FileError, FileKind};
use crate::frame::Frame;
use crate::ids::{ClusterId, PartitionId, PartitionIndex, ReplicaId, TopicId};
use crate::le;
use crate::limits::{EPOCHS_PER_SEGMENT_HEADER_MAX, PARTITIONS_PER_NODE_MAX};
use crate::numbers::{Epoch, FilePosition, Offset, SegmentSalt, TimestampMs};

/// First bytes of the file.
pub const MAGIC: u32 = u32::from_le_bytes(*b"FCLN");

/// Version that is written and read.
pub const VERSION: u8 = 1;

const HEADER_BYTES: usize = 32;
const AT_CLUSTER: usize = 8;
const AT_COUNT: usize = 24;
const AT_CRC: usize = 28;

const ENTRY_BYTES: usize = 128;
const AT_TOPIC: usize = 0;
const AT_PARTITION: usize = 16;
const AT_LAST_HEADER_CRC: usize = 20;
const AT_REPLICA: usize = 24;
const AT_PROMISED_EPOCH: usize = 40;
const AT_LOG_START: usize = 48;
const AT_ACTIVE_SEGMENT: usize = 56;
const AT_SALT: usize = 64;
const AT_END_OFFSET: usize = 72;
const AT_END_POSITION: usize = 80;
const AT_LAST_EPOCH: usize = 88;
const AT_LAST_APPEND_TIME: usize = 96;
const AT_SIZE_BYTES: usize = 104;
const AT_COMMITTED: usize = 112;
const AT_SEGMENTS: usize = 120;
const AT_EPOCH_COUNT: usize = 124;

/// Follows its entry, once for each epoch.
const EPOCH_BYTES: usize = 16;

const FRAME: Frame = Frame {
    kind: FileKind::Clean,
    magic: MAGIC,
    version: VERSION,
    fixed_bytes: HEADER_BYTES,
    at_crc: AT_CRC,
};

/// Where every log of a data directory ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanFile {
    /// Whose data directory it is.
    pub cluster: ClusterId,
    /// One entry for each partition, in any order.
    pub entries: Vec<CleanEntry>,
}

/// Where one log ended. Everything before `end_position` of the active segment was synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanEntry {
    /// Which partition.
    pub partition: PartitionId,
    /// The replica, as in its meta.
    pub replica: ReplicaId,
    /// Its promise, as in its meta.
    pub promised_epoch: Epoch,
    /// Its log start, as in its meta.
    pub log_start: Offset,
    /// The committed mark.
    pub committed: Offset,
    /// Base offset of the active segment.
    pub active_segment: Offset,
    /// Salt of the active segment.
    pub salt: SegmentSalt,
    /// Offset of the next record.
    pub end_offset: Offset,
    /// Where in the active segment the next batch goes.
    pub end_position: FilePosition,
    /// Header CRC of the last batch; 0 when there never was one.
    pub last_header_crc: u32,
    /// Epoch of the last batch.
    pub last_epoch: Epoch,
    /// Append time of the last batch; [`TimestampMs::MIN`] when there never was one.
    pub last_append_time: TimestampMs,
    /// Bytes of log in all segments.
    pub size_bytes: u64,
    /// How many segments there are.
    pub segments: u32,
    /// Epochs that began in the active segment, and so are not in its header.
    pub epochs: Vec<EpochStart>,
}

impl CleanFile {
    /// The whole file. Entries are written in the order of their partitions, so that equal content
    /// has equal bytes.
    ///
    /// # Panics
    /// With more than [`PARTITIONS_PER_NODE_MAX`] entries, or two for one partition.
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.entries.len() <= PARTITIONS_PER_NODE_MAX, "partitions of a node are limited");
        let mut entries: Vec<&CleanEntry> = self.entries.iter().collect();
        entries.sort_unstable_by_key(|entry| entry.partition);
        assert!(
            entries.windows(2).all(|pair| pair[0].partition < pair[1].partition),
            "a partition has one log"
        );
        let mut out = vec![0; HEADER_BYTES];
        le::put(&mut out, AT_CLUSTER, &self.cluster.to_bytes());
        let count = u32::try_from(entries.len()).expect("partitions of a node are limited");
        le::put_u32(&mut out, AT_COUNT, count);
        for entry in entries {
            entry.encode(&mut out);
        }
        FRAME.seal(&mut out);
        out
    }

    /// Reads the whole file.
    ///
    /// # Errors
    /// Anything that [`Self::encode`] cannot have written. The logs are then recovered by scanning.
    pub fn decode(bytes: &[u8]) -> Result<Self, FileError> {
        FRAME.check_start(bytes)?;
        let count = le::get_u32(bytes, AT_COUNT);
        let Some(count) =
            usize::try_from(count).ok().filter(|&count| count <= PARTITIONS_PER_NODE_MAX)
        else {
            return Err(FRAME.malformed("entry count", count.into(), "at most 100000"));
        };
        FRAME.check_crc(bytes)?;
        let mut rest = &bytes[HEADER_BYTES..];
        let mut entries = Vec::new();
        for _ in 0..count {
            let (entry, behind) = CleanEntry::split(rest)?;
            entries.push(entry);
            rest = behind;
        }
        if !rest.is_empty() {
            return Err(FRAME.malformed("bytes behind the last entry", rest.len() as u64, "0"));
        }
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].partition >= pair[1].partition) {
            let found = pair[1].partition.partition.get().into();
            return Err(FRAME.malformed("partition", found, "after the one before"));
        }
        Ok(Self { cluster: ClusterId::from_bytes(le::array(bytes, AT_CLUSTER)), entries })
    }
}

impl CleanEntry {
    fn encode(&self, file: &mut Vec<u8>) {
        let start = file.len();
        file.resize(start + ENTRY_BYTES, 0);
        let out = &mut file[start..];
        assert!(self.epochs.len() <= EPOCHS_PER_SEGMENT_HEADER_MAX, "an epoch table is bounded");
        le::put(out, AT_TOPIC, &self.partition.topic.to_bytes());
        le::put_u32(out, AT_PARTITION, self.partition.partition.get());
        le::put_u32(out, AT_LAST_HEADER_CRC, self.last_header_crc);
        le::put(out, AT_REPLICA, &self.replica.to_bytes());
        le::put_u64(out, AT_PROMISED_EPOCH, self.promised_epoch.get());
        le::put_u64(out, AT_LOG_START, self.log_start.get());
        le::put_u64(out, AT_ACTIVE_SEGMENT, self.active_segment.get());
        le::put_u64(out, AT_SALT, self.salt.get());
        le::put_u64(out, AT_END_OFFSET, self.end_offset.get());
        le::put_u64(out, AT_END_POSITION, self.end_position.get());
        le::put_u64(out, AT_LAST_EPOCH, self.last_epoch.get());
        le::put_i64(out, AT_LAST_APPEND_TIME, self.last_append_time.get());
        le::put_u64(out, AT_SIZE_BYTES, self.size_bytes);
        le::put_u64(out, AT_COMMITTED, self.committed.get());
        le::put_u32(out, AT_SEGMENTS, self.segments);
        let epochs = u32::try_from(self.epochs.len()).expect("an epoch table is bounded");
        le::put_u32(out, AT_EPOCH_COUNT, epochs);
        for began in &self.epochs {
            file.extend_from_slice(&began.epoch.get().to_le_bytes());
            file.extend_from_slice(&began.start.get().to_le_bytes());
        }
    }

    /// The entry at the start of `bytes`, and what is behind it.
    fn split(bytes: &[u8]) -> Result<(Self, &[u8]), FileError> {
        let too_short = |found: usize| {
            FRAME.malformed("bytes left for an entry", found as u64, "enough for its epochs")
        };
        let (fixed, rest) =
            bytes.split_at_checked(ENTRY_BYTES).ok_or_else(|| too_short(bytes.len()))?;
        let count = le::get_u32(fixed, AT_EPOCH_COUNT);
        let count = usize::try_from(count)
            .ok()
            .filter(|&count| count <= EPOCHS_PER_SEGMENT_HEADER_MAX)
            .ok_or_else(|| FRAME.malformed("epoch count", count.into(), "at most 200"))?;
        let (epochs, rest) =
            rest.split_at_checked(count * EPOCH_BYTES).ok_or_else(|| too_short(rest.len()))?;
        let began = |bytes: &[u8]| EpochStart {
            epoch: Epoch::new(le::get_u64(bytes, 0)),
            start: Offset::new(le::get_u64(bytes, 8)),
        };
        let epochs = epochs.chunks_exact(EPOCH_BYTES).map(began).collect();
        Ok((Self::decode(fixed, epochs), rest))
    }

    fn decode(bytes: &[u8], epochs: Vec<EpochStart>) -> Self {
        Self {
            partition: PartitionId::new(
                TopicId::from_bytes(le::array(bytes, AT_TOPIC)),
                PartitionIndex::new(le::get_u32(bytes, AT_PARTITION)),
            ),
            replica: ReplicaId::from_bytes(le::array(bytes, AT_REPLICA)),
            promised_epoch: Epoch::new(le::get_u64(bytes, AT_PROMISED_EPOCH)),
            log_start: Offset::new(le::get_u64(bytes, AT_LOG_START)),
            committed: Offset::new(le::get_u64(bytes, AT_COMMITTED)),
            active_segment: Offset::new(le::get_u64(bytes, AT_ACTIVE_SEGMENT)),
            salt: SegmentSalt::new(le::get_u64(bytes, AT_SALT)),
            end_offset: Offset::new(le::get_u64(bytes, AT_END_OFFSET)),
            end_position: FilePosition::new(le::get_u64(bytes, AT_END_POSITION)),
            last_header_crc: le::get_u32(bytes, AT_LAST_HEADER_CRC),
            last_epoch: Epoch::new(le::get_u64(bytes, AT_LAST_EPOCH)),
            last_append_time: TimestampMs::new(le::get_i64(bytes, AT_LAST_APPEND_TIME)),
            size_bytes: le::get_u64(bytes, AT_SIZE_BYTES),
            segments: le::get_u32(bytes, AT_SEGMENTS),
            epochs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(partition: u32) -> CleanEntry {
        CleanEntry {
            partition: PartitionId::new(TopicId::from_u128(1), PartitionIndex::new(partition)),
            replica: ReplicaId::from_u128(2),
            promised_epoch: Epoch::new(3),
            log_start: Offset::new(4),
            committed: Offset::new(5),
            active_segment: Offset::new(6),
            salt: SegmentSalt::new(7),
            end_offset: Offset::new(8),
            end_position: FilePosition::new(9),
            last_header_crc: 10,
            last_epoch: Epoch::new(11),
            last_append_time: TimestampMs::new(-12),
            size_bytes: 13,
            segments: 14,
            epochs: vec![EpochStart { epoch: Epoch::new(11), start: Offset::new(7) }],
        }
    }

    fn file(entries: &[CleanEntry]) -> CleanFile {
        CleanFile { cluster: ClusterId::from_u128(9), entries: entries.to_vec() }
    }

    #[test]
    fn entries_survive_the_round_trip_in_order() {
        for partitions in [&[][..], &[3], &[0, 1, 2]] {
            let entries: Vec<_> = partitions.iter().map(|&partition| entry(partition)).collect();
            let file = file(&entries);
            assert_eq!(CleanFile::decode(&file.encode()), Ok(file));
        }
        assert_eq!(file(&[entry(2), entry(1)]).encode(), file(&[entry(1), entry(2)]).encode());
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_detected() {
        let bytes = file(&[entry(0), entry(1)]).encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(CleanFile::decode(&flipped).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(CleanFile::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn partition_that_comes_twice_is_malformed() {
        let mut bytes = file(&[entry(0), entry(1)]).encode();
        let first = HEADER_BYTES..HEADER_BYTES + ENTRY_BYTES + EPOCH_BYTES;
        bytes.copy_within(first.clone(), first.end);
        FRAME.seal(&mut bytes);
        let found = CleanFile::decode(&bytes);
        assert!(matches!(found, Err(FileError::Malformed { field: "partition", .. })), "{found:?}");
    }
}
