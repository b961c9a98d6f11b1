//! Faults that are only dangerous together, with what has to go wrong beside them.

use forebay_checker::Event as Seen;
use forebay_format::NodeId;

use super::inject::Relief;
use super::kind::{FaultKind, Role};
use crate::profile::Temper;
use crate::world::{Occurrence, World};

impl World {
    /// A leader that loses its lease does not get to know, and its rival does not reach everybody.
    pub(super) fn make_zombie(&mut self, id: NodeId) {
        self.begin_trouble(FaultKind::StoreUnreachable, id);
        let slow = *self.random.pick(&self.ids());
        self.begin_trouble(FaultKind::DiskSlow, slow);
        let mut pair = self.ids();
        pair.retain(|other| *other != id);
        self.random.shuffle(&mut pair);
        // Mostly the rival does not reach the zombie, which so goes on with whoever was fenced.
        if self.random.per_mille(700) {
            pair[0] = id;
        }
        let for_ms = self.profile.fault_ms_max.min(4_000);
        let for_ms = self.random.between(1, for_ms);
        self.part(&[(pair[0], pair[1])], for_ms);
    }

    /// The store has forgotten the epoch of a candidate, and somebody who never heard of it is given the same. It is
    /// heard of again when it has taken over.
    fn part_from_rival(&mut self, candidate: NodeId) {
        let mut others = self.ids();
        others.retain(|other| *other != candidate);
        let unaware = |id: &NodeId| self.node(*id).troubles.watch_broken > 0;
        let unaware = others.iter().copied().find(unaware);
        let rival = unaware.unwrap_or_else(|| *self.random.pick(&others));
        let mut others = self.ids();
        others.retain(|other| *other != rival);
        let pairs: Vec<_> = others.into_iter().map(|other| (other, rival)).collect();
        self.part(&pairs, self.profile.lease_ttl_ms);
    }

    /// Nothing passes between the two of each pair for a while.
    fn part(&mut self, pairs: &[(NodeId, NodeId)], for_ms: u64) {
        let mut cut = Vec::new();
        for &(one, other) in pairs {
            cut.extend([(one, other), (other, one)]);
        }
        for (from, to) in &cut {
            self.links.cut(*from, *to);
        }
        self.later(for_ms, Occurrence::Relief(Relief::Mend(cut)));
    }

    /// The store is restored from a snapshot. Says whether that has changed anything.
    pub(super) fn restore_store(&mut self, at: Option<NodeId>) -> bool {
        let forgetful = self.profile.temper == Temper::Forgetful;
        let candidate = at.filter(|id| self.role(*id) == Some(Role::Candidate));
        let far = if forgetful { 30 } else { 6 };
        let back = if candidate.is_some() { 1 } else { self.random.place(far) + 1 };
        if !self.etcd.restore(back) {
            return false;
        }
        if let Some(candidate) = candidate {
            self.part_from_rival(candidate);
        } else if forgetful && !self.healed {
            // Somebody has to take over now, and that is forgotten as well, and one does not get to know of it.
            self.arm(FaultKind::StoreRestored, Role::Candidate);
            let unaware = *self.random.pick(&self.ids());
            self.begin_trouble(FaultKind::WatchCompacted, unaware);
        }
        self.see(Seen::MetadataRestored);
        self.metadata_changed();
        true
    }
}
