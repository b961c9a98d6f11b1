//! The operator: hands leadership over, moves replicas, lets old records go; confirms metadata that
//! went back; and, in some worlds, has a leader elected without a quorum.

use std::collections::BTreeSet;

use forebay_format::{NodeId, Offset};
use forebay_replication::{Command, CommandRefusal};

use super::{Call, ClientOccurrence};
use crate::world::World;

/// How often the operator looks at alarms.
const LOOK_MS_MAX: u64 = 2_000;

/// The operator.
#[derive(Debug, Default)]
pub(crate) struct Operator {
    /// Replicas that say that their metadata went back.
    rolled_back: BTreeSet<NodeId>,
}

#[derive(Debug, Clone, Copy)]
enum Wish {
    Nothing,
    Transfer,
    Reassign,
    Copies,
    AdvanceLogStart,
    ElectUnclean,
}

impl World {
    pub(super) fn operator_turn(&mut self) {
        let pause_ms_max = if self.healed { None } else { self.profile.operator.pause_ms_max };
        let next_ms = pause_ms_max.unwrap_or(LOOK_MS_MAX).min(LOOK_MS_MAX);
        self.client_later(next_ms, ClientOccurrence::OperatorTurn);
        let rolled_back: Vec<_> = self.clients.operator.rolled_back.iter().copied().collect();
        let looks = self.healed || self.random.per_mille(self.profile.operator.confirms_per_mille);
        if !rolled_back.is_empty() && looks {
            let node = *self.random.pick(&rolled_back);
            self.call(node, Call::Command(Command::ConfirmMetadata));
            return;
        }
        if let Some(node) = self.survivor_of_a_lost_majority() {
            self.call(node, Call::Command(Command::ElectUnclean));
            return;
        }
        if self.healed
            && let Some((to, command)) = self.too_few_voters()
        {
            self.call(to, Call::Command(command));
            return;
        }
        let Some(pause_ms_max) = pause_ms_max else { return };
        // One turn in as many as make the pause, on average.
        if !self.random.per_mille(1000 * next_ms / pause_ms_max) {
            return;
        }
        let profile = &self.profile.operator;
        let wish = self.random.weighted(&[
            (Wish::Nothing, 1),
            (Wish::Transfer, profile.transfer),
            (Wish::Reassign, profile.reassign),
            (Wish::Copies, profile.copies),
            (Wish::AdvanceLogStart, profile.advance_log_start),
            (Wish::ElectUnclean, profile.elect_unclean),
        ]);
        if let Some((to, command)) = self.command_for(wish) {
            self.call(to, Call::Command(command));
        }
    }

    fn command_for(&mut self, wish: Wish) -> Option<(NodeId, Command)> {
        let ids = self.ids();
        let leader = self.etcd.leader();
        let some_node = *self.random.pick(&ids);
        Some(match wish {
            Wish::Nothing => return None,
            Wish::Transfer => {
                let to = self.random.coin().then_some(some_node);
                (leader?, Command::Transfer { to })
            }
            Wish::Reassign => {
                // Somebody whose disk is about to fail would take the partition along.
                if self.nodes.iter().any(|node| node.disk.damaged || node.disk.dead) {
                    return None;
                }
                let mut to = ids;
                self.random.shuffle(&mut to);
                let count = self.random.weighted(&[(3, 8), (4, 1), (5, 2)]);
                // One disk may be lost meanwhile, and two voters would not survive that.
                to.truncate(count);
                (leader?, Command::Reassign { to })
            }
            Wish::Copies => {
                let state = self.etcd.state()?;
                let spare = ids.into_iter().filter(|id| state.member(*id).is_none());
                let to = spare.filter(|_| self.random.coin()).collect();
                (leader?, Command::Copies { to })
            }
            Wish::AdvanceLogStart => {
                let end = self.node(leader?).disk.log().position().end;
                let to = Offset::new(self.random.between(end.get() / 2, end.get() + 2));
                (leader?, Command::AdvanceLogStart { to })
            }
            // Nobody makes a leader of a replica that may have nothing.
            Wish::ElectUnclean => {
                let state = self.etcd.state()?;
                let member = state.member(some_node).filter(|member| self.is_intact(*member));
                (member?.node, Command::ElectUnclean)
            }
        })
    }

    /// After unclean elections there may be fewer voters than have to be live for a write, and nobody to come.
    fn too_few_voters(&self) -> Option<(NodeId, Command)> {
        let state = self.etcd.state()?;
        let settled = state.next.is_none() && state.target.is_none();
        let few = state.replicas.len() < self.profile.config.min_replicas;
        let to = self.ids().into_iter().take(self.profile.voters).collect();
        (settled && few).then_some((self.etcd.leader()?, Command::Reassign { to }))
    }

    /// Where a majority of the disks is lost, somebody who still has one: only an unclean election
    /// helps.
    fn survivor_of_a_lost_majority(&mut self) -> Option<NodeId> {
        let state = self.etcd.state()?;
        let sets = [Some(&state.replicas), state.next.as_ref()];
        let lost = sets.into_iter().flatten().any(|set| {
            let intact = set.iter().filter(|member| self.is_intact(**member)).count();
            intact < set.len() / 2 + 1
        });
        let members = state.replicas.iter().chain(state.next.iter().flatten());
        let intact: Vec<_> =
            members.filter(|member| self.is_intact(**member)).map(|member| member.node).collect();
        (lost && !intact.is_empty()).then(|| *self.random.pick(&intact))
    }

    /// A replica says that its metadata went back. The operator looks at it, and says that it is right
    /// as it is, as only the store was restored.
    pub(crate) fn confirm_metadata(&mut self, node: NodeId) {
        self.clients.operator.rolled_back.insert(node);
    }

    pub(super) fn commanded(
        &mut self,
        by: NodeId,
        command: &Command,
        result: Result<(), CommandRefusal>,
    ) {
        let now_ms = self.schedule.now_ms();
        self.transcript.note(now_ms, by, || format!("operator: {command:?}: {result:?}"));
        let settled = matches!(result, Ok(()) | Err(CommandRefusal::NothingToConfirm));
        if *command == Command::ConfirmMetadata && settled {
            self.clients.operator.rolled_back.remove(&by);
        }
    }
}
