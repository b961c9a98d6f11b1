//! Control batches: what a leader writes into the log for the log itself.

use crate::batch::{BatchError, ClientHeader, Codec};
use crate::builder::seal;
use crate::ids::ProducerId;
use crate::le;
use crate::limits::HEADER_BYTES;
use crate::numbers::{ProducerEpoch, Sequence, TimestampMs};

/// Payload of a control batch: its kind.
const PAYLOAD_BYTES: usize = size_of::<u32>();

/// Length of a control batch.
pub const CONTROL_BATCH_BYTES: usize = HEADER_BYTES + PAYLOAD_BYTES;

const EPOCH_START: u32 = 1;

/// What a control batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Control {
    /// The epoch in its header begins here.
    EpochStart,
}

impl Control {
    /// The batch with its client's part done, to be stamped by leader and replica.
    pub fn encode(self, timestamp: TimestampMs) -> [u8; CONTROL_BATCH_BYTES] {
        let Self::EpochStart = self;
        let mut batch = [0; CONTROL_BATCH_BYTES];
        le::put_u32(&mut batch, HEADER_BYTES, EPOCH_START);
        let header = ClientHeader {
            codec: Codec::None,
            control: true,
            payload_bytes: 0,
            record_count: 0,
            first_timestamp: timestamp,
            max_timestamp: timestamp,
            producer_id: ProducerId::NONE,
            first_sequence: Sequence::ZERO,
            producer_epoch: ProducerEpoch::ZERO,
            payload_crc: 0,
        };
        seal(&mut batch, header);
        batch
    }

    /// What the payload of a control batch says.
    ///
    /// # Errors
    /// A kind that a later release has added, or another length.
    pub fn decode(payload: &[u8]) -> Result<Self, BatchError> {
        let Some(kind) = payload.first_chunk::<PAYLOAD_BYTES>() else {
            return Err(BatchError::Length { found: payload.len(), expected: PAYLOAD_BYTES });
        };
        match (u32::from_le_bytes(*kind), payload.len()) {
            (EPOCH_START, PAYLOAD_BYTES) => Ok(Self::EpochStart),
            (EPOCH_START, found) => Err(BatchError::Length { found, expected: PAYLOAD_BYTES }),
            (kind, _) => Err(BatchError::Malformed {
                field: "kind of a control batch",
                found: kind.into(),
                expected: "1 (epoch start)",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchHeader, LeaderFields, stamp_leader};
    use crate::batches::Batch;
    use crate::numbers::{Epoch, Offset};

    #[test]
    fn control_batch_takes_no_offset_and_says_what_it_is() {
        let mut bytes = Control::EpochStart.encode(TimestampMs::new(9));
        let fields = LeaderFields {
            base_offset: Offset::new(3),
            epoch: Epoch::new(2),
            append_time: TimestampMs::new(9),
            previous_header_crc: 1,
        };
        stamp_leader(bytes.first_chunk_mut().unwrap(), &fields);
        let (batch, rest) = Batch::split(&bytes).unwrap();
        assert!(rest.is_empty() && batch.header.client.control);
        assert_eq!(BatchHeader::next_offset(&batch.header), Offset::new(3));
        assert_eq!(Control::decode(batch.payload), Ok(Control::EpochStart));
        assert_eq!(batch.records().unwrap().count(), 0);
    }

    #[test]
    fn kind_of_a_later_release_is_named() {
        let found = Control::decode(&[9, 0, 0, 0]);
        assert!(matches!(found, Err(BatchError::Malformed { found: 9, .. })), "{found:?}");
        assert!(Control::decode(&[]).is_err());
        assert!(Control::decode(&[1, 0, 0, 0, 0]).is_err());
    }
}
