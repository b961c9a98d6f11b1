//! What a replica knows of its own log: where it ends, what of that is durable, and what decides the
//! next append. The batches themselves are the log's.
//!
//! ```text
//!            append                 cut or reset, once quiet
//!  quiet ──────────▶ behind ──▶ quiet ──────────────────────▶ rewriting ──▶ quiet
//!                      durable = appended                       done
//! ```

use forebay_format::limits::PRODUCER_EXPIRY_MS;
use forebay_format::{ClientHeader, EpochStart, EpochTable, Offset, ProducerTable, TimestampMs};

use crate::action::{Action, Actions};
use crate::batch::BatchMeta;
use crate::config::Config;
use crate::mutation::Mutation;
use crate::position::Position;

/// Producers are looked through for old ones when the append time passes a multiple of this. A function
/// of the log alone, so that every replica forgets the same (R10).
const PRODUCER_EXPIRY_STEP_MS: i64 = 3_600_000;

/// All that the protocol must know of a log that ends somewhere.
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

    /// Takes note of a batch that was appended. To be called for every batch in the order of the log; a
    /// simulated log computes its own state with it.
    pub fn append(&mut self, batch: &BatchMeta) {
        self.append_without_producer(batch);
        self.producers.record(&batch.client, &batch.leader);
    }

    fn append_without_producer(&mut self, batch: &BatchMeta) {
        let (epoch, start) = (batch.leader.epoch, batch.leader.base_offset);
        if self.epochs.latest().is_none_or(|last| last.epoch < epoch) {
            let added = self.epochs.push(EpochStart { epoch, start });
            debug_assert!(added, "starts do not fall within a log");
        }
        let time = batch.leader.append_time;
        let step = |time: TimestampMs| time.get().div_euclid(PRODUCER_EXPIRY_STEP_MS);
        if step(time) > step(self.last_append_time) {
            self.producers.expire(time.saturating_add(-PRODUCER_EXPIRY_MS));
        }
        self.end = batch.next_offset();
        self.last_header_crc = batch.header_crc;
        self.last_append_time = time;
    }
}

/// A log that is being shortened or begun anew; nothing is appended meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Rewriting {
    Cut,
    Reset,
}

/// The log of a replica, as it will be when everything that was asked of it is done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OwnLog {
    /// As appended.
    state: LogState,
    /// End of what is on stable storage. Invariant: at most the state's position.
    durable: Position,
    rewriting: Option<Rewriting>,
}

impl OwnLog {
    /// A log as recovery found it: durable as a whole.
    pub(crate) fn new(state: LogState) -> Self {
        let durable = state.position();
        Self { state, durable, rewriting: None }
    }

    pub(crate) fn state(&self) -> &LogState {
        &self.state
    }

    /// Where it ends, durable or not.
    pub(crate) fn appended(&self) -> Position {
        self.state.position()
    }

    /// Where what is durable ends.
    pub(crate) fn durable(&self) -> Position {
        self.durable
    }

    /// Whether everything that was admitted is durable, and nothing is being cut.
    pub(crate) fn is_quiet(&self) -> bool {
        self.rewriting.is_none() && self.durable == self.appended()
    }

    pub(crate) fn is_rewriting(&self) -> bool {
        self.rewriting.is_some()
    }

    /// Appends batches that belong at the end. `leads`: this replica stamped them.
    pub(crate) fn append(
        &mut self,
        batches: Vec<BatchMeta>,
        config: &Config,
        leads: bool,
        actions: &mut Actions,
    ) {
        assert!(self.rewriting.is_none(), "nothing is appended to a log that is being cut");
        for batch in &batches {
            if !leads && config.broken(Mutation::R10TableNotReplicated) {
                self.state.append_without_producer(batch);
            } else if config.broken(Mutation::R10CrcNotCompared) {
                let client = ClientHeader { payload_crc: 0, ..batch.client };
                self.state.append(&BatchMeta { client, ..*batch });
            } else {
                self.state.append(batch);
            }
        }
        actions.push(Action::Append(batches));
    }

    /// Takes note of what is durable now.
    pub(crate) fn on_durable(&mut self, upto: Position) {
        if self.rewriting.is_none() {
            self.durable = self.durable.max(upto.min(self.appended()));
        }
    }

    /// Begins to cut a quiet log.
    pub(crate) fn cut(&mut self, to: Position, actions: &mut Actions) {
        assert!(self.is_quiet(), "a log is cut when nothing is under way");
        self.rewriting = Some(Rewriting::Cut);
        actions.push(Action::Cut(to));
    }

    /// Begins to empty a quiet log, to begin with `at`.
    pub(crate) fn reset(&mut self, at: Box<LogState>, actions: &mut Actions) {
        assert!(self.is_quiet(), "a log is reset when nothing is under way");
        self.rewriting = Some(Rewriting::Reset);
        actions.push(Action::Reset(at));
    }

    /// The log after a cut or a reset. Returns whether one was under way.
    pub(crate) fn on_rewritten(&mut self, state: LogState) -> bool {
        let was = self.rewriting.take().is_some();
        if was {
            self.durable = state.position();
            self.state = state;
        }
        was
    }

    /// Moves the log start; the caller has made sure of its bounds.
    pub(crate) fn start_at(&mut self, log_start: Offset) {
        self.state.log_start = log_start;
    }
}
