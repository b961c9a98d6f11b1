//! Faults fall on nodes, and end.
//!
//! A fault is armed for a role and waits for somebody who has it, because a candidate is rarely
//! there when the dice fall. What the protocol promises to survive is the limit: a disk is lost only while a majority
//! of every set of voters keeps theirs, unless this world's operator is there to give records up.

use forebay_checker::Event as Seen;
use forebay_format::NodeId;
use forebay_replication::Event;
use forebay_replication::metadata::Member;

use super::kind::{FaultKind, Role};
use crate::profile::Temper;
use crate::world::{Occurrence, World};

/// How long an armed fault waits for its role.
const ARMED_MS: u64 = 4_000;

/// How often it looks.
const LOOK_MS: u64 = 100;

/// A fault that waits for a role.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Armed {
    kind: FaultKind,
    role: Role,
    until_ms: u64,
}

impl Armed {
    pub(crate) const fn role(&self) -> Role {
        self.role
    }
}

/// How a fault ends.
#[derive(Debug)]
pub(crate) enum Relief {
    /// These links work again.
    Mend(Vec<(NodeId, NodeId)>),
    /// This trouble of the node is over.
    Trouble(FaultKind, NodeId),
    /// The process dies of what happened to it.
    Death(NodeId),
}

impl World {
    /// A fault is due, or one that is armed looks for its role.
    pub(crate) fn fault(&mut self) {
        if self.healed {
            return;
        }
        let now_ms = self.schedule.now_ms();
        let armed = if let Some(armed) = self.armed {
            armed
        } else {
            let kind = self.random.weighted(&self.profile.faults);
            let role = self.random.weighted(&[
                (Role::Leader, 4),
                (Role::Candidate, 2),
                (Role::Follower, 3),
                (Role::Learner, 2),
            ]);
            Armed { kind, role, until_ms: now_ms + ARMED_MS }
        };
        let late = now_ms >= armed.until_ms;
        let fits = |id: &NodeId| match self.role(*id) {
            Some(role) => late || role == armed.role,
            None => false,
        };
        let victims: Vec<_> = self.ids().into_iter().filter(fits).collect();
        self.armed = None;
        if !victims.is_empty() {
            let victim = *self.random.pick(&victims);
            self.inject(armed.kind, victim);
        } else if !late {
            self.armed = Some(armed);
            self.later(LOOK_MS, Occurrence::Fault);
            return;
        }
        let gap_ms_max = self.profile.fault_gap_ms_max;
        self.within(gap_ms_max, Occurrence::Fault);
    }

    /// A replica has become a candidate, or leads: what waits for that falls now, or in a moment.
    pub(crate) fn strike_soon(&mut self, role: Role) {
        if self.armed.is_some_and(|armed| armed.role() == role) {
            self.within(20, Occurrence::Strike);
        }
    }

    /// What is armed falls, if its role is still there.
    pub(crate) fn strike(&mut self) {
        let Some(armed) = self.armed else { return };
        let fits = |id: &NodeId| self.role(*id) == Some(armed.role);
        let victim = self.ids().into_iter().find(fits);
        if let Some(victim) = victim {
            self.armed = None;
            self.inject(armed.kind, victim);
        }
    }

    /// The last fault, at the moment of the healing: what it breaks must mend by itself.
    pub(crate) fn last_fault(&mut self) {
        if self.profile.temper == Temper::Forgetful {
            self.restore_store(None);
        }
    }

    /// More than anybody promises to survive: all voters but one are set back to an older log of theirs,
    /// behind their backs, and elect one of themselves. The last one knows better.
    pub(crate) fn sabotage(&mut self) {
        let Some(state) = self.etcd.state() else { return };
        let mut voters: Vec<_> = state.replicas.iter().map(|member| member.node).collect();
        voters.sort_by_key(|id| self.node(*id).disk.stable_log().position());
        let Some(survivor) = voters.pop() else { return };
        self.sabotaged = true;
        self.transcript.world(self.schedule.now_ms(), || format!("SABOTAGE of all but {survivor}"));
        let for_ms = self.profile.lease_ttl_ms * 3;
        self.pause(survivor, for_ms);
        for id in voters {
            self.crash(id, 50);
            self.node_mut(id).disk.set_back();
        }
    }

    /// Whether this replica is on a disk that works.
    pub(crate) fn is_intact(&self, member: Member) -> bool {
        let disk = &self.node(member.node).disk;
        disk.replica() == Some(member.replica) && !disk.damaged && !disk.dead
    }

    /// Whether the disk of `id` may be lost.
    fn may_lose_disk(&mut self, id: NodeId) -> bool {
        let reckless = self.profile.operator.elect_unclean > 0 && self.random.per_mille(200);
        let Some(state) = self.etcd.state() else { return false };
        // Whoever is to be left when the members change needs a disk then.
        if state.target.is_some() && !reckless {
            return false;
        }
        // So does whoever an unclean election is about to leave alone.
        if self.profile.operator.elect_unclean > 0 && self.clients.are_commanding() {
            return false;
        }
        let sets = [Some(&state.replicas), state.next.as_ref()];
        sets.into_iter().flatten().all(|set| {
            let others = set.iter().filter(|it| it.node != id && self.is_intact(**it)).count();
            others > set.len() / 2 || (reckless && others > 0)
        })
    }

    /// This fault waits for this role.
    pub(super) fn arm(&mut self, kind: FaultKind, role: Role) {
        let until_ms = self.schedule.now_ms() + ARMED_MS;
        self.armed = Some(Armed { kind, role, until_ms });
    }

