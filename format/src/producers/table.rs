//! All producers of a partition.

use std::collections::HashMap;

use super::admission::{Admission, ProducerError};
use super::producer::{Producer, RememberedBatch};
use crate::batch::{ClientHeader, LeaderFields};
use crate::ids::ProducerId;
use crate::limits::{PRODUCER_EXPIRY_MS, PRODUCER_EXPIRY_STEP_MS, PRODUCERS_PER_PARTITION_MAX};
use crate::numbers::{Sequence, TimestampMs};

/// What is known of the producers of a partition. Equal logs give equal tables.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProducerTable {
    /// Invariant: at most [`PRODUCERS_PER_PARTITION_MAX`]. The order of this map decides nothing.
    pub(super) producers: HashMap<ProducerId, Producer>,
}

impl ProducerTable {
    /// A table that knows nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many producers are known.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Whether a batch with a verified payload checksum may be appended. Changes nothing.
    ///
    /// # Errors
    /// Why it must not be appended.
    #[inline]
    pub fn check(&self, batch: &ClientHeader) -> Result<Admission, ProducerError> {
        if batch.producer_id.is_zero() {
            return Ok(Admission::Append);
        }
        match self.producers.get(&batch.producer_id) {
            Some(producer) => producer.check(batch),
            None if batch.first_sequence == Sequence::ZERO => Ok(Admission::Append),
            None => Err(ProducerError::UnknownProducer { found: batch.first_sequence }),
        }
    }

    /// Takes note of a batch that was appended, or that was found in the log. To be called for every
    /// batch in the order of the log.
    pub fn record(&mut self, client: &ClientHeader, leader: &LeaderFields) {
        if client.producer_id.is_zero() {
            return;
        }
        let batch = RememberedBatch::new(client, leader);
        if let Some(producer) = self.producers.get_mut(&client.producer_id) {
            producer.record(client.producer_epoch, batch);
            return;
        }
        if self.producers.len() >= PRODUCERS_PER_PARTITION_MAX {
            self.forget_oldest();
        }
        self.producers.insert(client.producer_id, Producer::new(client.producer_epoch, batch));
    }

    /// Forgets the producers that are due when a batch of append time `now` follows one of `before` (before
    /// the first batch: [`TimestampMs::MIN`]). To be called for every batch in the order of the log, ahead of
    /// [`Self::record`]: what is forgotten where is then a function of the log alone, whatever replica reads
    /// it, and from whatever snapshot on.
    pub fn expire_between(&mut self, before: TimestampMs, now: TimestampMs) {
        if Self::is_due_between(before, now) {
            self.expire(now.saturating_add(-PRODUCER_EXPIRY_MS));
        }
    }

    /// Whether [`Self::expire_between`] looks for old producers at all between the two.
    #[inline]
    pub fn is_due_between(before: TimestampMs, now: TimestampMs) -> bool {
        let step = |time: TimestampMs| time.get().div_euclid(PRODUCER_EXPIRY_STEP_MS);
        step(now) > step(before)
    }

    /// Forgets producers whose last batch was appended before `before`. Returns how many.
    pub fn expire(&mut self, before: TimestampMs) -> usize {
        let known = self.producers.len();
        self.producers.retain(|_, producer| producer.last().append_time >= before);
        known - self.producers.len()
    }

    /// The producer whose last batch lies furthest back. By offset, which orders batches as append
    /// times do, without ties.
    #[cold]
    fn forget_oldest(&mut self) {
        let oldest = self
            .producers
            .iter()
            .min_by_key(|(_, producer)| producer.last().base_offset)
            .map(|(id, _)| *id);
        if let Some(oldest) = oldest {
            self.producers.remove(&oldest);
        }
    }
}
