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

    /// Forgets whole segments below `log_start`.
    pub(crate) fn trim(&mut self, log_start: Offset) {
        let below = self.batches.partition_point(|batch| batch.next_offset() <= log_start);
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
