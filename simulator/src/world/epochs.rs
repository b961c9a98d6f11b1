//! Rules about epochs: what a promise forbids, whom it elects, and what is asked of the store for one. Each is judged by
//! what leaves a process and by what lies on its disk, at that moment.
//!
//! | rule | what must not happen |
//! | --- | --- |
//! | R2 | a replica promises one epoch to two candidates |
//! | R2 | a candidate that was refused goes on fencing, and asks for no epoch above the promise |
//! | R2 | a transaction is sent before that of unknown outcome was read back |
//! | R3 | a process leads, or is a candidate, when its lease has run out |
//! | R4 | a fence is answered while something admitted is not on the disk |
//! | R4 | appends or cuts of an older epoch are carried out, and older appends acknowledged |
//! | R4 | a leader acknowledges, commits or replicates after a higher fence has come |
//! | R5 | an epoch begins on a log that is less than those of a quorum, or after a cut in favour of a lesser one |
//! | R6 | a mark moves before the epoch-start batch is committed |
//! | R4, R5, R6, R11, R12 | a leader commits, or serves on, what no quorum of the voters has acknowledged to it in its epoch |

use forebay_format::{Epoch, NodeId, Offset};
use forebay_replication::metadata::{Member, Transaction};
use forebay_replication::{Action, Answer, BatchMeta, Marks, Message, Part, Position};

use super::witness::Request;
use super::{World, place};

impl World {
    /// R4: what came of an order of this epoch, which is older than a fence.
    pub(super) fn judge_old_order(&mut self, id: NodeId, epoch: Epoch, actions: &[Action]) {
        let changes = |action: &Action| {
            matches!(action, Action::Append(_) | Action::Cut(_) | Action::Reset(_))
        };
        if actions.iter().any(changes) {
            self.broken("R4", id, &format!("does what was ordered in the old epoch {epoch}"));
        }
    }

    /// A message leaves a node.
    pub(super) fn judge_message(&mut self, id: NodeId, to: NodeId, message: &Message) {
        match *message {
            Message::Fence { epoch, established: true, .. } => {
                self.promises.established.insert((id, epoch));
                self.judge_fenced_leader(id, "fences");
            }
            Message::Append { .. } | Message::Match { .. } => {
                self.judge_fenced_leader(id, "replicates");
            }
            Message::Fence { epoch, .. } => self.judge_candidate(id, epoch),
            Message::Fenced { epoch, .. } => self.judge_promise(id, to, epoch),
            Message::Appended { epoch, .. } => {
                let Some(process) = &self.node(id).process else { return };
                let fenced = process.witness.fenced;
                if epoch < fenced {
                    let what = format!("acknowledges in epoch {epoch}, and is fenced by {fenced}");
                    self.broken("R4", id, &what);
                }
            }
            _ => {}
        }
    }

    /// R2: a fence is sent by a candidate.
    fn judge_candidate(&mut self, id: NodeId, epoch: Epoch) {
        let Some(process) = &self.node(id).process else { return };
        let witness = &process.witness;
        if let Some((of, promised)) = witness.refused
            && of == epoch
            && witness.request == Request::Settled
        {
            let what = format!("goes on with epoch {epoch}, and was refused with {promised}");
            self.broken("R2", id, &what);
        }
    }

    /// R2 and R4: a fence is answered.
    fn judge_promise(&mut self, id: NodeId, to: NodeId, epoch: Epoch) {
        let disk = &self.node(id).disk;
        if disk.log_waits() {
            self.broken("R4", id, &format!("promises {epoch} before its log is durable"));
            return;
        }
        let Some(replica) = disk.replica() else { return };
        let first = *self.promises.to.entry((replica, epoch)).or_insert(to);
        if first != to && !self.promises.established.contains(&(to, epoch)) {
            self.broken("R2", id, &format!("promises {epoch} to {to}, and has to {first}"));
        }
    }

    /// R2: a transaction is sent.
    pub(super) fn judge_transaction(&mut self, id: NodeId, number: u64, what: &Transaction) {
        let Some(process) = &mut self.node_mut(id).process else { return };
        process.witness.transacts(number, what);
        if process.witness.not_read_back.take().is_some() {
            let what = format!("sends {:?} and has not read back what came of the last", what.kind);
            self.broken("R2", id, &what);
        }
    }

