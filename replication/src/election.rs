//! R5 ★: the election. The owner of the leader key fences, adopts the best log, and only then leads. R11 ★: only
//! voters' answers count.
//!
//! ```text
//!             Q fenced, own log is the best
//!  fencing ───────────────────────────────────────────────▶ elected (see `leader`)
//!   ▲ │ ▲                                                      ▲
//!   │ │ └── source is silent ──┐        log equals the best    │
//!   │ └─ Q fenced ─────────▶ adopting ─────────────────────────┘
//!   └─ refused: the epoch is raised above the promise (R2)
//! ```
//!
//! Among Q fenced logs is every batch that was ever committed, because commit took Q, too. The greatest
//! (last epoch, end) holds all of them: its last leader had adopted what was committed before, and within
//! an epoch the longer log has the shorter one. Length alone would prefer a log of an old epoch.

use forebay_format::{BatchMeta, Epoch, LogState, NodeId, Position, ReplicaId};

use crate::action::{Actions, Alarm};
use crate::fence::{Fence, Judgement};
use crate::follower::append_new;
use crate::lineage::last_common;
use crate::local::Local;
use crate::message::{LogReport, Message};
use crate::metadata::{LeaderWrite, PartitionState, TransactionKind};
use crate::mutation::Mutation;
use crate::quorum::Voters;
use crate::time::Instant;

/// A source that has sent nothing for so many heartbeats is given up.
const SILENT_HEARTBEATS: u64 = 4;

/// A replica whose node owns the leader key, and that is not elected yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candidate {
    epoch: Epoch,
    /// An operator wants this log, whatever the others have.
    unclean: bool,
    /// What replicas have answered, this one included. Invariant: one per node, each of a voter (R11).
    answers: Vec<(NodeId, LogReport)>,
    stage: Stage,
    since: Instant,
    next_try: Instant,
    /// The highest promise that somebody has refused with.
    promise_above: Epoch,
}

#[derive(Debug, Clone, PartialEq)]
enum Stage {
    Fencing,
    Adopting(Adoption),
}

/// The log that is adopted.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Adoption {
    source: NodeId,
    replica: ReplicaId,
    /// Where it ends. Fixed, because the source has promised.
    target: Position,
    progress_at: Instant,
}

impl Candidate {
    /// Begins to fence for an epoch that this node has taken.
    pub(crate) fn begin(
        local: &mut Local,
        epoch: Epoch,
        unclean: bool,
        actions: &mut Actions,
    ) -> Self {
        let mut candidate = Self {
            epoch,
            unclean,
            answers: Vec::new(),
            stage: Stage::Fencing,
            since: local.now,
            next_try: local.now,
            promise_above: Epoch::ZERO,
        };
        candidate.promise_itself(local);
        candidate.on_tick(local, actions);
        candidate
    }

    fn promise_itself(&mut self, local: &mut Local) {
        if Fence::judge(local, local.node, self.epoch, false) == Judgement::Refused {
            // Somebody else's fence has come first.
            self.promise_above = self.promise_above.max(local.meta.promised());
        }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.next_try
    }

    /// What the others have answered, for the leader that this becomes.
    pub(crate) fn take_answers(&mut self) -> Vec<(NodeId, LogReport)> {
        std::mem::take(&mut self.answers)
    }

    /// Asks again whoever has not answered. After a long time without Q answers it lets others try.
    pub(crate) fn on_tick(&mut self, local: &mut Local, actions: &mut Actions) {
        if local.now < self.next_try {
            return;
        }
        self.next_try = local.now.plus_ms(local.config.heartbeat_ms);
        if local.is_rolled_back() {
            // Nobody is elected by old metadata. What is there in truth is being read, or waits for an operator.
            return;
        }
        self.raise_epoch(local, actions);
        if let Stage::Adopting(adoption) = &self.stage {
            let patience = SILENT_HEARTBEATS * local.config.heartbeat_ms;
            if local.now.ms_since(adoption.progress_at) < patience {
                self.fetch(local, actions);
                return;
            }
            self.stage = Stage::Fencing;
            self.answers.clear();
            self.promise_itself(local);
        }
        if local.now.ms_since(self.since) >= local.config.resign_after_ms {
            self.resign(local, actions);
        }
        let Some(state) = local.coordination.state() else { return };
        let answered = |node: NodeId| self.answers.iter().any(|(other, _)| *other == node);
        let silent = state.nodes().into_iter().filter(|node| *node != local.node);
        for node in silent.filter(|node| !answered(*node)) {
            let (epoch, state_version) = (self.epoch, state.version);
            actions.send(node, Message::Fence { epoch, established: false, state_version });
        }
    }

    /// Lays leadership down, so that somebody with better connections may try.
    fn resign(&self, local: &mut Local, actions: &mut Actions) {
        if local.coordination.is_busy() || self.unclean {
            return;
        }
        if let Some(state) = local.coordination.state() {
            let state = state.with_successor(None);
            let (kind, leader) = (TransactionKind::HandOver, LeaderWrite::Delete);
            local.submit_as_leader(kind, leader, state, actions);
        }
    }

    /// R2: an epoch exceeds every promise that a replica reports.
    fn raise_epoch(&self, local: &mut Local, actions: &mut Actions) {
        let raised = self.promise_above >= self.epoch && !local.coordination.is_busy();
        if !raised || local.broken(Mutation::R2EpochNotRaised) {
            return;
        }
        if let Some(state) = local.coordination.state() {
            let epoch = local.next_epoch(state).max(self.promise_above.next());
            let state = state.with_leader(local.node, epoch);
            let (kind, leader) = (TransactionKind::RaiseEpoch, LeaderWrite::Keep);
            local.submit_as_leader(kind, leader, state, actions);
        }
    }

