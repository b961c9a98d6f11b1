//! The metadata store: keys with revisions, leases, guarded transactions, watches. It is one
//! linearizable whole; what is unreliable about it (requests that get lost, answers that get lost,
//! watches that lag) happens on the way, in `world`.

use std::collections::BTreeMap;

use forebay_format::NodeId;
use forebay_replication::metadata::{
    Guard, Incarnation, Keyed, LeaderKey, LeaderWrite, Member, Observation, ObservationSource,
    Outcome, PartitionState, Revision, Transaction,
};

/// Revisions are so far apart that those after a restore can lie between those before: they go back, and
/// still none is used twice. (A store that does use them twice lets a stale guard pass, which nobody
/// can defend against; etcd has `--bump-revision` for it.)
const STEP: u64 = 1 << 10;

/// A lease of a node. Granted anew, it is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LeaseId(u64);

#[derive(Debug, Clone)]
struct Lease {
    node: NodeId,
    ttl_ms: u64,
    expires_ms: u64,
}

/// The key of a node, which goes with its lease.
#[derive(Debug, Clone, Copy)]
struct NodeKey {
    lease: LeaseId,
    created: Revision,
}

/// What is restored when the store is restored from a snapshot. Leases are no part of it.
#[derive(Debug, Clone)]
struct Snapshot {
    revision: u64,
    state: Option<Keyed<PartitionState>>,
    reported: BTreeMap<NodeId, Member>,
}

/// The store.
#[derive(Debug)]
pub(crate) struct Etcd {
    revision: u64,
    leader: Option<(Keyed<LeaderKey>, LeaseId)>,
    state: Option<Keyed<PartitionState>>,
    assigned: Vec<NodeId>,
    reported: BTreeMap<NodeId, Member>,
    nodes: BTreeMap<NodeId, NodeKey>,
    leases: BTreeMap<LeaseId, Lease>,
    leases_granted: u64,
    /// Leases that are gone, with when they would have expired.
    ended: BTreeMap<LeaseId, u64>,
    snapshots: Vec<Snapshot>,
    era: u64,
}

impl Etcd {
    /// A store that knows which nodes a new partition is for.
    pub(crate) const fn new(assigned: Vec<NodeId>) -> Self {
        Self {
            revision: STEP,
            leader: None,
            state: None,
            assigned,
            reported: BTreeMap::new(),
            nodes: BTreeMap::new(),
            leases: BTreeMap::new(),
            leases_granted: 0,
            ended: BTreeMap::new(),
            snapshots: Vec::new(),
            era: 0,
        }
    }

    pub(crate) fn state(&self) -> Option<&PartitionState> {
        self.state.as_ref().map(|state| &state.value)
    }

    /// The state, and when it was last written.
    pub(crate) const fn keyed_state(&self) -> Option<&Keyed<PartitionState>> {
        self.state.as_ref()
    }

    /// How often it was restored.
    pub(crate) const fn era(&self) -> u64 {
        self.era
    }

