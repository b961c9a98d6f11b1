//! What a partition replica must not forget although it is not in its log: who it is, what it has
//! promised, and a cut that it has begun.
//!
//! The file is replaced as a whole (write beside, sync, rename, sync the directory).

use crate::file_error::{FileError, FileKind};
use crate::frame::Frame;
use crate::ids::ReplicaId;
use crate::le;
use crate::numbers::{Epoch, FilePosition, Offset};

/// Bytes of the file.
pub const META_BYTES: usize = 84;

/// First bytes of the file.
pub const MAGIC: u32 = u32::from_le_bytes(*b"FPMT");

/// Version that is written and read.
pub const VERSION: u8 = 1;

const AT_FLAGS: usize = 5;
const AT_REPLICA: usize = 8;
const AT_PROMISED_EPOCH: usize = 24;
const AT_LOG_START: usize = 32;
const AT_COMMITTED: usize = 40;
const AT_STATE_VERSION: usize = 48;
const AT_CUT_SEGMENT: usize = 56;
const AT_CUT_POSITION: usize = 64;
const AT_CUT_OFFSET: usize = 72;
const AT_CRC: usize = 80;

const CUT_PENDING: u8 = 1;

const FRAME: Frame = Frame {
    kind: FileKind::PartitionMeta,
    magic: MAGIC,
    version: VERSION,
    fixed_bytes: META_BYTES,
    at_crc: AT_CRC,
};

/// What a partition replica remembers beside its log.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionMeta {
    /// This replica. New when the files before were lost.
    pub replica: ReplicaId,
    /// Nothing of an older epoch is taken or acknowledged any more. Invariant: never falls.
    pub promised_epoch: Epoch,
    /// Offset of the first record that still counts. Invariant: never falls, and is on stable
    /// storage before anything below it is deleted.
    pub log_start: Offset,
    /// A committed mark that this replica has known; the true one may be higher. It only raises
    /// alarms: nothing is ever cut to it.
    pub committed: Offset,
    /// Highest version of the partition's replicated state that was seen; 0 before any.
    pub state_version: u64,
    /// A cut that was decided and may not have been carried out.
    pub pending_cut: Option<PendingCut>,
}

/// Where a log is cut: in segment `segment`, everything from `position` on goes, and every later
/// segment; the next record has `offset`.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingCut {
    /// Base offset of the segment.
    pub segment: Offset,
    /// First byte that goes.
    pub position: FilePosition,
    /// Offset that the log then ends at.
    pub offset: Offset,
}

impl PartitionMeta {
    /// A replica that has promised and cut nothing yet.
    pub const fn new(replica: ReplicaId) -> Self {
        Self {
            replica,
            promised_epoch: Epoch::ZERO,
            log_start: Offset::ZERO,
            committed: Offset::ZERO,
            state_version: 0,
            pending_cut: None,
        }
    }

    /// The whole file.
    pub fn encode(&self) -> [u8; META_BYTES] {
        let mut out = [0; META_BYTES];
        le::put(&mut out, AT_REPLICA, &self.replica.to_bytes());
        le::put_u64(&mut out, AT_PROMISED_EPOCH, self.promised_epoch.get());
        le::put_u64(&mut out, AT_LOG_START, self.log_start.get());
        le::put_u64(&mut out, AT_COMMITTED, self.committed.get());
        le::put_u64(&mut out, AT_STATE_VERSION, self.state_version);
        if let Some(cut) = self.pending_cut {
            out[AT_FLAGS] = CUT_PENDING;
            le::put_u64(&mut out, AT_CUT_SEGMENT, cut.segment.get());
            le::put_u64(&mut out, AT_CUT_POSITION, cut.position.get());
            le::put_u64(&mut out, AT_CUT_OFFSET, cut.offset.get());
        }
        FRAME.seal(&mut out);
        out
    }

    /// Reads the whole file.
    ///
    /// # Errors
    /// Anything that [`Self::encode`] cannot have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, FileError> {
        FRAME.check(bytes, META_BYTES)?;
        let pending_cut = match bytes[AT_FLAGS] {
            0 => None,
            CUT_PENDING => Some(decode_cut(bytes)?),
            flags => return Err(FRAME.malformed("flags", flags.into(), "0 or 1")),
        };
        let replica = ReplicaId::from_bytes(le::array(bytes, AT_REPLICA));
        if replica.is_zero() {
            return Err(FRAME.malformed("replica id", 0, "not zero"));
        }
        Ok(Self {
            replica,
            promised_epoch: Epoch::new(le::get_u64(bytes, AT_PROMISED_EPOCH)),
            log_start: Offset::new(le::get_u64(bytes, AT_LOG_START)),
            committed: Offset::new(le::get_u64(bytes, AT_COMMITTED)),
            state_version: le::get_u64(bytes, AT_STATE_VERSION),
            pending_cut,
        })
    }
}

fn decode_cut(bytes: &[u8]) -> Result<PendingCut, FileError> {
    let cut = PendingCut {
        segment: Offset::new(le::get_u64(bytes, AT_CUT_SEGMENT)),
        position: FilePosition::new(le::get_u64(bytes, AT_CUT_POSITION)),
        offset: Offset::new(le::get_u64(bytes, AT_CUT_OFFSET)),
    };
    if cut.offset < cut.segment {
        let expected = "at least the base offset of its segment";
        return Err(FRAME.malformed("offset of the pending cut", cut.offset.get(), expected));
    }
    Ok(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> PartitionMeta {
        PartitionMeta {
            replica: ReplicaId::from_u128(1),
            promised_epoch: Epoch::new(2),
            log_start: Offset::new(3),
            committed: Offset::new(4),
            state_version: 5,
            pending_cut: Some(PendingCut {
                segment: Offset::new(6),
                position: FilePosition::new(7),
                offset: Offset::new(8),
            }),
        }
    }

    #[test]
    fn meta_survives_the_round_trip_with_and_without_a_cut() {
        let without = PartitionMeta { pending_cut: None, ..meta() };
        for meta in [meta(), without, PartitionMeta::new(ReplicaId::random())] {
            assert_eq!(PartitionMeta::decode(&meta.encode()), Ok(meta));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_detected() {
        let bytes = meta().encode();
        for bit in 0..META_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(PartitionMeta::decode(&flipped).is_err(), "bit {bit}");
        }
        for len in 0..META_BYTES {
            assert!(PartitionMeta::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        assert!(PartitionMeta::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn cut_before_its_segment_is_malformed() {
        let mut meta = meta();
        meta.pending_cut = meta.pending_cut.map(|cut| PendingCut { offset: Offset::ZERO, ..cut });
        let found = PartitionMeta::decode(&meta.encode());
        assert!(matches!(found, Err(FileError::Malformed { .. })), "{found:?}");
    }
}
