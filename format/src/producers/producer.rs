//! What the table knows of one producer.

use std::collections::VecDeque;

use super::admission::{Admission, ProducerError};
use crate::batch::{ClientHeader, LeaderFields};
use crate::limits::BATCHES_REMEMBERED_PER_PRODUCER;
use crate::numbers::{Epoch, Offset, ProducerEpoch, Sequence, TimestampMs};

/// What is remembered of a batch that was appended.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RememberedBatch {
    /// Sequence of its first record.
    pub first_sequence: Sequence,
    /// How many records it has.
    pub record_count: u32,
    /// CRC32C of what the producer sent.
    pub payload_crc: u32,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Epoch it was appended in.
    pub epoch: Epoch,
    /// When it was appended.
    pub append_time: TimestampMs,
}

impl RememberedBatch {
    pub(super) fn new(client: &ClientHeader, leader: &LeaderFields) -> Self {
        Self {
            first_sequence: client.first_sequence,
            record_count: client.record_count,
            payload_crc: client.payload_crc,
            base_offset: leader.base_offset,
            epoch: leader.epoch,
            append_time: leader.append_time,
        }
    }

    /// Sequence after its last record; at the very end of all sequences, the last of them.
    pub(super) fn next_sequence(&self) -> Sequence {
        let next = self.first_sequence.checked_add(self.record_count.into());
        next.unwrap_or(Sequence::new(u64::MAX))
    }
}

/// What is known of a producer.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Producer {
    pub(super) epoch: ProducerEpoch,
    /// The latest batches of `epoch`. Invariant: at least one and at most
    /// [`BATCHES_REMEMBERED_PER_PRODUCER`]; each begins at the sequence where the one before ends.
    pub(super) batches: VecDeque<RememberedBatch>,
}

impl Producer {
    pub(super) fn new(epoch: ProducerEpoch, batch: RememberedBatch) -> Self {
        Self { epoch, batches: VecDeque::from([batch]) }
    }

    pub(super) fn last(&self) -> &RememberedBatch {
        self.batches.back().expect("a known producer has appended something")
    }

    #[inline]
    pub(super) fn check(&self, batch: &ClientHeader) -> Result<Admission, ProducerError> {
        let (found, expected) = (batch.first_sequence, self.last().next_sequence());
        if batch.producer_epoch == self.epoch {
            return match found.cmp(&expected) {
                std::cmp::Ordering::Equal => Ok(Admission::Append),
                std::cmp::Ordering::Greater => Err(ProducerError::SequenceGap { expected, found }),
                std::cmp::Ordering::Less => self.check_before(batch, expected),
            };
        }
        if batch.producer_epoch < self.epoch {
            let (found, current) = (batch.producer_epoch, self.epoch);
            return Err(ProducerError::StaleEpoch { found, current });
        }
        // A new life of the producer counts from zero.
        if found != Sequence::ZERO {
            return Err(ProducerError::SequenceGap { expected: Sequence::ZERO, found });
        }
        Ok(Admission::Append)
    }

    /// A batch that begins before the expected sequence.
    fn check_before(
        &self,
        batch: &ClientHeader,
        expected: Sequence,
    ) -> Result<Admission, ProducerError> {
        let found = batch.first_sequence;
        let oldest = self.batches.front().map_or(expected, |oldest| oldest.first_sequence);
        if found < oldest {
            return Err(ProducerError::DuplicateForgotten { found, oldest });
        }
        match self.batches.binary_search_by_key(&found, |remembered| remembered.first_sequence) {
            Ok(index) if is_same(&self.batches[index], batch) => {
                Ok(Admission::Duplicate(self.batches[index]))
            }
            _ => Err(ProducerError::SequenceReused { expected, found }),
        }
    }

    /// Takes note of a batch that is in the log, whatever was expected: the log is right.
    pub(super) fn record(&mut self, epoch: ProducerEpoch, batch: RememberedBatch) {
        if epoch != self.epoch || batch.first_sequence != self.last().next_sequence() {
            self.batches.clear();
            self.epoch = epoch;
        } else if self.batches.len() == BATCHES_REMEMBERED_PER_PRODUCER {
            self.batches.pop_front();
        }
        self.batches.push_back(batch);
    }
}

/// The checksum covers sequence, producer and content; the count costs nothing more.
fn is_same(remembered: &RememberedBatch, batch: &ClientHeader) -> bool {
    remembered.payload_crc == batch.payload_crc && remembered.record_count == batch.record_count
}
