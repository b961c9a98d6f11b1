//! R6 ★: the committed mark. R8: how many are live. R11 ★: whose acknowledgements count.

use forebay_format::{NodeId, Position};

use super::lead::Leader;
use super::progress::Progress;
use super::writes::Reached;
use crate::action::Actions;
use crate::local::Local;
use crate::metadata::Member;
use crate::mutation::Mutation;
use crate::quorum::{VOTERS_MAX, Voters};

impl Leader {
    /// What voter `member` has on stable storage, as far as the leader may count it.
    pub(super) fn durable_on(&self, local: &Local, member: Member) -> Position {
        if member.node == local.node {
            // ★ The leader counts itself only after its own fsync. R11: and only as who it is.
            let entered = member.replica == local.meta.replica();
            return if entered { local.counted() } else { Position::ZERO };
        }
        let Some(peer) = self.peer(member.node) else { return Position::ZERO };
        // R11 ★: what another replica on that node acknowledges counts for nothing.
        let same =
            peer.replica == Some(member.replica) || local.broken(Mutation::R11StaleReplicaCounted);
        if same { peer.durable } else { Position::ZERO }
    }

    /// Moves the mark to the highest position that is durable on Q (of both sets, R12), if that is at or
    /// after this epoch's first batch; then answers what can be answered.
    ///
    /// Positions of older epochs are never committed by counting: a later leader may still adopt a log
    /// that does not have them. With the epoch-start batch on Q, none can (R5).
    pub(crate) fn update_commit(&mut self, local: &mut Local, actions: &mut Actions) {
        // R2: a state of another time may name other voters.
        let Some(state) = local.coordination.state().filter(|_| !local.is_rolled_back()) else {
            return;
        };
        let voters = Voters::of(state, local.broken(Mutation::R12SingleMajority));
        let held = voters.held(|member| self.durable_on(local, member));
        let of_epoch = held.epoch == self.epoch;
        if of_epoch && held > self.committed {
            self.committed = held;
            self.report_serving(actions);
        }
        if of_epoch || local.broken(Mutation::R6OldEpochCommitted) {
            // The quorum may be ahead of this very disk.
            local.raise_committed(held.min(local.log.durable()).end);
        }
        if of_epoch {
            local.advance_log_start(self.log_start_reported, actions);
        }
        self.answer_writes(local, actions);
    }

    pub(super) fn answer_writes(&mut self, local: &Local, actions: &mut Actions) {
        if self.writes.len() == 0 {
            return;
        }
        let Some(state) = local.coordination.state() else { return };
        let voters = Voters::of(state, local.broken(Mutation::R12SingleMajority));
        let mut durable = [(local.node, Position::ZERO); 2 * VOTERS_MAX];
        let mut count = 0;
        for (place, member) in durable.iter_mut().zip(voters.iter()) {
            *place = (member.node, self.durable_on(local, member));
            count += 1;
        }
        let isr = Self::isr_to_wait_for(local);
        let reached = Reached {
            committed: self.committed,
            durable: &durable[..count],
            quorum: voters.quorum(),
            least_quorum: voters.least_quorum(),
            isr: &isr,
            lease_valid: local.valid_lease().is_some() || local.broken(Mutation::R6LeaseNotChecked),
            duplicates_early: local.broken(Mutation::R10DuplicateBeforeCommit),
            leader: local.node,
        };
        self.writes.answer(&reached, actions);
    }

    /// Whether the stream to this node answered lately.
    fn answers(&self, local: &Local, node: NodeId) -> bool {
        let answered = |peer: &Progress| peer.answered_at;
        node == local.node
            || self
                .peer(node)
                .and_then(answered)
                .is_some_and(|at| local.now.ms_since(at) < local.config.live_timeout_ms)
    }

    /// R8: whether this voter is live. A learner in its place is not: it acknowledges nothing that counts.
    fn is_live(&self, local: &Local, member: Member) -> bool {
        let is = |peer: &Progress| peer.replica == Some(member.replica);
        let own = member == local.member();
        own || (self.peer(member.node).is_some_and(is) && self.answers(local, member.node))
    }

    /// Whether the nodes of a majority answer, be it learners: one that catches up will be a voter, and only
    /// this leader can make it one (R11).
    pub(super) fn reaches_quorum(&self, local: &Local) -> bool {
        let Some(state) = local.coordination.state() else { return false };
        Voters::of(state, false).has_majority(0, |member| self.answers(local, member.node))
    }

    /// R8: how many are live and how many must be, when those are too few to admit a write.
    pub(super) fn read_only(&self, local: &Local) -> Option<(usize, usize)> {
        let state = local.coordination.state()?;
        let voters = Voters::of(state, false);
        let is_live = |member: Member| self.is_live(local, member);
        let live = voters.iter().filter(|member| is_live(*member)).count();
        let needed = voters.quorum().max(local.config.min_replicas);
        let few = live < needed || !voters.has_majority(0, is_live);
        (few && !local.broken(Mutation::R8AdmitsWithoutQuorum)).then_some((live, needed))
    }
}
