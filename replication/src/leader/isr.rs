//! R7: the in-sync set. It only defines write concern `all`; commit and election never look at it.

use forebay_format::NodeId;

use super::lead::Leader;
use super::progress::{Progress, Stage};
use crate::action::Actions;
use crate::local::Local;
use crate::metadata::{LeaderWrite, TransactionKind};
use crate::mutation::Mutation;

impl Leader {
    /// Whom `all` waits for: the set as it is known, and, from the moment a swap is sent, as it may be.
    /// A member that is to go is waited for until the swap has completed.
    pub(super) fn isr_to_wait_for(local: &Local) -> Vec<NodeId> {
        let known = local.coordination.state().map_or(&[][..], |state| &state.isr);
        let Some(proposed) = local.coordination.proposed_state() else { return known.to_vec() };
        if local.broken(Mutation::R7AllBeforeSwap) {
            return proposed.isr.clone();
        }
        let added = proposed.isr.iter().filter(|node| !known.contains(node));
        known.iter().chain(added).copied().collect()
    }

    /// Sends a swap if somebody is to leave or to come. Returns whether it did.
    pub(super) fn change_isr(&self, local: &mut Local, actions: &mut Actions) -> bool {
        let Some(state) = local.coordination.state() else { return false };
        let mut isr = state.isr.clone();
        isr.retain(|node| *node == local.node || self.keeps_up(local, *node));
        let voters = state.replicas.iter().chain(state.next.iter().flatten());
        for member in voters {
            let holds = self.durable_on(local, *member) >= self.committed
                || local.broken(Mutation::R7EntersBehind);
            if holds && !isr.contains(&member.node) && self.is_reachable(local, member.node) {
                isr.push(member.node);
            }
        }
        if isr == state.isr {
            return false;
        }
        let state = state.with_isr(isr);
        local.submit_as_leader(TransactionKind::InSyncSet, LeaderWrite::Keep, state, actions);
        true
    }

    /// Whether a member has been at the end of the log lately, over an unbroken stream.
    fn keeps_up(&self, local: &Local, node: NodeId) -> bool {
        let Some(state) = local.coordination.state() else { return false };
        let Some(member) = state.member(node) else { return false };
        let Some(peer) = self.peer(node) else { return false };
        let same = peer.replica.is_none_or(|replica| replica == member.replica);
        let lag = local.now.ms_since(peer.caught_up_at);
        same && !peer.broken && lag < local.config.isr_lag_timeout_ms
    }

    /// Only who is being replicated to comes in, or it would leave again at once.
    fn is_reachable(&self, local: &Local, node: NodeId) -> bool {
        let matched = |peer: &Progress| peer.stage == Stage::Matched && !peer.broken;
        node == local.node || self.peer(node).is_some_and(matched)
    }
}
