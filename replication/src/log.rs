//! What a replica knows of its own log: where it ends, what of that is durable, and what decides the
//! next append, among it the producer table (R10). The batches themselves are the log's.
//!
//! ```text
//!            append                 cut or reset, once quiet
//!  quiet ──────────▶ behind ──▶ quiet ──────────────────────▶ rewriting ──▶ quiet
//!                      durable = appended                       done
//! ```

use forebay_format::{BatchMeta, ClientHeader, LogState, Offset, Position};

use crate::action::{Action, Actions};
use crate::config::Config;
use crate::mutation::Mutation;

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
                let producers = self.state.producers.clone();
                self.state.append(batch);
                self.state.producers = producers;
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
