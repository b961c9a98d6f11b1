//! Commands of an operator to a single replica, whatever its part: R2 metadata that went back are
//! confirmed, R5 an unclean election. Nothing of either ever happens by itself.

use crate::action::{Action, Actions, CommandRefusal};
use crate::event::Token;
use crate::local::Local;
use crate::metadata::{
    Guard, LeaderGuard, LeaderWrite, PartitionState, Transaction, TransactionKind, UncleanElection,
};
use crate::replica::Replica;

impl Replica {
    /// R2: the metadata are right as they are. Their version is lifted above all that this replica saw;
    /// one that saw more says so in its turn.
    pub(crate) fn confirm_metadata(&mut self, token: Token, actions: &mut Actions) {
        let change = |local: &Local, state: &PartitionState| {
            let seen = local.meta.state_version();
            let kind = TransactionKind::ConfirmMetadata;
            let confirmed = (kind, LeaderWrite::Keep, state.with_version_above(seen));
            local.is_rolled_back().then_some(confirmed).ok_or(CommandRefusal::NothingToConfirm)
        };
        self.order(token, change, actions);
    }

    /// R5: this replica is to lead with the log that it has. Recorded with the range that may be lost, so
    /// that replicas which hold more may cut it, and readers are told.
    pub(crate) fn elect_unclean(&mut self, token: Token, actions: &mut Actions) {
        let change = |local: &Local, state: &PartitionState| {
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
            &PartitionState,
        )
            -> Result<(TransactionKind, LeaderWrite, PartitionState), CommandRefusal>,
        actions: &mut Actions,
    ) {
        let changed = match (self.local.coordination.state(), self.local.valid_lease()) {
            (Some(_), Some(_)) if self.local.coordination.is_busy() => Err(CommandRefusal::Busy),
            (Some(state), Some(lease)) => change(&self.local, state).map(|it| (it, lease)),
            _ => Err(CommandRefusal::MetadataChanged),
        };
        match changed {
            Ok(((kind, leader, state), lease)) => {
                self.command = Some(token);
                let guard = Guard {
                    leader: LeaderGuard::Any,
                    state_modified: self.local.coordination.state_modified(),
                    node_created: lease.node_created,
                };
                let transaction =
                    Transaction { kind, guard, leader, state: Some(state), report: None };
                self.local.coordination.submit(transaction, actions);
            }
            Err(refusal) => actions.push(Action::AnswerCommand(token, Err(refusal))),
        }
    }
}
