//! What a replica is and has, whatever its part: log, meta, lease, metadata, promise, and its marks (R6 and log
//! start).

use forebay_format::{Epoch, NodeId, Offset, Position};

use crate::action::{Action, Actions, Alarm, Marks};
use crate::config::Config;
use crate::coordination::{Coordination, Resolved};
use crate::event::{LeaseEvent, Recovered};
use crate::fence::Fence;
use crate::log::OwnLog;
use crate::message::LogReport;
use crate::meta::Meta;
use crate::metadata::{
    Guard, Incarnation, LeaderGuard, LeaderKey, LeaderWrite, Member, Outcome, PartitionState,
    Revision, Transaction, TransactionKind, UncleanElection,
};
use crate::mutation::Mutation;
use crate::remembered::Remembered;
use crate::time::Instant;

/// The lease of this node, as far as a replica needs it (R3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeldLease {
    pub(crate) incarnation: Incarnation,
    pub(crate) node_created: Revision,
    /// Invariant: before the store can have expired the lease, unless it breaks its word; safety does
    /// not rest on that.
    pub(crate) until: Instant,
}

/// The log start has moved; the log is told when that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TrimPending {
    meta: u64,
    log_start: Offset,
}

/// What a replica is and has, whatever its part.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Local {
    pub(crate) config: Config,
    pub(crate) node: NodeId,
    /// The time of the event that is being handled. Invariant: never goes back.
    pub(crate) now: Instant,
    pub(crate) log: OwnLog,
    pub(crate) meta: Meta,
    pub(crate) fence: Fence,
    pub(crate) coordination: Coordination,
    pub(crate) lease: Option<HeldLease>,
    /// The committed mark of this replica (R6). Invariant: at most the durable end; never falls while
    /// the process runs, except by an unclean election.
    committed: Offset,
    /// What was published last.
    published: Marks,
    /// When the committed mark was copied to the meta last.
    mark_copied_at: Instant,
    trim: Option<TrimPending>,
    /// The number of the meta with the lowered mark, until it is durable.
    lowering: Option<u64>,
    /// Set by an alarm after which this replica takes part in nothing any more.
    halted: Option<Alarm>,
    /// What it remembers of the state (R2).
    pub(crate) remembered: Remembered,
    wake: Option<Instant>,
    /// An event was handled since the process started.
    running: bool,
}

impl Local {
    pub(crate) fn new(config: Config, node: NodeId, recovered: Recovered) -> Self {
        let Recovered { mut meta, mut log, state } = recovered;
        log.log_start = log.log_start.max(meta.log_start).min(log.end);
        // Beyond the log's end it is from before a reset, whose own log start was not durable yet.
        meta.log_start = log.log_start;
        // A copy of the mark is true for as long as the log is that of the same replica.
        let committed = meta.committed.max(log.log_start).min(log.end);
        Self {
            config,
            node,
            now: Instant::ZERO,
            log: OwnLog::new(log),
            fence: Fence::new(),
            meta: Meta::new(meta),
            coordination: Coordination::new(),
            lease: None,
            committed,
            published: Marks::default(),
            mark_copied_at: Instant::ZERO,
            trim: None,
            lowering: None,
            halted: None,
            remembered: Remembered::new(state.map(|state| *state)),
            wake: None,
            running: false,
        }
    }

    /// R6: at the start, the log stays as it was found. The mark that is remembered may be an old one, and
    /// what lies above it may be committed.
    pub(crate) fn recover(&mut self, actions: &mut Actions) {
        let first = !std::mem::replace(&mut self.running, true);
        if first && self.broken(Mutation::R6CutToRememberedMark) {
            let end = self.committed;
            let last = self.log.state().epochs.epoch_at(end).unwrap_or_default();
            self.log.cut(Position::new(last, end), actions);
        }
    }

    pub(crate) fn broken(&self, rule: Mutation) -> bool {
        self.config.broken(rule)
    }

    /// This replica, as `state` would name it.
    pub(crate) fn member(&self) -> Member {
        Member { node: self.node, replica: self.meta.replica() }
    }

