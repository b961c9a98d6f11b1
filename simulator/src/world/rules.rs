//! Rules that a history of clients does not show, and that only somebody can judge who sees clocks, leases, disks and
//! the metadata store at once. Each is asked at the moment of the act.
//!
//! | rule | what must not happen |
//! | --- | --- |
//! | R2 | a leader begins to serve on metadata that are older than what its replica has seen |
//! | R3, R6 | a write concern below the quorum is answered after the lease has run out |
//! | R7 | a replica enters the in-sync set before it has synced what is committed |
//! | R11 | a replica enters the state before it has synced what was committed when its leader met it |
//! | R8 | a write is appended while fewer than a quorum were heard of lately |
//! | R10 | a duplicate is answered, and the original is not committed |
//! | R9 | a replica cuts what it knows to be committed, or takes its mark back, with no unclean election on record |

use std::collections::BTreeMap;

use forebay_checker::WriteConcern;
use forebay_format::{Epoch, NodeId, Offset};
use forebay_replication::metadata::{Member, Transaction, TransactionKind};

use super::{World, place};

impl World {
    pub(super) fn broken(&mut self, rule: &str, id: NodeId, what: &str) {
        let now_ms = self.schedule.now_ms();
        self.transcript.note(now_ms, id, || format!("BROKEN {rule}: {what}"));
        self.alarms.push(format!("{rule} broken at {now_ms} ms, node {id}: {what}"));
    }

    /// R2: a replica begins to lead.
    pub(super) fn judge_leadership(&mut self, id: NodeId, epoch: Epoch) {
        let seen = self.node(id).disk.meta().map_or(0, |meta| meta.state_version);
        let Some(state) = self.etcd.state() else { return };
        let of_this_state = state.leader == Some(id) && state.epoch == epoch;
        if of_this_state && self.etcd.era() > 0 && state.version < seen {
            let what = format!("leads on state {}, and has seen {seen}", state.version);
            self.broken("R2", id, &what);
        }
    }

    /// R3 and R6: a write was acknowledged.
    pub(crate) fn judge_answer(&mut self, id: NodeId, concern: WriteConcern) {
        let voters = self.etcd.state().map_or(0, |state| state.replicas.len());
        let alone = match concern {
            WriteConcern::Leader => voters > 1,
            WriteConcern::Replicas(count) => (count as usize) < voters / 2 + 1,
            _ => false,
        };
        let lease = self.node(id).process.as_ref().and_then(|process| process.lease.lease);
        let ends_ms = lease.and_then(|lease| self.etcd.natural_end(lease));
        let now_ms = self.schedule.now_ms();
        if alone && ends_ms.is_none_or(|ends_ms| ends_ms < now_ms) {
            let what = format!("answers {concern:?} after its lease ended ({ends_ms:?} ms)");
            self.broken("R3", id, &what);
        }
    }

    /// R10: a write that the leader had before was acknowledged.
    pub(crate) fn judge_duplicate(&mut self, id: NodeId, base_offset: Offset, number: u64) {
        let Some(state) = self.etcd.state() else { return };
        let log_start = self.node(id).process.as_ref().map(|process| process.marks.log_start);
        let gone = log_start.is_some_and(|log_start| base_offset < log_start);
        if gone || !state.unclean.is_empty() || self.observer.is_committed(base_offset, number) {
            return;
        }
        let synced: Vec<_> = self.observer.synced_on(base_offset, number).collect();
        let begins = |node: NodeId| self.node(node).disk.log().begins();
        let has = |member: &&Member| {
            synced.iter().any(|it| it.replica == member.replica)
                || begins(member.node) > base_offset
        };
        let majority = |set: &[Member]| set.iter().filter(has).count() > set.len() / 2;
        // Its own set, as it may not know of the next one yet.
        if !majority(&state.replicas) && !state.next.as_deref().is_some_and(majority) {
            let what = format!("answers a duplicate at {base_offset}, which is not committed");
            self.broken("R10", id, &what);
        }
    }

