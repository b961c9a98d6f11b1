//! R2: planned transfer. The leader stops admitting, waits until the target holds all it has, and then
//! deletes its key and names the successor in one transaction.
//!
//! ```text
//!  serving ─▶ draining ────────────────────▶ handing over ─▶ follower
//!     ▲          │    target holds all            │
//!     └──────────┴── took too long ◀── conflict ──┘
//! ```

use forebay_format::NodeId;

use super::lead::Leader;
use super::progress::Stage;
use crate::action::{Action, Actions, CommandRefusal};
use crate::event::Token;
use crate::local::Local;
use crate::metadata::{LeaderWrite, Member, TransactionKind};
use crate::time::Instant;

/// A transfer that is under way. While there is one, no write is admitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Transfer {
    pub(super) token: Option<Token>,
    to: NodeId,
    since: Instant,
}

impl Leader {
    /// An operator wants somebody else to lead.
    pub(crate) fn on_transfer(
        &mut self,
        local: &mut Local,
        (token, to): (Token, Option<NodeId>),
        actions: &mut Actions,
    ) {
        let refusal = if !self.is_serving() {
            Some(CommandRefusal::NotLeader)
        } else if self.transfer.is_some() {
            Some(CommandRefusal::Busy)
        } else {
            None
        };
        let target = to.or_else(|| self.best_successor(local));
        let target =
            target.filter(|node| *node != local.node && self.member(local, *node).is_some());
        match (refusal, target) {
            (Some(refusal), _) => {
                actions.push(Action::AnswerCommand(token, Err(refusal)));
            }
            (None, None) => {
                actions.push(Action::AnswerCommand(token, Err(CommandRefusal::InvalidNodes)));
            }
            (None, Some(to)) => {
                self.transfer = Some(Transfer { token: Some(token), to, since: local.now });
                self.maintain(local, actions);
            }
        }
    }

    /// The voter on `node`, if the replica there is still the one that was entered.
    fn member(&self, local: &Local, node: NodeId) -> Option<Member> {
        let member = local.coordination.state()?.member(node)?;
        let peer = self.peer(node)?;
        (peer.replica == Some(member.replica)).then_some(member)
    }

    /// The voter that holds most, over a stream that works.
    pub(super) fn best_successor(&self, local: &Local) -> Option<NodeId> {
        let works = self
            .peers
            .iter()
            .filter(|peer| peer.stage == Stage::Matched && self.member(local, peer.node).is_some());
        works.max_by_key(|peer| peer.durable).map(|peer| peer.node)
    }

    /// Hands over when the target holds everything and everything is committed.
    pub(super) fn hand_over_if_drained(&self, local: &mut Local, actions: &mut Actions) -> bool {
        let Some(transfer) = self.transfer else { return false };
        let end = local.log.appended();
        let holds = self
            .member(local, transfer.to)
            .is_some_and(|member| self.durable_on(local, member) == end);
        if holds && self.committed == end {
            Self::hand_over(local, Some(transfer.to), actions);
        }
        // Until then nothing else is begun, so that the target need not wait for it.
        true
    }

    /// Deletes the leader key, and names who should be next.
    pub(super) fn hand_over(local: &mut Local, successor: Option<NodeId>, actions: &mut Actions) {
        if let Some(state) = local.coordination.state() {
            let state = state.with_successor(successor);
            local.submit_as_leader(TransactionKind::HandOver, LeaderWrite::Delete, state, actions);
        }
    }

    /// Who waits for the transfer, if anybody: whoever takes this answers.
    pub(crate) fn take_transfer(&mut self) -> Option<Token> {
        self.transfer.take().and_then(|transfer| transfer.token)
    }

    /// The hand-over is resolved.
    pub(super) fn on_hand_over(&mut self, applied: bool, actions: &mut Actions) {
        if let Some(token) = self.take_transfer() {
            let answer = if applied { Ok(()) } else { Err(CommandRefusal::MetadataChanged) };
            actions.push(Action::AnswerCommand(token, answer));
        }
    }

    /// Admits writes again when the target does not come along.
    pub(super) fn give_up_transfer(&mut self, local: &Local, actions: &mut Actions) {
        let late = |transfer: &mut Transfer| {
            local.now.ms_since(transfer.since) >= local.config.transfer_timeout_ms
        };
        // A hand-over that is sent may have happened: that is not taken back.
        if local.coordination.is_busy() {
            return;
        }
        if let Some(token) = self.transfer.take_if(late).and_then(|transfer| transfer.token) {
            actions.push(Action::AnswerCommand(token, Err(CommandRefusal::GivenUp)));
        }
    }
}