    /// R11: whether this very replica is a voter.
    pub(crate) fn is_voter(&self) -> bool {
        let entered = self.coordination.state().and_then(|state| state.member(self.node));
        entered == Some(self.member())
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.halted.is_some()
    }

    /// Stops taking part, and tells people (R9).
    pub(crate) fn halt(&mut self, alarm: Alarm, actions: &mut Actions) {
        self.halted = Some(alarm);
        actions.push(Action::Alarm(alarm));
    }

    // ---- lease (R3) ----

    pub(crate) fn on_lease(&mut self, event: LeaseEvent) {
        match event {
            LeaseEvent::Granted { incarnation, node_created, until } => {
                self.lease = Some(HeldLease { incarnation, node_created, until });
            }
            LeaseEvent::Renewed { until } => {
                if let Some(lease) = &mut self.lease {
                    lease.until = lease.until.max(until);
                }
            }
            LeaseEvent::Lost => self.lease = None,
        }
    }

    /// The lease, before its deadline.
    pub(crate) fn valid_lease(&self) -> Option<HeldLease> {
        self.lease.filter(|lease| self.now < lease.until)
    }

    /// Whether the leader key is this node's, of its present life.
    pub(crate) fn holds_leader_key(&self) -> bool {
        let own = self.lease.map(|lease| self.leader_key(lease));
        own.is_some() && self.coordination.leader().map(|leader| leader.value) == own
    }

    pub(crate) fn leader_key(&self, lease: HeldLease) -> LeaderKey {
        LeaderKey { node: self.node, incarnation: lease.incarnation }
    }

    // ---- metadata (R1, R2) ----

    /// The condition of every write: the metadata are as they are known here, and the node's key lives.
    pub(crate) fn guard(&self, lease: HeldLease, leader: LeaderGuard) -> Guard {
        let HeldLease { incarnation, node_created, .. } = lease;
        let state = self.coordination.keyed_state().cloned();
        Guard { leader, state, incarnation, node_created }
    }

    /// R2: every later write of a leader is guarded on its own leader key and the state it knows. Metadata
    /// that went back are not written over: their versions would pass those that were seen.
    pub(crate) fn submit_as_leader(
        &mut self,
        kind: TransactionKind,
        leader: LeaderWrite,
        state: PartitionState,
        actions: &mut Actions,
    ) {
        if self.is_rolled_back() {
            return;
        }
        let Some(key) = self.coordination.leader().cloned() else { return };
        let Some(lease) = self.lease else { return };
        let guard = self.guard(lease, LeaderGuard::Is(key));
        let transaction = Transaction { kind, guard, leader, state: Some(state), report: None };
        self.coordination.submit(transaction, actions);
    }

    /// What became of the transaction under way.
    pub(crate) fn on_outcome(
        &mut self,
        number: u64,
        outcome: Outcome,
        actions: &mut Actions,
    ) -> Option<Resolved> {
        let taken = match outcome {
            Outcome::Unknown if self.broken(Mutation::R2UnknownTakenForConflict) => {
                Outcome::Conflict
            }
            outcome => outcome,
        };
        self.coordination.on_outcome((number, taken), self.now, actions)
    }

    // ---- what others are told ----

    pub(crate) fn report(&self) -> LogReport {
        let state = self.log.state();
        LogReport {
            replica: self.meta.replica(),
            position: self.log.durable(),
            log_start: state.log_start,
            epochs: state.epochs.clone(),
            committed: self.committed_known(),
            state_version: self.meta.state_version(),
        }
    }

    // ---- marks (R6) ----

    /// What may be read here, exclusive.
    pub(crate) fn committed(&self) -> Offset {
        self.committed
    }

    /// The highest committed mark that this replica knows of, whether it holds so much or not.
    pub(crate) fn committed_known(&self) -> Offset {
        self.committed.max(self.meta.committed())
    }

    /// Raises the committed mark.
    pub(crate) fn raise_committed(&mut self, upto: Offset) {
        assert!(upto <= self.log.durable().end, "committed is durable on this replica");
        self.committed = self.committed.max(upto);
    }