    /// The node that holds the leader key.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.leader.as_ref().map(|(key, _)| key.value.node)
    }

    /// Grants a lease, and puts the key of the node under it. Says the life of the node that begins, and when its
    /// key was created.
    pub(crate) fn grant(&mut self, node: NodeId, ttl_ms: u64, now_ms: u64) -> Granted {
        // A node that starts again revokes what it had (R3).
        if let Some(key) = self.nodes.get(&node) {
            self.revoke(key.lease);
        }
        self.leases_granted += 1;
        self.revision += STEP;
        let (lease, created) = (LeaseId(self.leases_granted), Revision::new(self.revision));
        self.leases.insert(lease, Lease { node, ttl_ms, expires_ms: now_ms + ttl_ms });
        self.nodes.insert(node, NodeKey { lease, created });
        Granted { lease, incarnation: Incarnation::new(lease.0), node_created: created, ttl_ms }
    }

    /// Renews a lease. Says its time to live, or that it is gone.
    pub(crate) fn keep_alive(&mut self, lease: LeaseId, now_ms: u64) -> Option<u64> {
        let lease = self.leases.get_mut(&lease)?;
        lease.expires_ms = lease.expires_ms.max(now_ms + lease.ttl_ms);
        Some(lease.ttl_ms)
    }

    /// Ends a lease, and what is under it. Says whether the leader key was.
    pub(crate) fn revoke(&mut self, lease: LeaseId) -> bool {
        let Some(Lease { node, expires_ms, .. }) = self.leases.remove(&lease) else {
            return false;
        };
        self.ended.insert(lease, expires_ms);
        self.revision += STEP;
        self.nodes.retain(|owner, key| *owner != node || key.lease != lease);
        let led = self.leader.take_if(|(_, under)| *under == lease).is_some();
        if led {
            self.remember();
        }
        led
    }

    /// The lease that a node has at present.
    pub(crate) fn lease_of(&self, node: NodeId) -> Option<LeaseId> {
        self.nodes.get(&node).map(|key| key.lease)
    }

    /// Lets a lease live on for longer than it says, as a new leader of the store does.
    pub(crate) fn extend(&mut self, lease: LeaseId, by_ms: u64) {
        if let Some(lease) = self.leases.get_mut(&lease) {
            lease.expires_ms += by_ms;
        }
    }

    /// When this lease expires, or would have, had it not been ended before its time.
    pub(crate) fn natural_end(&self, lease: LeaseId) -> Option<u64> {
        let lives = self.leases.get(&lease).map(|lease| lease.expires_ms);
        lives.or_else(|| self.ended.get(&lease).copied())
    }

    /// Leases whose time is over.
    pub(crate) fn expired(&self, now_ms: u64) -> Vec<LeaseId> {
        let over = self.leases.iter().filter(|(_, lease)| lease.expires_ms <= now_ms);
        over.map(|(id, _)| *id).collect()
    }

    /// Carries out a transaction of `node`, all or nothing.
    pub(crate) fn transact(&mut self, node: NodeId, transaction: &Transaction) -> Outcome {
        let Some(lease) = self.nodes.get(&node).map(|key| key.lease) else {
            return Outcome::Conflict;
        };
        if !self.holds(node, &transaction.guard) {
            return Outcome::Conflict;
        }
        self.revision += STEP;
        let revision = Revision::new(self.revision);
        match transaction.leader {
            LeaderWrite::Keep => {}
            LeaderWrite::Delete => self.leader = None,
            LeaderWrite::Put(value) => {
                let created = self.leader.as_ref().map_or(revision, |(key, _)| key.created);
                self.leader = Some((Keyed { value, created, modified: revision }, lease));
            }
        }
        if let Some(value) = &transaction.state {
            let created = self.state.as_ref().map_or(revision, |state| state.created);
            self.state = Some(Keyed { value: value.clone(), created, modified: revision });
        }
        if let Some(member) = transaction.report {
            self.reported.insert(node, member);
        }
        self.remember();
        Outcome::Committed(revision)
    }

    fn holds(&self, node: NodeId, guard: &Guard) -> bool {
        let leader = self.leader.as_ref().map(|(key, _)| key);
        let life = |key: &NodeKey| (Incarnation::new(key.lease.0), key.created);
        guard.holds(leader, self.state.as_ref(), self.nodes.get(&node).map(life))
    }

    /// All keys of the partition at this moment.
    pub(crate) fn observe(&self, source: ObservationSource) -> Observation {
        Observation {
            source,
            revision: Revision::new(self.revision),
            leader: self.leader.as_ref().map(|(key, _)| key.clone()),
            state: self.state.clone(),
            assigned: self.assigned.clone(),
            reported: self.reported.values().copied().collect(),
        }
    }

    fn remember(&mut self) {
        let (revision, state, reported) =
            (self.revision, self.state.clone(), self.reported.clone());
        self.snapshots.push(Snapshot { revision, state, reported });
    }

    /// Restores the store from a snapshot that is `back` changes old, where it has the same members as
    /// now: with others, an operator who confirms it would give records up. Everything leased is
    /// gone. Says whether the state of the partition has changed.
    pub(crate) fn restore(&mut self, back: usize) -> bool {
        let Some(at) = self.snapshots.len().checked_sub(1 + back) else { return false };
        let members = |state: &Option<Keyed<PartitionState>>| {
            state.as_ref().map(|state| {
                let PartitionState { replicas, next, target, copies, unclean, .. } = &state.value;
                let (replicas, next, target) = (replicas.clone(), next.clone(), target.clone());
                (replicas, next, target, copies.clone(), unclean.clone())
            })
        };
        let snapshot = &self.snapshots[at];
        if members(&snapshot.state) != members(&self.state) || snapshot.state == self.state {
            return false;
        }
        let Snapshot { revision, state, reported } = snapshot.clone();
        self.snapshots.truncate(at + 1);
        self.era += 1;
        (self.revision, self.state, self.reported) =
            (revision / STEP * STEP + self.era % STEP, state, reported);
        self.leader = None;
        self.nodes.clear();
        let gone = std::mem::take(&mut self.leases);
        self.ended.extend(gone.into_iter().map(|(id, lease)| (id, lease.expires_ms)));
        true
    }
}

