//! The end of a world: every fault is healed, clients write once more, and everything catches up.

use forebay_checker::Event as Seen;
use forebay_format::NodeId;
use forebay_replication::Part;

use super::occurrence::Occurrence;
use super::{Node, World};
use crate::observer::Observer;

/// How long after the healing everything has to be caught up.
pub(crate) const CATCH_UP_MS_MAX: u64 = 60_000;

/// How often it is looked whether it is.
const LOOK_MS: u64 = 500;

impl World {
    /// Ends every fault.
    pub(super) fn heal(&mut self) {
        self.last_fault();
        self.healed = true;
        self.armed = None;
        self.links.mend_all();
        self.transcript.world(self.schedule.now_ms(), || "faults are healed".to_owned());
        self.see(Seen::Healed);
        for id in self.ids() {
            let node = self.node_mut(id);
            node.troubles = super::node::Troubles::default();
            let (up, dead) = (node.process.is_some(), node.disk.dead);
            if dead {
                self.crash(id, 10);
            } else if up {
                self.resume(id);
                self.list_again(id);
            } else {
                self.node_mut(id).start_pending = true;
                self.later(10, Occurrence::Start(id));
            }
        }
        self.clients.last_write_wanted = true;
        self.later(LOOK_MS, Occurrence::CaughtUp);
        self.healed_ms = self.schedule.now_ms();
    }

    pub(super) fn look_whether_caught_up(&mut self) {
        let late = self.schedule.now_ms() - self.healed_ms > CATCH_UP_MS_MAX;
        if !late && !self.is_caught_up() {
            self.later(LOOK_MS, Occurrence::CaughtUp);
            return;
        }
        let replicas = self.expected().into_iter().filter_map(|id| {
            let node = self.node(id);
            let marks = node.process.as_ref()?.marks;
            Some(Observer::final_replica(id, &node.disk, &marks))
        });
        let ended = Seen::Ended { bound_ms: CATCH_UP_MS_MAX, replicas: replicas.collect() };
        self.see(ended);
        self.ended = true;
    }

    /// The nodes that should hold the partition.
    fn expected(&self) -> Vec<NodeId> {
        let Some(state) = self.etcd.state() else { return Vec::new() };
        let voters = state.replicas.iter().chain(state.next.iter().flatten());
        let mut expected: Vec<_> = voters.map(|member| member.node).collect();
        expected.extend(&state.copies);
        expected.sort_unstable();
        expected.dedup();
        expected
    }

    /// Whether one leads, the membership is settled, and all have and know the same.
    fn is_caught_up(&self) -> bool {
        let Some(state) = self.etcd.state() else { return false };
        if state.next.is_some() || state.target.is_some() {
            return false;
        }
        let Some(leader) = self.etcd.leader() else { return false };
        let leads = self.node(leader).process.as_ref().is_some_and(
            |process| matches!(process.part, Part::Leader(epoch) if epoch == state.epoch),
        );
        let end = self.node(leader).disk.log().position();
        let begins = |node: &Node| node.process.as_ref().map(|process| process.marks.log_start);
        let begin = begins(self.node(leader));
        let settled = |id: NodeId| {
            let node = self.node(id);
            let entered = state.member(id).is_none_or(|it| Some(it.replica) == node.disk.replica());
            let knows = node.process.as_ref().is_some_and(|it| it.marks.committed == end.end);
            entered && knows && begins(node) == begin && node.disk.stable_log().position() == end
        };
        leads
            && self.expected().into_iter().all(settled)
            && !self.clients.last_write_wanted
            && self.clients.have_caught_up(end.end)
    }
}
