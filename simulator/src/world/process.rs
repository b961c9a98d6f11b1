//! Processes start, die, stand still; and an event goes into a replica.

use std::collections::{BTreeMap, VecDeque};

use forebay_checker::{Event as Seen, Voter};
use forebay_format::{NodeId, ReplicaId};
use forebay_replication::{Action, Event, Marks, Part, Recovered, Replica};

use super::World;
use super::node::{HeldLease, Process};
use super::occurrence::Occurrence;
use super::witness::Witness;
use crate::observer::Observer;

impl World {
    /// The process starts on what its disk holds.
    pub(super) fn start(&mut self, id: NodeId) {
        let fresh = ReplicaId::from_u128(
            (u128::from(self.random.next_u64()) << 64) | u128::from(self.random.next_u64()) | 1,
        );
        let config = self.profile.config.clone();
        let now_ms = self.schedule.now_ms();
        let node = &mut self.nodes[super::place(id)];
        node.start_pending = false;
        if node.process.is_some() {
            return;
        }
        // What it has written since it was damaged goes, too.
        let quarantined =
            if node.disk.damaged || node.disk.dead { node.disk.replica() } else { None };
        if let Some(replica) = quarantined {
            self.observer.lost(Voter { node: id, replica }, node.disk.log().begins());
            self.observer.add(now_ms, Seen::DiskLost { node: id, replica });
        }
        // Damage is put aside, and what begins in its place is another replica (R11).
        if node.disk.damaged || node.disk.dead || node.disk.replica().is_none() {
            node.disk.format(fresh);
        }
        // Recovery syncs what it finds, also what had reached the disk without a sync.
        if let Some(by) = node.voter() {
            self.observer.synced(by, node.disk.stable_log().batches());
        }
        let meta = *node.disk.meta().expect("it was formatted just now");
        let log = node.disk.recovered_log();
        let (log_start, promised) = (log.log_start, meta.promised_epoch);
        let marks = Marks { log_start, committed: log_start, durable: log.end };
        let state = node.disk.kept_state.clone();
        let recovered = Recovered { meta, log, state };
        node.run += 1;
        let run = node.run;
        node.process = Some(Process {
            replica: Replica::new(config.clone(), id, recovered),
            part: Part::Follower,
            marks,
            wake: 0,
            meta_busy: false,
            lease: HeldLease::new(config),
            watch_ms: 0,
            entering: None,
            heard: BTreeMap::new(),
            witness: Witness::new(promised),
            paused: None,
        });
        self.transcript.note(self.schedule.now_ms(), id, || {
            format!("starts as replica {}, promised {promised}", meta.replica)
        });
        self.see(Seen::ProcessStarted { node: id, replica: meta.replica, promised });
        self.see(Seen::LogStartMoved { node: id, to: log_start });
        self.later(0, Occurrence::Event { node: id, run, event: Event::Tick });
        self.later(0, Occurrence::KeepAlive { node: id, run });
    }

    /// The process dies, and comes back after `down_ms`. Of what was not synced, a part is lost.
    pub(crate) fn crash(&mut self, id: NodeId, down_ms: u64) {
        let node = &mut self.nodes[super::place(id)];
        let Some(process) = node.process.take() else { return };
        // A view of what was committed, so that it can be compared with what comes later.
        let log = Observer::log_view(&node.disk, &process.marks);
        node.disk.crash(&mut self.random);
        node.start_pending = true;
        self.transcript.note(self.schedule.now_ms(), id, || "dies".to_owned());
        self.see(Seen::LogSeen { node: id, log });
        self.see(Seen::ProcessEnded { node: id });
        self.later(down_ms, Occurrence::Start(id));
        for peer in self.ids() {
            if peer != id && self.random.coin() {
                self.break_stream(peer, id);
            }
        }
    }

    /// The process stands still; what comes for it waits.
    pub(crate) fn pause(&mut self, id: NodeId, for_ms: u64) {
        let Some(process) = self.node_mut(id).process.as_mut() else { return };
        if process.paused.is_some() {
            return;
        }
        process.paused = Some(VecDeque::new());
        self.transcript.note(self.schedule.now_ms(), id, || "stands still".to_owned());
        self.later(for_ms, Occurrence::Resume(id));
    }

    pub(super) fn resume(&mut self, id: NodeId) {
        let run = self.node(id).run;
        let Some(process) = self.node_mut(id).process.as_mut() else { return };
        let Some(waiting) = process.paused.take() else { return };
        self.transcript.note(self.schedule.now_ms(), id, || "goes on".to_owned());
        for event in waiting {
            self.deliver(id, run, event);
        }
        self.see_to_lease(id);
    }

    /// Hands an event to the replica, and carries out what it wants.
    pub(crate) fn deliver(&mut self, id: NodeId, run: u64, event: Event) {
        let now_ms = self.schedule.now_ms();
        let node = &mut self.nodes[super::place(id)];
        let now = node.clock.instant(now_ms);
        let Some(process) = node.process_of(run) else { return };
        if let Some(waiting) = &mut process.paused {
            waiting.push_back(event);
            return;
        }
        self.events += 1;
        self.transcript.event(now_ms, id, &event);
        if let Event::Message(from, _) = &event {
            process.heard.insert(*from, now);
        }
        process.witness.hears(process.part, process.marks.committed, &event);
        let old_order = process.witness.old_order(&event);
        let proposed = match &event {
            Event::Propose(proposal) => Some(proposal.token),
            _ => None,
        };
        let mut actions = std::mem::take(&mut self.actions);
        process.replica.handle(event, now, &mut actions);
        if let Some(token) = proposed {
            if actions.as_slice().iter().any(|it| matches!(it, Action::Append(_))) {
                self.judge_admission(id);
            } else {
                self.clients.is_known(token);
            }
        }
        if let Some(epoch) = old_order {
            self.judge_old_order(id, epoch, actions.as_slice());
        }
        self.carry_out(id, run, &mut actions);
        self.actions = actions;
    }

    /// The time that the replica asked for has come.
    pub(super) fn wake(&mut self, id: NodeId, run: u64, number: u64) {
        let counts =
            self.node_mut(id).process_of(run).is_some_and(|process| process.wake == number);
        if counts {
            self.deliver(id, run, Event::Tick);
        }
    }
}
