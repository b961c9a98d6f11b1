//! What every node sees of the cluster: its nodes, its topics, and how much the nodes have to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use forebay_format::{NodeId, TopicId, TopicName};
use forebay_replication::placement::{NodeLoad, ReplicationFactor};

pub(crate) use super::values::NodeRecord;
use super::values::TopicValue;
use crate::leadership::Topic;

/// The cluster at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClusterView {
    /// Those that live.
    pub(crate) nodes: BTreeMap<NodeId, NodeRecord>,
    pub(crate) topics: BTreeMap<TopicName, Arc<TopicRecord>>,
    /// Topics that were deleted. Only their files may be removed: a topic that is merely absent may be one
    /// that etcd forgot when it was restored.
    pub(crate) deleted: BTreeSet<TopicId>,
    /// Replicas and preferred leaderships of each node that has any, whether it lives or not.
    pub(crate) loads: BTreeMap<NodeId, Load>,
}

/// What a node has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Load {
    pub(crate) replicas: usize,
    pub(crate) leads: usize,
}

/// A topic, and for how many replicas it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicRecord {
    pub(crate) topic: Arc<Topic>,
}

impl TopicRecord {
    /// `replicas`: how many there are where the factor is `all`.
    pub(super) fn new(value: &TopicValue, replicas: usize) -> Self {
        let replicas = match value.factor {
            ReplicationFactor::Replicas(replicas) => replicas,
            ReplicationFactor::All => replicas,
        };
        let topic = Topic {
            id: value.id,
            name: value.name.clone(),
            partitions: value.partitions,
            replication_factor: u32::try_from(replicas).unwrap_or(u32::MAX).max(1),
            on_every_node: value.factor == ReplicationFactor::All,
            settings: value.settings.clone(),
        };
        Self { topic: Arc::new(topic) }
    }
}

impl ClusterView {
    /// What a node has to do, for placement.
    pub(super) fn load(&self, node: NodeId) -> NodeLoad {
        let load = self.loads.get(&node).copied().unwrap_or_default();
        NodeLoad { node, replicas: load.replicas, leads: load.leads }
    }
}