/// A lease that was granted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Granted {
    pub(crate) lease: LeaseId,
    pub(crate) incarnation: Incarnation,
    pub(crate) node_created: Revision,
    pub(crate) ttl_ms: u64,
}

#[cfg(test)]
mod tests {
    use forebay_format::ReplicaId;
    use forebay_replication::metadata::{LeaderGuard, TransactionKind};

    use super::*;

    fn node(number: u32) -> NodeId {
        NodeId::new(number)
    }

    fn take_over(
        granted: Granted,
        leader: LeaderGuard,
        state: Option<Keyed<PartitionState>>,
    ) -> Transaction {
        let member = Member { node: node(1), replica: ReplicaId::from_u128(1) };
        let Granted { incarnation, node_created, .. } = granted;
        Transaction {
            kind: TransactionKind::TakeOver,
            guard: Guard { leader, state, incarnation, node_created },
            leader: LeaderWrite::Put(LeaderKey { node: node(1), incarnation }),
            state: Some(PartitionState::first(vec![member])),
            report: None,
        }
    }

    #[test]
    fn transaction_is_carried_out_only_while_its_guard_holds() {
        let mut etcd = Etcd::new(vec![node(1)]);
        let granted = etcd.grant(node(1), 1000, 0);
        let first = take_over(granted, LeaderGuard::Absent, None);
        assert!(matches!(etcd.transact(node(1), &first), Outcome::Committed(_)));
        assert_eq!(etcd.leader(), Some(node(1)));
        assert_eq!(etcd.transact(node(1), &first), Outcome::Conflict, "there is a leader now");
        let stale = take_over(granted, LeaderGuard::Any, None);
        assert_eq!(
            etcd.transact(node(1), &stale),
            Outcome::Conflict,
            "the state was written since"
        );
        let key = etcd.leader.as_ref().map(|(key, _)| key.clone()).expect("a leader");
        let fresh = take_over(granted, LeaderGuard::Is(key), etcd.state.clone());
        assert!(matches!(etcd.transact(node(1), &fresh), Outcome::Committed(_)));
        let old_life = granted;
        etcd.grant(node(1), 1000, 0);
        let late = take_over(old_life, LeaderGuard::Any, etcd.state.clone());
        assert_eq!(etcd.transact(node(1), &late), Outcome::Conflict, "the lease is another");
    }

    #[test]
    fn leader_key_goes_with_the_lease_and_not_before() {
        let mut etcd = Etcd::new(vec![node(1)]);
        let granted = etcd.grant(node(1), 1000, 0);
        let first = take_over(granted, LeaderGuard::Absent, None);
        assert!(matches!(etcd.transact(node(1), &first), Outcome::Committed(_)));
        assert_eq!(etcd.keep_alive(granted.lease, 600), Some(1000));
        assert_eq!(etcd.expired(1599), []);
        assert_eq!(etcd.expired(1600), [granted.lease]);
        assert!(etcd.revoke(granted.lease));
        assert_eq!(etcd.leader(), None);
        assert_eq!(etcd.keep_alive(granted.lease, 1601), None);
        assert!(etcd.state().is_some(), "the state is under no lease");
    }
}