    /// R7 and R11: a leader is about to enter replicas.
    pub(super) fn judge_in_sync_set(&mut self, id: NodeId, transaction: &Transaction) {
        let Some(next) = &transaction.state else { return };
        // One that cannot succeed enters nobody.
        if transaction.guard.state.as_ref() != self.etcd.keyed_state() {
            return;
        }
        let rule = match transaction.kind {
            TransactionKind::InSyncSet => "R7",
            TransactionKind::EnterLearner => "R11",
            _ => return,
        };
        // What counts is the moment when it was sent first: from then on, `all` waits for who enters.
        let Some(process) = &mut self.nodes[place(id)].process else { return };
        if process.entering.as_ref() == Some(transaction) {
            return;
        }
        process.entering = Some(transaction.clone());
        // Who enters the set has everything; who takes a voter's place, what was committed when it was met.
        let (committed, met) = (process.marks.committed, &process.witness.own);
        let owed = |node: NodeId| if rule == "R11" { met.owed_by(node) } else { committed };
        let owed: BTreeMap<_, _> =
            next.nodes().into_iter().map(|node| (node, owed(node))).collect();
        let Some(state) = self.etcd.state() else { return };
        let entered = |node: &NodeId| {
            let came = !state.isr.contains(node) && next.isr.contains(node);
            came || (state.member(*node) != next.member(*node) && next.member(*node).is_some())
        };
        // A disk that was lost meanwhile was a good one when it was counted. So was one that sabotage has set back,
        // whose replica still bears its name: what it acknowledged before, its leader goes on to count.
        let behind = |node: &NodeId| {
            let disk = &self.node(*node).disk;
            let same = next.member(*node).map(|member| member.replica) == disk.replica();
            let lacks = |owed: &Offset| disk.stable_log().position().end < *owed;
            same && !disk.was_set_back && owed.get(node).is_some_and(lacks)
        };
        let found = self.ids().into_iter().find(|node| entered(node) && behind(node));
        if let Some(node) = found {
            let what = format!("enters node {node}, which has not got to {:?}", owed.get(&node));
            self.broken(rule, id, &what);
        }
    }

    /// R8: a client's write was appended.
    pub(super) fn judge_admission(&mut self, id: NodeId) {
        let now_ms = self.schedule.now_ms();
        let node = self.node(id);
        let now = node.clock.instant(now_ms);
        let (Some(process), Some(state)) = (&node.process, self.etcd.state()) else { return };
        if state.leader != Some(id) {
            return;
        }
        let lately = |other: NodeId| {
            let heard = process.heard.get(&other);
            let timeout_ms = self.profile.config.live_timeout_ms;
            other == id || heard.is_some_and(|at| now.ms_since(*at) <= timeout_ms)
        };
        let live = state.replicas.iter().filter(|member| lately(member.node)).count();
        if live < state.replicas.len() / 2 + 1 {
            let what = format!("appends a write with {live} of {} live", state.replicas.len());
            self.broken("R8", id, &what);
        }
    }

    /// R9: a mark falls, as it does before a log is cut below it.
    pub(super) fn judge_mark(&mut self, id: NodeId, (before, after): (Offset, Offset)) {
        let unclean = self.etcd.state().is_some_and(|state| !state.unclean.is_empty());
        if after < before && !unclean {
            let what = format!("takes back that {before} is committed, and says {after}");
            self.broken("R9", id, &what);
        }
    }

    /// R9: a log is cut to end at `end`.
    pub(super) fn judge_cut(&mut self, id: NodeId, end: Offset) {
        let unclean = self.etcd.state().is_some_and(|state| !state.unclean.is_empty());
        let committed = self.node(id).process.as_ref().map(|process| process.marks.committed);
        if committed.is_some_and(|committed| end < committed) && !unclean {
            let what = format!("cuts to {end}, and knows that {committed:?} is committed");
            self.broken("R9", id, &what);
        }
    }
}
