//! A log as it is stored: batches, and what was known where they begin.

use forebay_format::Offset;
use forebay_replication::{BatchMeta, LogState, Position};

/// Batches from one segment start to the next. Small, so that retention has something to do.
const BATCHES_PER_SEGMENT: usize = 4;

/// The batches of a log, and the state of a log that ends where they begin.
#[derive(Debug, Clone, Default)]
pub(crate) struct StoredLog {
    base: LogState,
    batches: Vec<BatchMeta>,
}

impl StoredLog {
    /// An empty log that begins like this.
    pub(crate) fn beginning_with(base: LogState) -> Self {
        Self { base, batches: Vec::new() }
    }

    pub(crate) fn append(&mut self, batch: BatchMeta) {
        self.batches.push(batch);
    }

    /// Removes every batch whose end position is above `at`.
    pub(crate) fn cut(&mut self, at: Position) {
        let kept = self.batches.partition_point(|batch| batch.position() <= at);
        self.batches.truncate(kept);
    }

    /// Forgets whole segments below `log_start`. What stands at the log start itself stays, also where it takes no
    /// offset: the first batch of an epoch may not be committed, and a cut has to be able to take it away.
    pub(crate) fn trim(&mut self, log_start: Offset) {
        let is_below = |batch: &BatchMeta| {
            batch.leader.base_offset < log_start && batch.next_offset() <= log_start
        };
        let below = self.batches.partition_point(is_below);
        let whole = below / BATCHES_PER_SEGMENT * BATCHES_PER_SEGMENT;
        for batch in self.batches.drain(..whole) {
            self.base.append(&batch);
        }
        self.base.log_start = self.base.end;
    }

    /// All batches that are stored.
    pub(crate) fn batches(&self) -> &[BatchMeta] {
        &self.batches
    }

    /// Where it ends.
    pub(crate) fn position(&self) -> Position {
        self.batches.last().map_or_else(|| self.base.position(), BatchMeta::position)
    }

    /// The first offset that is stored.
    pub(crate) const fn begins(&self) -> Offset {
        self.base.end
    }

    /// All that is known of it, with the log start as the meta says.
    pub(crate) fn state(&self, log_start: Offset) -> LogState {
        let mut state = self.base.clone();
        for batch in &self.batches {
            state.append(batch);
        }
        state.log_start = log_start.clamp(self.begins(), state.end);
        state
    }

    /// What a log begins with that is given the segment in which `log_start` lies.
    pub(crate) fn start_at(&self, log_start: Offset) -> LogState {
        let mut earlier = self.clone();
        earlier.trim(log_start);
        earlier.base
    }

    /// The batches whose end position is above `after` and at most `upto`. `None` when what follows
    /// `after` is not stored any more.
    pub(crate) fn between(&self, after: Position, upto: Position) -> Option<&[BatchMeta]> {
        if after < self.base.position() {
            return None;
        }
        let from = self.batches.partition_point(|batch| batch.position() <= after);
        let to = self.batches.partition_point(|batch| batch.position() <= upto);
        Some(&self.batches[from..to.max(from)])
    }

    /// The batches with records from `from` up to `to`, exclusive.
    pub(crate) fn with_records(
        &self,
        from: Offset,
        to: Offset,
    ) -> impl Iterator<Item = &BatchMeta> {
        let first = self.batches.partition_point(|batch| batch.next_offset() <= from);
        let wanted = move |batch: &&BatchMeta| batch.leader.base_offset < to;
        self.batches[first..].iter().take_while(wanted).filter(|batch| !batch.client.control)
    }
}

#[cfg(test)]
mod tests {
    use forebay_format::{
        ClientHeader, Codec, Epoch, LeaderFields, ProducerEpoch, ProducerId, Sequence, TimestampMs,
    };

    use super::*;

    fn batch(log: &StoredLog, epoch: u64, records: u32) -> BatchMeta {
        let state = log.state(Offset::ZERO);
        let client = ClientHeader {
            codec: Codec::None,
            control: records == 0,
            payload_bytes: 8 * records,
            record_count: records,
            first_timestamp: TimestampMs::ZERO,
            max_timestamp: TimestampMs::ZERO,
            producer_id: ProducerId::NONE,
            first_sequence: Sequence::ZERO,
            producer_epoch: ProducerEpoch::ZERO,
            payload_crc: 0,
        };
        let fields = LeaderFields {
            base_offset: state.end,
            epoch: Epoch::new(epoch),
            append_time: TimestampMs::ZERO,
            previous_header_crc: state.last_header_crc,
        };
        BatchMeta::stamp(client, fields)
    }

    #[test]
    fn first_batch_of_an_epoch_at_the_log_start_can_be_cut_after_a_trim() {
        let mut log = StoredLog::default();
        for (epoch, records) in [(1, 0), (1, 1), (1, 1), (2, 0)] {
            log.append(batch(&log, epoch, records));
        }
        let common = Position::new(Epoch::new(1), Offset::new(2));
        log.trim(common.end);
        assert_eq!(log.start_at(common.end).epochs.latest().map(|last| last.epoch), None);
        log.cut(common);
        assert_eq!(log.position(), common);
    }
}
