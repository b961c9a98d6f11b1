//! What the leader says to the other replicas, and what it makes of their answers. R9: it tells each where their
//! logs part.

use forebay_format::{Epoch, NodeId, Position, ReplicaId};

use super::lead::Leader;
use super::progress::{Progress, Stage};
use crate::action::{Action, Actions};
use crate::lineage::last_common;
use crate::local::Local;
use crate::message::{LogReport, Message};
use crate::mutation::Mutation;

/// What was sent and not acknowledged for so many heartbeats is sent again.
const RESEND_HEARTBEATS: u64 = 2;

/// A replica that was asked and has not answered for so many heartbeats is asked again from the start.
const SILENT_HEARTBEATS: u64 = 8;

impl Leader {
    /// Has a progress for each node that the state names, and for no other.
    pub(super) fn update_peers(&mut self, local: &Local) {
        let Some(state) = local.coordination.state() else { return };
        let nodes = state.nodes();
        self.peers.retain(|peer| nodes.contains(&peer.node));
        for node in nodes {
            if node != local.node && self.peer(node).is_none() {
                self.peers.push(Progress::new(node, local.now));
            }
        }
    }

    fn peer_mut(&mut self, node: NodeId) -> Option<&mut Progress> {
        self.peers.iter_mut().find(|peer| peer.node == node)
    }

    /// A word to everybody: who are you, or, these are the marks (R13). Repeats what may be lost.
    pub(super) fn greet(&mut self, local: &mut Local, actions: &mut Actions) {
        let heartbeat = local.config.heartbeat_ms;
        for peer in &mut self.peers {
            let quiet = local.now.ms_since(peer.moved_at);
            if peer.stage == Stage::Silent || (peer.stage == Stage::Matching && quiet >= heartbeat)
            {
                actions.send(peer.node, fence(self.epoch, local));
            }
            if peer.stage != Stage::Matched {
                // R6: marks are for logs that are known to be a prefix of this one.
                if local.broken(Mutation::R6UnmatchedMark) {
                    let marks = envelope(self.epoch, self.committed, local, peer.sent);
                    actions.send(peer.node, marks);
                }
                continue;
            }
            if peer
                .answered_at
                .is_none_or(|at| local.now.ms_since(at) > SILENT_HEARTBEATS * heartbeat)
            {
                peer.silence();
            } else if peer.starved && peer.durable == peer.sent {
                // Log start: what it lacks is gone. It begins anew with what there is.
                let (to, epoch, asked) = (peer.node, self.epoch, peer.durable);
                actions.push(Action::SendStart { to, epoch, asked });
                peer.starved = false;
            } else if peer.durable < peer.sent && quiet > RESEND_HEARTBEATS * heartbeat {
                peer.rewind(local.now);
            }
        }
        self.pump_all(local, actions);
        for peer in self.peers.iter().filter(|peer| peer.stage == Stage::Matched) {
            actions.send(peer.node, envelope(self.epoch, self.committed, local, peer.sent));
        }
    }

    /// R9: a replica says where it is, and is told where the logs part.
    pub(crate) fn on_fenced(
        &mut self,
        local: &mut Local,
        from: NodeId,
        report: &LogReport,
        actions: &mut Actions,
    ) {
        local.saw_state_version(report.state_version, actions);
        let epoch = self.epoch;
        let by_offset = local.broken(Mutation::R9CutByOffset);
        let own = local.log.state();
        let (own_end, their_end) = (own.end, report.position.end);
        let mut common = last_common((&own.epochs, own_end), (&report.epochs, their_end));
        if by_offset {
            let end = own_end.min(their_end);
            let wrong = report.epochs.epoch_at(end).unwrap_or(report.position.epoch);
            common = Position::new(wrong, end).min(report.position);
        }
        // Log start: what the leader before has decided stands, where its log is this one.
        if report.log_start <= common.end {
            self.log_start_reported = self.log_start_reported.max(report.log_start);
        }
        let committed = self.committed;
        let Some(peer) = self.peer_mut(from) else { return };
        peer.identify(report.replica, committed);
        peer.answered_at = Some(local.now);
        peer.match_at(common, local.now);
        let asked = report.position;
        let unclean =
            local.coordination.state().map(|state| state.unclean.clone()).unwrap_or_default();
        actions.send(from, Message::Match { epoch, asked, common, unclean });
    }