    /// R3: the node does something, and is awake.
    pub(super) fn judge_lease(&mut self, id: NodeId) {
        let Some(process) = &self.node(id).process else { return };
        if process.part == Part::Follower || process.paused.is_some() {
            return;
        }
        let ends_ms = process.lease.lease.and_then(|lease| self.etcd.natural_end(lease));
        let now_ms = self.schedule.now_ms();
        if let Some(ends_ms) = ends_ms
            && ends_ms < now_ms
        {
            let what = format!("is {:?}, and its lease ended at {ends_ms} ms", process.part);
            self.broken("R3", id, &what);
        }
    }

    /// R4: a write is answered.
    pub(super) fn judge_acknowledged(&mut self, id: NodeId, answer: &Answer) {
        if matches!(answer, Answer::Acked { .. }) {
            self.judge_fenced_leader(id, "acknowledges a write");
        }
    }

    fn judge_fenced_leader(&mut self, id: NodeId, does: &str) {
        let Some(process) = &self.node(id).process else { return };
        let fenced = process.witness.fenced;
        if let Part::Leader(epoch) = process.part
            && epoch < fenced
        {
            let what = format!("{does} as leader of epoch {epoch}, and is fenced by {fenced}");
            self.broken("R4", id, &what);
        }
    }

    /// R4 and R6: marks have moved.
    pub(super) fn judge_marks(&mut self, id: NodeId, part: Part, (before, after): (Marks, Marks)) {
        // Below the log start everything is committed.
        if after.committed <= before.committed.max(after.log_start) {
            return;
        }
        match part {
            Part::Follower => {}
            Part::Leader(epoch) => {
                self.judge_fenced_leader(id, "commits");
                self.judge_commit(id, epoch, after.committed);
            }
            Part::Candidate(epoch) => {
                let what = format!("commits up to {} before epoch {epoch} begins", after.committed);
                self.broken("R6", id, &what);
            }
        }
    }

    /// R4, R5, R6, R11 and R12: a leader commits, at first what began its epoch. It goes by the voters that it knows.
    pub(super) fn judge_commit(&mut self, id: NodeId, epoch: Epoch, committed: Offset) {
        let node = self.node(id);
        let Some(process) = &node.process else { return };
        let Some(state) = process.replica.state() else { return };
        let own = node.disk.stable_log().position();
        let acknowledged = &process.witness.own.acknowledged;
        let has = |member: &&Member| {
            let said = acknowledged.get(&(member.node, member.replica)).copied();
            let has = if member.node == id { Some(own) } else { said };
            has.is_some_and(|has| has.epoch == epoch && has.end >= committed)
        };
        let majority = |set: &[Member]| set.iter().filter(has).count() > set.len() / 2;
        if !majority(&state.replicas) || !state.next.as_deref().is_none_or(majority) {
            let what = format!("commits up to {committed}, which no quorum has in epoch {epoch}");
            self.broken("R6", id, &what);
        }
    }

    /// R5: a candidate cuts its log.
    pub(super) fn judge_adoption(&mut self, id: NodeId) {
        let node = self.node(id);
        let Some(process) = &node.process else { return };
        let Part::Candidate(epoch) = process.part else { return };
        let own = node.disk.log().position();
        if !process.witness.own.reported.values().any(|report| *report > own) {
            let what = format!("cuts {own} for epoch {epoch}, and nobody has more");
            self.broken("R5", id, &what);
        }
    }

    /// R5: batches are appended; perhaps the first of an epoch of this node's own.
    pub(super) fn judge_beginning(&mut self, id: NodeId, batches: &[BatchMeta]) {
        let node = &self.nodes[place(id)];
        let Some(process) = &node.process else { return };
        let (Part::Candidate(epoch), Some(first)) = (process.part, batches.first()) else { return };
        let Some(state) = self.etcd.state() else { return };
        let begins = first.client.control && first.leader.epoch == epoch;
        let current = (state.leader, state.epoch) == (Some(id), epoch);
        let unclean = state.unclean.iter().any(|election| election.epoch == epoch);
        if !begins || !current || unclean {
            return;
        }
        let adopted: Position = node.disk.log().position();
        let own = &process.witness.own;
        let no_more = |member: &&Member| {
            let report = own.reported.get(&(member.node, member.replica));
            member.node == id || report.is_some_and(|report| *report <= adopted)
        };
        let majority = |set: &[Member]| set.iter().filter(no_more).count() > set.len() / 2;
        let elected = own.epoch == epoch
            && majority(&state.replicas)
            && state.next.as_deref().is_none_or(majority);
        if !elected {
            let what = format!("begins epoch {epoch} after {adopted}, and no quorum has so little");
            self.broken("R5", id, &what);
        }
    }
}