    fn inject(&mut self, kind: FaultKind, id: NodeId) {
        let Some(role) = self.role(id) else { return };
        let now_ms = self.schedule.now_ms();
        let happened = match kind {
            FaultKind::LinkCut | FaultKind::LinkCutOneWay | FaultKind::Isolated => {
                self.cut_links(kind, id);
                true
            }
            FaultKind::Crash => {
                let down_ms = self.random.between(1, self.profile.down_ms_max);
                self.crash(id, down_ms);
                true
            }
            FaultKind::PowerCut => {
                for other in self.ids() {
                    let down_ms = self.random.between(1, 300);
                    self.crash(other, down_ms);
                }
                true
            }
            FaultKind::Pause => {
                let for_ms = self.random.between(50, self.profile.lease_ttl_ms * 3);
                self.pause(id, for_ms);
                true
            }
            FaultKind::DiskLost | FaultKind::DiskDead | FaultKind::BitFlip => {
                self.lose_disk(kind, id)
            }
            FaultKind::ClockJump | FaultKind::WallClockJump => {
                self.jump_clock(kind, id);
                true
            }
            FaultKind::LeaseEndsEarly | FaultKind::LeaseEndsLate => {
                self.tamper_with_lease(kind, id)
            }
            FaultKind::StoreRestored => self.restore_store(Some(id)),
            _ => {
                self.begin_trouble(kind, id);
                true
            }
        };
        if happened {
            self.transcript.note(now_ms, id, || format!("FAULT {kind} ({role})"));
            self.faults += 1;
            self.coverage.add(kind, role);
        }
    }

    fn cut_links(&mut self, kind: FaultKind, id: NodeId) {
        let mut others = self.ids();
        others.retain(|other| *other != id);
        if kind != FaultKind::Isolated {
            others = vec![*self.random.pick(&others)];
        } else if self.profile.temper == Temper::Parted {
            // Who was cut off comes back with what nobody else has, just when those who know better go.
            self.links.mend_all();
        }
        let mut cut = Vec::new();
        for other in others {
            cut.push((id, other));
            if kind != FaultKind::LinkCutOneWay {
                cut.push((other, id));
            }
        }
        for (from, to) in &cut {
            self.links.cut(*from, *to);
            if self.random.coin() {
                self.break_stream(*from, *to);
            }
        }
        let for_ms = self.profile.fault_ms_max;
        self.within(for_ms, Occurrence::Relief(Relief::Mend(cut)));
    }

    fn lose_disk(&mut self, kind: FaultKind, id: NodeId) -> bool {
        let Some(voter) = self.node(id).voter() else { return false };
        let (replica, begins) = (voter.replica, self.node(id).disk.log().begins());
        if self.node(id).disk.damaged || self.node(id).disk.dead || !self.may_lose_disk(id) {
            return false;
        }
        self.observer.lost(voter, begins);
        self.see(Seen::DiskLost { node: id, replica });
        match kind {
            FaultKind::DiskLost => {
                let down_ms = self.random.between(1, self.profile.down_ms_max);
                self.crash(id, down_ms);
                self.node_mut(id).disk.wipe();
            }
            FaultKind::DiskDead => {
                self.node_mut(id).disk.dead = true;
                self.within(3_000, Occurrence::Relief(Relief::Death(id)));
            }
            _ => {
                self.node_mut(id).disk.damaged = true;
                self.within(5_000, Occurrence::Relief(Relief::Death(id)));
            }
        }
        true
    }

    fn jump_clock(&mut self, kind: FaultKind, id: NodeId) {
        let now_ms = self.schedule.now_ms();
        let by_ms = self.random.between(100, self.profile.lease_ttl_ms * 3);
        if kind == FaultKind::WallClockJump {
            let by_ms = i64::try_from(by_ms * 100).expect("a small number");
            let by_ms = if self.random.coin() { by_ms } else { -by_ms };
            self.node_mut(id).clock.wall_ms += by_ms;
            return;
        }
        let node = self.node_mut(id);
        node.clock.jump(by_ms, now_ms);
        let run = node.run;
        // Timers that are due go off.
        self.later(0, Occurrence::Event { node: id, run, event: Event::Tick });
        self.see_to_lease(id);
    }

    fn tamper_with_lease(&mut self, kind: FaultKind, id: NodeId) -> bool {
        let Some(lease) = self.etcd.lease_of(id) else { return false };
        if kind == FaultKind::LeaseEndsLate {
            let by_ms = self.random.between(1_000, 15_000);
            self.etcd.extend(lease, by_ms);
            // The node does not get to know, and gives its lease up.
            self.begin_trouble(FaultKind::StoreUnreachable, id);
            return true;
        }
        if self.profile.temper == Temper::Haunted && self.random.per_mille(850) {
            self.make_zombie(id);
        }
        if self.etcd.revoke(lease) {
            self.metadata_changed();
        }
        true
    }

    pub(super) fn begin_trouble(&mut self, kind: FaultKind, id: NodeId) {
        if let Some(count) = self.node_mut(id).troubles.of(kind) {
            *count += 1;
        }
        let for_ms = self.profile.fault_ms_max;
        self.within(for_ms, Occurrence::Relief(Relief::Trouble(kind, id)));
    }

    /// A fault ends.
    pub(crate) fn relieve(&mut self, relief: Relief) {
        match relief {
            Relief::Mend(links) => {
                for (from, to) in links {
                    self.links.mend(from, to);
                }
            }
            Relief::Trouble(kind, id) => {
                if let Some(count) = self.node_mut(id).troubles.of(kind) {
                    *count = count.saturating_sub(1);
                }
                if kind == FaultKind::WatchCompacted {
                    self.list_again(id);
                }
            }
            Relief::Death(id) => {
                let disk = &self.node(id).disk;
                if disk.damaged || disk.dead {
                    let down_ms = self.random.between(1, self.profile.down_ms_max);
                    self.crash(id, down_ms);
                }
            }
        }
    }
}