    /// A follower says what it has on stable storage.
    pub(crate) fn on_appended(
        &mut self,
        local: &mut Local,
        from: NodeId,
        (replica, appended, durable): (ReplicaId, Position, Position),
        actions: &mut Actions,
    ) {
        let end = local.log.appended();
        let any_replica = local.broken(Mutation::R11StaleReplicaCounted);
        let Some(peer) = self.peer_mut(from) else { return };
        // R11 ★: an acknowledgement of the replica that was there before is void.
        if peer.replica != Some(replica) && !any_replica {
            return;
        }
        if durable > end || appended > end {
            // No log of this epoch is longer than its leader's. Not ours to explain; never to count.
            return;
        }
        peer.acknowledge(durable, end, local.now);
        self.pump(from, local, actions);
        self.update_commit(local, actions);
        if !local.coordination.is_busy() {
            self.maintain_for(from, local, actions);
        }
    }

    /// What may be due because of this one follower: a learner that has caught up, a change of the
    /// membership, a target of a transfer, a member for the in-sync set.
    fn maintain_for(&mut self, from: NodeId, local: &mut Local, actions: &mut Actions) {
        let Some(state) = local.coordination.state() else { return };
        let learns = state.member(from).map(|member| Some(member.replica))
            != self.peer(from).map(|peer| peer.replica);
        let outside = !state.isr.contains(&from);
        let changing = state.next.is_some() || state.target.is_some();
        if learns || outside || changing || self.transfer.is_some() {
            self.maintain(local, actions);
        }
    }

    /// A follower has forgotten that it was matched.
    pub(crate) fn on_not_matched(&mut self, local: &Local, from: NodeId, actions: &mut Actions) {
        let epoch = self.epoch;
        if let Some(peer) = self.peer_mut(from)
            && peer.stage == Stage::Matched
        {
            peer.silence();
            actions.send(from, fence(epoch, local));
        }
    }

    /// The stream to a node broke.
    pub(crate) fn on_peer_lost(&mut self, from: NodeId) {
        if let Some(peer) = self.peer_mut(from) {
            peer.silence();
            peer.broken = true;
        }
    }

    /// A reading of the log for a follower was sent.
    pub(crate) fn on_sent(
        &mut self,
        local: &Local,
        to: NodeId,
        (after, upto): (Position, Position),
        actions: &mut Actions,
    ) {
        let end = local.log.appended();
        if self.peer_mut(to).is_some_and(|peer| peer.on_sent(after, upto, end)) {
            self.pump(to, local, actions);
        }
    }

    /// Sends to every matched follower what it was not sent.
    pub(super) fn pump_all(&mut self, local: &Local, actions: &mut Actions) {
        for index in 0..self.peers.len() {
            self.pump(self.peers[index].node, local, actions);
        }
    }

    fn pump(&mut self, node: NodeId, local: &Local, actions: &mut Actions) {
        let (epoch, committed) = (self.epoch, self.committed);
        let end = local.log.appended();
        let Some(peer) = self.peer_mut(node) else { return };
        if peer.stage == Stage::Matched
            && peer.sending.is_none()
            && !peer.starved
            && peer.sent < end
        {
            peer.sending = Some(peer.sent);
            actions.push(Action::SendBatches {
                to: node,
                after: peer.sent,
                batches_max: local.config.batches_per_message_max,
                catching_up: peer.is_catching_up(end),
                envelope: envelope(epoch, committed, local, peer.sent),
            });
        }
    }
}

fn fence(epoch: Epoch, local: &Local) -> Message {
    let state_version = local.coordination.state().map_or(0, |state| state.version);
    Message::Fence { epoch, established: true, state_version }
}

/// An append without batches: the marks.
fn envelope(epoch: Epoch, committed: Position, local: &Local, after: Position) -> Message {
    Message::Append {
        epoch,
        after,
        batches: Vec::new(),
        committed,
        log_start: local.log.state().log_start,
        state_version: local.coordination.state().map_or(0, |state| state.version),
    }
}
