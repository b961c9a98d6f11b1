//! The state of a log, as a pure function of the batches in it: every replica that holds the same log
//! computes the same.

use crate::batch::BatchMeta;
use crate::epochs::{EpochStart, EpochTable};
use crate::numbers::{Offset, TimestampMs};
use crate::position::Position;
use crate::producers::ProducerTable;

/// What the batches of a log add up to: where it ends, and what decides what may follow.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogState {
    /// Offset of the first record that counts. Invariant: at most `end`.
    pub log_start: Offset,
    /// Offset after the last record.
    pub end: Offset,
    /// Its epochs. Invariant: the last one is that of the last batch.
    pub epochs: EpochTable,
    /// Header CRC of the last batch; 0 before any.
    pub last_header_crc: u32,
    /// Append time of the last batch; before any, the earliest time there is.
    pub last_append_time: TimestampMs,
    /// Its producers (R10).
    pub producers: ProducerTable,
}

impl Default for LogState {
    fn default() -> Self {
        Self {
            log_start: Offset::ZERO,
            end: Offset::ZERO,
            epochs: EpochTable::new(),
            last_header_crc: 0,
            last_append_time: TimestampMs::MIN,
            producers: ProducerTable::new(),
        }
    }
}

impl LogState {
    /// Where it ends.
    pub fn position(&self) -> Position {
        Position::new(self.epochs.latest().map(|last| last.epoch).unwrap_or_default(), self.end)
    }

    /// Takes note of a batch that was appended. To be called for every batch, in the order of the log.
    pub fn append(&mut self, batch: &BatchMeta) {
        let (epoch, start) = (batch.leader.epoch, batch.leader.base_offset);
        if self.epochs.latest().is_none_or(|last| last.epoch < epoch) {
            let added = self.epochs.push(EpochStart { epoch, start });
            assert!(added, "starts do not fall within a log");
        }
        let time = batch.leader.append_time;
        self.producers.expire_between(self.last_append_time, time);
        self.end = batch.next_offset();
        self.last_header_crc = batch.header_crc;
        self.last_append_time = time;
        self.producers.record(&batch.client, &batch.leader);
    }
}
