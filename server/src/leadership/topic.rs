//! A topic, as all nodes know it.

use std::collections::BTreeMap;

use forebay_format::{PartitionId, PartitionIndex, TopicId, TopicName};
use forebay_replication::placement::ReplicationFactor;

/// A topic. Its partitions are numbered from 0. Never changes; one made again has another id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) id: TopicId,
    pub(crate) name: TopicName,
    /// At least 1.
    pub(crate) partitions: u32,
    /// Replicas that each partition was given when it was made. At least 1.
    pub(crate) replication_factor: u32,
    /// Every node has one, also those that join later.
    pub(crate) on_every_node: bool,
    /// What was set for this topic; everything else is the node's default.
    pub(crate) settings: BTreeMap<String, String>,
}

impl Topic {
    /// How many replicas there shall be.
    pub(crate) fn factor(&self) -> ReplicationFactor {
        if self.on_every_node {
            ReplicationFactor::All
        } else {
            ReplicationFactor::Replicas(self.replication_factor as usize)
        }
    }

    /// Its partition of this number, if it has so many.
    pub(crate) fn partition(&self, index: u32) -> Option<PartitionId> {
        (index < self.partitions).then(|| PartitionId::new(self.id, PartitionIndex::new(index)))
    }

    /// All its partitions.
    pub(crate) fn partition_ids(&self) -> impl Iterator<Item = PartitionId> {
        let id = self.id;
        (0..self.partitions).map(move |index| PartitionId::new(id, PartitionIndex::new(index)))
    }
}
