//! Who leads which partition, as far as this node knows. Written as news come, read by calls of clients;
//! never on the way of a batch.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay_format::{Epoch, NodeId, PartitionId, TopicId};
use forebay_replication::metadata::Observation;

use super::Leadership;

/// See the module.
#[derive(Debug, Default)]
#[expect(clippy::disallowed_types, reason = "no batch waits for it, and nobody holds it for long")]
pub(crate) struct Leaders {
    known: std::sync::RwLock<HashMap<PartitionId, Standing>>,
    /// Those that this very node leads, and serves.
    serving: std::sync::RwLock<HashSet<PartitionId>>,
    /// Grows with every change, after it: what was found before a change is found again when this has grown.
    changes: AtomicU64,
}

/// What is known of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) leader: Option<NodeId>,
    /// Of the last take-over.
    pub(crate) epoch: Epoch,
    /// The voters, then further copies.
    pub(crate) replicas: Vec<NodeId>,
    /// Those of them that vote now, or will when a change is resolved.
    pub(crate) voters: Vec<NodeId>,
    /// Those that are to vote and do not yet.
    pub(crate) joining: Vec<NodeId>,
    pub(crate) in_sync: Vec<NodeId>,
}

impl Leaders {
    /// What is known; nothing of a partition that nobody has spoken of.
    pub(crate) fn of(&self, partition: PartitionId) -> Standing {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&partition).cloned().unwrap_or_default()
    }

    /// This is how it is now.
    pub(crate) fn set(&self, partition: PartitionId, standing: Standing) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(partition, standing);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Another number than before: something may be otherwise.
    #[inline]
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The only node leads these, and has the only replicas.
    pub(crate) fn lead_alone(&self, node: NodeId, leaderships: &[Leadership]) {
        for leadership in leaderships {
            let (leader, epoch) = (Some(node), leadership.epoch);
            let alone = vec![node];
            let (replicas, voters) = (alone.clone(), alone.clone());
            let standing =
                Standing { leader, epoch, replicas, voters, in_sync: alone, ..Default::default() };
            self.set(leadership.partition, standing);
        }
    }

    /// Takes note of what was read of a partition's keys. One that has none is forgotten: its topic was deleted.
    pub(crate) fn observed(&self, partition: PartitionId, observation: &Observation) {
        let leader = observation.leader.as_ref().map(|leader| leader.value.node);
        let standing = match &observation.state {
            Some(state) => {
                let state = &state.value;
                let votes = |node: &NodeId| state.member(*node).is_some();
                let replicas = state.nodes();
                let target = state.target.iter().flatten().copied();
                Standing {
                    leader,
                    epoch: state.epoch,
                    voters: replicas.iter().filter(|node| votes(node)).copied().collect(),
                    joining: target.filter(|node| !votes(node)).collect(),
                    replicas,
                    in_sync: state.isr.clone(),
                }
            }
            None => {
                Standing { leader, replicas: observation.assigned.clone(), ..Default::default() }
            }
        };
        if standing == Standing::default() {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            known.remove(&partition);
        } else {
            self.set(partition, standing);
        }
    }

    /// Whether this node leads the partition now, and serves.
    pub(crate) fn serves(&self, partition: PartitionId) -> bool {
        self.serving.read().unwrap_or_else(PoisonError::into_inner).contains(&partition)
    }

    /// It does from now on, or does not.
    pub(crate) fn set_serving(&self, partition: PartitionId, serves: bool) {
        let mut serving = self.serving.write().unwrap_or_else(PoisonError::into_inner);
        if serves {
            serving.insert(partition)
        } else {
            serving.remove(&partition)
        };
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// The nodes that hold replicas of whatever partition, or are to.
    pub(crate) fn holders(&self) -> BTreeSet<NodeId> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.values().flat_map(|standing| standing.replicas.iter().copied()).collect()
    }

    /// Forgets a topic.
    pub(crate) fn forget(&self, topic: TopicId) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|partition, _| partition.topic != topic);
    }
}