    /// A replica has promised a higher epoch to somebody, or this very one.
    pub(crate) fn on_refused(&mut self, local: &mut Local, promised: Epoch, actions: &mut Actions) {
        self.promise_above = self.promise_above.max(promised);
        self.raise_epoch(local, actions);
    }

    /// This replica's own promise is durable. Returns whether the election is won, as the others do.
    pub(crate) fn on_own_promise(&mut self, local: &mut Local, actions: &mut Actions) -> bool {
        let report = local.report();
        self.take_answer(local.node, report);
        self.advance(local, actions)
    }

    /// A replica has promised.
    pub(crate) fn on_fenced(
        &mut self,
        local: &mut Local,
        (from, report): (NodeId, LogReport),
        actions: &mut Actions,
    ) -> bool {
        local.saw_state_version(report.state_version, actions);
        let entered = local.coordination.state().and_then(|state| state.member(from));
        // R11 ★: a learner has forgotten what it had promised before, and what it had acknowledged.
        let votes = entered.is_some_and(|member| member.replica == report.replica)
            || local.broken(Mutation::R11LearnerVotes);
        if votes && self.stage == Stage::Fencing {
            self.take_answer(from, report);
        }
        self.advance(local, actions)
    }

    fn take_answer(&mut self, from: NodeId, report: LogReport) {
        self.answers.retain(|(node, _)| *node != from);
        self.answers.push((from, report));
    }

    /// Goes on as far as it can. True: this replica has the best of Q fenced logs.
    pub(crate) fn advance(&mut self, local: &mut Local, actions: &mut Actions) -> bool {
        let waits = local.fence.is_pending() || !local.log.is_quiet();
        if waits || local.is_halted() || local.is_rolled_back() {
            return false;
        }
        if self.stage == Stage::Fencing {
            let Some(state) = local.coordination.state() else { return false };
            let own = self.answers.iter().any(|(node, _)| *node == local.node);
            if !own || !(self.unclean || self.has_quorum(local, state)) {
                return false;
            }
            if self.unclean {
                return true;
            }
            self.adopt_best(local, actions);
        }
        let Stage::Adopting(adoption) = &self.stage else { return false };
        if local.log.appended() == adoption.target {
            return true;
        }
        if !local.is_halted() {
            self.fetch(local, actions);
        }
        false
    }

    fn has_quorum(&self, local: &Local, state: &PartitionState) -> bool {
        let missing = usize::from(local.broken(Mutation::R5FewerThanQuorum));
        let single = local.broken(Mutation::R12SingleMajority);
        Voters::of(state, single).has_majority(missing, |member| {
            self.answers.iter().any(|(node, _)| *node == member.node)
        })
    }

    /// Decides whose log it is, and cuts the own one where the two part (R9).
    fn adopt_best(&mut self, local: &mut Local, actions: &mut Actions) {
        let by_length = local.broken(Mutation::R5LengthAlone);
        let rank = |(node, report): &&(NodeId, LogReport)| {
            let Position { epoch, end } = report.position;
            let own = *node == local.node;
            if by_length { (Epoch::ZERO, end, own) } else { (epoch, end, own) }
        };
        let Some((source, best)) = self.answers.iter().max_by_key(rank) else { return };
        let own = local.log.state();
        let common = last_common((&own.epochs, own.end), (&best.epochs, best.position.end));
        let cuts = common < own.position();
        let unclean = local.coordination.state().map_or(&[][..], |state| &state.unclean);
        if cuts && !local.may_lose_beyond(common.end, unclean) {
            let committed = local.committed_known();
            local.halt(Alarm::CutBelowCommitted { cut: common, committed }, actions);
            return;
        }
        if cuts && !local.lower_marks(common.end, actions) {
            // The next tick looks again.
            return;
        }
        self.stage = Stage::Adopting(Adoption {
            source: *source,
            replica: best.replica,
            target: best.position,
            progress_at: local.now,
        });
        if cuts {
            local.log.cut(common, actions);
        }
    }

    fn fetch(&self, local: &Local, actions: &mut Actions) {
        if let Stage::Adopting(Adoption { source, replica, target, .. }) = self.stage
            && !local.log.is_rewriting()
            && local.log.appended() < target
        {
            let after = local.log.appended();
            actions.send(source, Message::Fetch { epoch: self.epoch, replica, after });
        }
    }

    /// Batches of the log that is adopted.
    pub(crate) fn on_fetched(
        &mut self,
        local: &mut Local,
        (from, replica): (NodeId, ReplicaId),
        (after, batches): (Position, Vec<BatchMeta>),
        actions: &mut Actions,
    ) {
        if let Stage::Adopting(adoption) = &mut self.stage
            && (adoption.source, adoption.replica) == (from, replica)
            && after == local.log.appended()
            && local.log.is_quiet()
        {
            adoption.progress_at = local.now;
            append_new(local, batches, actions);
        }
    }

    /// The log that is adopted begins above the end of this one: perhaps only behind a first batch of an epoch, which
    /// takes no offset.
    pub(crate) fn on_start(
        &mut self,
        local: &mut Local,
        (from, asked): (NodeId, Position),
        at: Box<LogState>,
        actions: &mut Actions,
    ) {
        if let Stage::Adopting(adoption) = &mut self.stage
            && adoption.source == from
            && asked == local.log.appended()
            && at.position() > asked
            && local.log.is_quiet()
            && local.may_lose_beyond(at.end, &[])
        {
            adoption.progress_at = local.now;
            local.log.reset(at, actions);
        }
    }
}