    /// R9: whether the log may be cut so that it ends at `cut`. What is committed may only go when an
    /// unclean election that this log knows nothing of is on record.
    pub(crate) fn may_lose_beyond(&self, cut: Offset, unclean: &[UncleanElection]) -> bool {
        let last = self.log.appended().epoch;
        cut >= self.committed_known()
            || unclean.iter().any(|election| election.epoch > last)
            || self.broken(Mutation::R9CutBelowCommitted)
    }

    /// Lowers the marks to `cut`, before the log is cut there. Returns whether that is durable, as it has
    /// to be first: after a crash, a mark from before the cut would make records that were written behind
    /// it count as committed.
    pub(crate) fn lower_marks(&mut self, cut: Offset, actions: &mut Actions) -> bool {
        if self.committed_known() > cut {
            self.committed = self.committed.min(cut);
            self.meta.set_committed(self.meta.committed().min(cut));
            self.lowering = Some(self.meta.persist(actions));
        }
        self.lowering.take_if(|meta| self.meta.is_durable(*meta));
        self.lowering.is_none()
    }

    /// The log has begun anew where the leader's begins. What lies below is committed, and gone.
    pub(crate) fn begin_at_log_start(&mut self, actions: &mut Actions) {
        let log_start = self.log.state().log_start;
        self.raise_committed(log_start);
        // Of the log before, nothing is left to be trimmed.
        self.trim = None;
        self.meta.set_log_start(log_start);
        self.meta.persist(actions);
    }

    /// Moves the log start forward, never past what is committed here. It is durable in the meta before
    /// anything is deleted.
    pub(crate) fn advance_log_start(&mut self, to: Offset, actions: &mut Actions) {
        let bound = if self.broken(Mutation::LogStartPastCommitted) {
            self.log.appended().end
        } else {
            self.committed
        };
        let log_start = to.min(bound);
        if log_start > self.log.state().log_start && !self.log.is_rewriting() {
            self.log.start_at(log_start);
            self.meta.set_log_start(log_start);
            let meta = self.meta.persist(actions);
            self.trim = Some(TrimPending { meta, log_start });
        }
    }

    /// To be called when the meta became durable.
    pub(crate) fn trim_when_durable(&mut self, actions: &mut Actions) {
        if let Some(trim) = self.trim.take_if(|trim| self.meta.is_durable(trim.meta)) {
            actions.push(Action::Trim(trim.log_start));
        }
    }

    /// Publishes marks that have moved, and now and then copies the committed one to the meta.
    pub(crate) fn publish(&mut self, actions: &mut Actions) {
        let marks = Marks {
            log_start: self.log.state().log_start,
            committed: self.committed,
            durable: self.log.durable().end,
        };
        if marks == self.published {
            return;
        }
        self.published = marks;
        actions.push(Action::Publish(marks));
        if self.committed > self.meta.committed()
            && self.now.ms_since(self.mark_copied_at) >= self.config.mark_copy_ms
        {
            self.mark_copied_at = self.now;
            self.meta.set_committed(self.committed);
            self.meta.persist(actions);
        }
    }

    /// Asks to be woken, if that has changed.
    pub(crate) fn wake_at(&mut self, at: Instant, actions: &mut Actions) {
        if self.wake != Some(at) {
            self.wake = Some(at);
            actions.push(Action::Wake(at));
        }
    }

    /// Forgets what it was to be woken for, so that the next wish is told.
    pub(crate) fn woken(&mut self) {
        self.wake = None;
    }

    /// The position that this replica votes with and counts itself by: durable (R6).
    pub(crate) fn counted(&self) -> Position {
        if self.broken(Mutation::R6LeaderBeforeFsync) {
            self.log.appended()
        } else {
            self.log.durable()
        }
    }

    /// An epoch above everything that this replica knows to be taken (R2).
    pub(crate) fn next_epoch(&self, state: &PartitionState) -> Epoch {
        state.epoch.max(self.meta.promised()).next()
    }
}
