//! The metadata store: the keys of one partition, and transactions with their guards.

use std::collections::BTreeMap;

use forebay_format::NodeId;
use forebay_replication::metadata::{
    Incarnation, Keyed, LeaderKey, LeaderWrite, Member, Observation, ObservationSource, Outcome,
    PartitionState, Revision, Transaction,
};

/// The keys, and the leases of the nodes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MetadataStore {
    revision: u64,
    pub(crate) leader: Option<Keyed<LeaderKey>>,
    pub(crate) state: Option<Keyed<PartitionState>>,
    assigned: Vec<NodeId>,
    reported: Vec<Member>,
    /// The nodes that have a lease: their incarnation, and when their key was created.
    leases: BTreeMap<NodeId, (Incarnation, Revision)>,
}

impl MetadataStore {
    pub(crate) fn new(assigned: Vec<NodeId>) -> Self {
        Self {
            revision: 1,
            leader: None,
            state: None,
            assigned,
            reported: Vec::new(),
            leases: BTreeMap::new(),
        }
    }

    fn next(&mut self) -> Revision {
        self.revision += 1;
        Revision::new(self.revision)
    }

    pub(crate) fn grant(&mut self, node: NodeId) -> (Incarnation, Revision) {
        self.revoke(node);
        let created = self.next();
        let lease = (Incarnation::new(created.get()), created);
        self.leases.insert(node, lease);
        lease
    }

    /// Ends a lease, in time or not; the leader key goes with it.
    pub(crate) fn revoke(&mut self, node: NodeId) {
        if self.leases.remove(&node).is_some() {
            self.next();
            self.leader.take_if(|leader| leader.value.node == node);
        }
    }

    pub(crate) fn observe(&self, source: ObservationSource) -> Observation {
        Observation {
            source,
            revision: Revision::new(self.revision),
            leader: self.leader.clone(),
            state: self.state.clone(),
            assigned: self.assigned.clone(),
            reported: self.reported.clone(),
        }
    }

    pub(crate) fn transact(&mut self, node: NodeId, transaction: &Transaction) -> Outcome {
        let lease = self.leases.get(&node).copied();
        if !transaction.guard.holds(self.leader.as_ref(), self.state.as_ref(), lease) {
            return Outcome::Conflict;
        }
        let now = self.next();
        match transaction.leader {
            LeaderWrite::Keep => {}
            LeaderWrite::Put(value) => {
                self.leader = Some(Keyed { value, created: now, modified: now });
            }
            LeaderWrite::Delete => self.leader = None,
        }
        if let Some(value) = transaction.state.clone() {
            let created = self.state.as_ref().map_or(now, |state| state.created);
            self.state = Some(Keyed { value, created, modified: now });
        }
        if let Some(member) = transaction.report {
            self.reported.retain(|other| other.node != member.node);
            self.reported.push(member);
        }
        Outcome::Committed(now)
    }
}
