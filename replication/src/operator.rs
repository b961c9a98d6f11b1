//! Commands of an operator to a single replica, whatever its part: R2 metadata that went back are
//! confirmed, R5 an unclean election. Nothing of either ever happens by itself.

use crate::action::{Action, Actions, CommandRefusal};
use crate::event::Token;
use crate::local::Local;
use crate::metadata::{
    LeaderGuard, LeaderWrite, PartitionState, Transaction, TransactionKind, UncleanElection,
};
use crate::replica::Replica;

impl Replica {
    /// R2: the state is right as this replica knows it. Its version is lifted above all that this replica saw;
    /// one that saw more says so in its turn.
    pub(crate) fn confirm_metadata(&mut self, token: Token, actions: &mut Actions) {
        let change = |local: &Local| {
            let kind = TransactionKind::ConfirmMetadata;
            let state = local.confirmed_state().ok_or(CommandRefusal::MetadataChanged)?;
            let confirmed = (kind, LeaderWrite::Keep, state);
            local.is_rolled_back().then_some(confirmed).ok_or(CommandRefusal::NothingToConfirm)
        };
        self.order(token, change, actions);
    }

    /// R5: this replica is to lead with the log that it has. Recorded with the range that may be lost, so
    /// that replicas which hold more may cut it, and readers are told.
    pub(crate) fn elect_unclean(&mut self, token: Token, actions: &mut Actions) {
        let change = |local: &Local| {
            let state = local.coordination.state().ok_or(CommandRefusal::MetadataChanged)?;
            let lease = local.valid_lease().ok_or(CommandRefusal::MetadataChanged)?;
            if !local.log.is_quiet() || local.is_halted() || local.is_rolled_back() {
                return Err(CommandRefusal::Busy);
            }
            let kept = local.log.durable();
            let election = UncleanElection {
                epoch: local.next_epoch(state),
                kept,
                lost_upto: local.committed_known().max(kept.end),
            };
            let state = state.with_unclean(election, local.member());
            let key = LeaderWrite::Put(local.leader_key(lease));
            Ok((TransactionKind::UncleanElection, key, state))
        };
        self.order(token, change, actions);
    }

    fn order(
        &mut self,
        token: Token,
        change: impl FnOnce(
            &Local,
        )
            -> Result<(TransactionKind, LeaderWrite, PartitionState), CommandRefusal>,
        actions: &mut Actions,
    ) {
        let coordination = &self.local.coordination;
        let changed = match self.local.valid_lease() {
            Some(_) if coordination.is_busy() => Err(CommandRefusal::Busy),
            Some(lease) if coordination.is_known() => change(&self.local).map(|it| (it, lease)),
            _ => Err(CommandRefusal::MetadataChanged),
        };
        match changed {
            Ok(((kind, leader, state), lease)) => {
                self.command = Some(token);
                let guard = self.local.guard(lease, LeaderGuard::Any);
                let transaction =
                    Transaction { kind, guard, leader, state: Some(state), report: None };
                self.local.coordination.submit(transaction, actions);
            }
            Err(refusal) => actions.push(Action::AnswerCommand(token, Err(refusal))),
        }
    }
}
