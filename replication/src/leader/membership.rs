//! R11 ★: how a learner is entered. R12: how the set of voters changes.
//!
//! ```text
//!              target               next, once all of it has caught up         resolved
//!  {A, B, C} ─────────▶ {A, B, C} ──────────────────────────────▶ both sets ─────────────▶ {B, C, D}
//!                       D is fed                                   decide       what is committed is held
//!                       as a learner                                            by a majority of both
//! ```
//!
//! Each arrow is one transaction, so whoever leads next goes on from where the state is.

use forebay_format::{NodeId, Position};

use super::lead::Leader;
use crate::action::{Action, Actions, CommandRefusal};
use crate::event::Token;
use crate::local::Local;
use crate::metadata::{LeaderWrite, Member, PartitionState, TransactionKind};
use crate::mutation::Mutation;
use crate::quorum::Voters;
use crate::soundness::{are_distinct, is_sound_set};

impl Leader {
    /// R12: an operator names the nodes that shall be the voters. Until both sets decide, other ones may be named
    /// instead: of those named before, one may never come. The nodes that vote already take a change back.
    pub(crate) fn on_reassign(
        &mut self,
        local: &mut Local,
        token: Token,
        to: Vec<NodeId>,
        actions: &mut Actions,
    ) {
        let change = |state: &PartitionState| {
            if !is_sound_set(&to) {
                return Err(CommandRefusal::InvalidNodes);
            }
            if state.next.is_some() {
                return Err(CommandRefusal::Busy);
            }
            let votes = |node: &NodeId| state.member(*node).is_some();
            let as_it_is = to.len() == state.replicas.len() && to.iter().all(votes);
            Ok(if as_it_is { state.with_change_resolved() } else { state.with_target(to) })
        };
        self.command_state(local, token, change, actions);
    }

    /// An operator names the nodes that shall have further copies.
    pub(crate) fn on_copies(
        &mut self,
        local: &mut Local,
        token: Token,
        to: Vec<NodeId>,
        actions: &mut Actions,
    ) {
        let change = |state: &PartitionState| {
            let votes = |node: &NodeId| state.member(*node).is_some();
            if to.iter().any(votes) || !are_distinct(&to) {
                return Err(CommandRefusal::InvalidNodes);
            }
            Ok(state.with_copies(to))
        };
        self.command_state(local, token, change, actions);
    }

    fn command_state(
        &mut self,
        local: &mut Local,
        token: Token,
        change: impl FnOnce(&PartitionState) -> Result<PartitionState, CommandRefusal>,
        actions: &mut Actions,
    ) {
        let free = !local.coordination.is_busy() && self.transfer.is_none();
        let changed = match local.coordination.state() {
            Some(state) if self.is_serving() && free => change(state),
            Some(_) if self.is_serving() => Err(CommandRefusal::Busy),
            _ => Err(CommandRefusal::NotLeader),
        };
        match changed {
            Ok(state) => {
                self.command = Some(token);
                let kind = TransactionKind::Membership;
                local.submit_as_leader(kind, LeaderWrite::Keep, state, actions);
            }
            Err(refusal) => actions.push(Action::AnswerCommand(token, Err(refusal))),
        }
    }

    /// The replica on `node` if it holds everything committed, whoever it is.
    fn caught_up(&self, local: &Local, node: NodeId) -> Option<Member> {
        if node == local.node {
            return Some(local.member());
        }
        let peer = self.peer(node).filter(|peer| peer.durable >= self.committed)?;
        peer.replica.map(|replica| Member { node, replica })
    }

    /// The learner on the node of a voter, if it holds everything that was committed when it was met.
    fn learner_for(&self, local: &Local, voter: Member) -> Option<Member> {
        let broken = local.broken(Mutation::R11EnteredBehind);
        let peer = self.peer(voter.node).filter(|peer| peer.holds_what_it_owes() || broken)?;
        let replica = peer.replica.filter(|replica| *replica != voter.replica)?;
        Some(Member { replica, ..voter })
    }

    /// R11 ★: enters a learner in the place of the replica whose disk was lost. Only when this epoch's
    /// first batch is committed, without which the mark is an older leader's, and only if it holds
    /// everything up to the mark as it was when the learner was met. What is committed since then is on Q of
    /// the others: acknowledgements of the replica that it replaces are void from that moment.
    pub(super) fn enter_learner(&self, local: &mut Local, actions: &mut Actions) -> bool {
        let Some(state) = local.coordination.state() else { return false };
        let voters = Voters::of(state, false);
        let Some(learner) = voters.iter().find_map(|voter| self.learner_for(local, voter)) else {
            return false;
        };
        let state = state.with_replica(learner);
        local.submit_as_leader(TransactionKind::EnterLearner, LeaderWrite::Keep, state, actions);
        true
    }

    /// R12: takes the next step of a change, if its time has come.
    pub(super) fn change_membership(&self, local: &mut Local, actions: &mut Actions) -> bool {
        let Some(state) = local.coordination.state() else { return false };
        let next = if state.next.is_some() {
            if !self.both_hold_committed(local, state) {
                return false;
            }
            state.with_change_resolved()
        } else if let Some(target) = &state.target {
            let members = target.iter().map(|node| self.caught_up(local, *node));
            let Some(members) = members.collect::<Option<Vec<_>>>() else { return false };
            if members == state.replicas {
                state.with_change_resolved()
            } else {
                state.with_next(members)
            }
        } else {
            return self.leave_if_removed(local, actions);
        };
        local.submit_as_leader(TransactionKind::Membership, LeaderWrite::Keep, next, actions);
        true
    }

    /// Whether everything committed, by whichever majority, is now held by a majority of both sets.
    fn both_hold_committed(&self, local: &Local, state: &PartitionState) -> bool {
        let single = local.broken(Mutation::R12SingleMajority);
        let held: Position =
            Voters::of(state, single).held(|member| self.durable_on(local, member));
        held >= self.committed
    }

    /// A leader that is no voter any more hands over to one that is.
    fn leave_if_removed(&self, local: &mut Local, actions: &mut Actions) -> bool {
        let leaves = !local.is_voter();
        if leaves {
            let successor = self.best_successor(local);
            Self::hand_over(local, successor, actions);
        }
        leaves
    }
}
