//! Topics, partitions and where they are served, in the client's own types. Conversions from the
//! wire are here and nowhere else.

use std::collections::BTreeMap;

use forebay_format::{Epoch, NodeId, Offset, PartitionIndex, TopicId};
use forebay_proto::v1;

/// What a cluster says about itself and some topics.
#[derive(Debug, Clone, Default)]
pub struct ClusterMetadata {
    /// 32 hexadecimal digits.
    pub cluster_id: String,
    /// Every node that is known.
    pub nodes: Vec<Node>,
    /// The topics that were asked for, as far as they exist.
    pub topics: Vec<TopicMetadata>,
}

/// A node and its addresses.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// HOST:PORT that any shard answers on.
    pub address: String,
    /// HOST:PORT of each shard.
    pub shard_addresses: Vec<String>,
}

/// A topic and its partitions.
#[derive(Debug, Clone)]
pub struct TopicMetadata {
    /// Its name.
    pub name: String,
    /// Its identity; `None` when the server's answer could not be read.
    pub id: Option<TopicId>,
    /// By index.
    pub partitions: Vec<PartitionMetadata>,
}

/// Who serves a partition.
#[derive(Debug, Clone)]
pub struct PartitionMetadata {
    /// Its index.
    pub partition: PartitionIndex,
    /// The leader, if there is one now.
    pub leader: Option<NodeId>,
    /// The leader's epoch.
    pub epoch: Epoch,
    /// Which of the leader's shards owns it.
    pub shard: u32,
    /// All replicas.
    pub replicas: Vec<NodeId>,
    /// Those that are in sync.
    pub in_sync: Vec<NodeId>,
}

/// A line of the list of topics.
#[derive(Debug, Clone)]
pub struct TopicSummary {
    /// Its name.
    pub name: String,
    /// 32 hexadecimal digits.
    pub id: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// On how many nodes each is stored; with `on_every_node`, when it was made.
    pub replication_factor: u32,
    /// Every node has a replica, also those that join later.
    pub on_every_node: bool,
}

/// Everything about a topic.
#[derive(Debug, Clone)]
pub struct TopicDescription {
    /// Name, identity and who serves it.
    pub topic: TopicMetadata,
    /// On how many nodes each partition is stored; with `on_every_node`, when it was made.
    pub replication_factor: u32,
    /// Every node has a replica, also those that join later.
    pub on_every_node: bool,
    /// Settings that were made for this topic.
    pub settings: BTreeMap<String, String>,
    /// By index.
    pub partitions: Vec<PartitionStatus>,
}

/// What a partition holds.
#[derive(Debug, Clone)]
pub struct PartitionStatus {
    /// Its index.
    pub partition: PartitionIndex,
    /// First offset that can be read.
    pub earliest: Offset,
    /// Exclusive end of what can be read.
    pub committed: Offset,
    /// Bytes of log on disk.
    pub size_bytes: u64,
    /// Segment files.
    pub segments: u32,
    /// `ok`, or why it does not serve.
    pub state: String,
}

impl ClusterMetadata {
    /// The topic of this name, if it exists.
    pub fn topic(&self, name: &str) -> Option<&TopicMetadata> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    /// HOST:PORT of the shard that owns the partition; `None` when it has no leader now.
    pub fn address_of(&self, partition: &PartitionMetadata) -> Option<&str> {
        let node = self.nodes.iter().find(|node| Some(node.id) == partition.leader)?;
        let shard = usize::try_from(partition.shard).ok()?;
        let own = node.shard_addresses.get(shard).filter(|address| !address.is_empty());
        Some(own.unwrap_or(&node.address))
    }

    /// HOST:PORT of every node that is there and has a replica of the partition: of the owning shard where that is
    /// known.
    pub(crate) fn replicas_of<'a>(
        &'a self,
        partition: &'a PartitionMetadata,
    ) -> impl Iterator<Item = &'a str> {
        let leader = self.nodes.iter().find(|node| Some(node.id) == partition.leader);
        let shards = leader.map(|node| node.shard_addresses.len());
        let there = self.nodes.iter().filter(|node| partition.replicas.contains(&node.id));
        there.map(move |node| {
            // Among as many shards, it belongs to the same one.
            let alike = shards == Some(node.shard_addresses.len());
            let own = node.shard_addresses.get(partition.shard as usize).filter(|_| alike);
            own.filter(|address| !address.is_empty()).unwrap_or(&node.address).as_str()
        })
    }

    /// A node that does not know how it is reached says nothing: it is reached where it answered.
    pub(crate) fn answered_at(mut self, endpoint: &str) -> Self {
        for node in self.nodes.iter_mut().filter(|node| node.address.is_empty()) {
            endpoint.clone_into(&mut node.address);
        }
        self
    }
}

impl From<v1::GetMetadataResponse> for ClusterMetadata {
    fn from(wire: v1::GetMetadataResponse) -> Self {
        Self {
            cluster_id: wire.cluster_id,
            nodes: wire.nodes.into_iter().map(Into::into).collect(),
            topics: wire.topics.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<v1::Node> for Node {
    fn from(wire: v1::Node) -> Self {
        Self {
            id: NodeId::new(wire.node_id),
            address: wire.address,
            shard_addresses: wire.shard_addresses,
        }
    }
}

impl From<v1::TopicMetadata> for TopicMetadata {
    fn from(wire: v1::TopicMetadata) -> Self {
        let mut partitions: Vec<PartitionMetadata> =
            wire.partitions.into_iter().map(Into::into).collect();
        partitions.sort_by_key(|partition| partition.partition);
        Self { name: wire.name, id: wire.topic_id.parse().ok(), partitions }
    }
}

impl From<v1::PartitionMetadata> for PartitionMetadata {
    fn from(wire: v1::PartitionMetadata) -> Self {
        Self {
            partition: PartitionIndex::new(wire.partition),
            leader: wire.leader.map(NodeId::new),
            epoch: Epoch::new(wire.epoch),
            shard: wire.shard,
            replicas: wire.replicas.into_iter().map(NodeId::new).collect(),
            in_sync: wire.in_sync.into_iter().map(NodeId::new).collect(),
        }
    }
}

impl From<v1::TopicSummary> for TopicSummary {
    fn from(wire: v1::TopicSummary) -> Self {
        Self {
            name: wire.name,
            id: wire.topic_id,
            partitions: wire.partitions,
            replication_factor: wire.replication_factor,
            on_every_node: wire.on_every_node,
        }
    }
}

impl From<v1::PartitionStatus> for PartitionStatus {
    fn from(wire: v1::PartitionStatus) -> Self {
        Self {
            partition: PartitionIndex::new(wire.partition),
            earliest: Offset::new(wire.earliest_offset),
            committed: Offset::new(wire.committed_offset),
            size_bytes: wire.size_bytes,
            segments: wire.segments,
            state: wire.state,
        }
    }
}

impl From<v1::DescribeTopicResponse> for TopicDescription {
    fn from(wire: v1::DescribeTopicResponse) -> Self {
        Self {
            topic: wire.topic.unwrap_or_default().into(),
            replication_factor: wire.replication_factor,
            on_every_node: wire.on_every_node,
            settings: wire.settings.into_iter().collect(),
            partitions: wire.partitions.into_iter().map(Into::into).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> ClusterMetadata {
        v1::GetMetadataResponse {
            cluster_id: String::new(),
            nodes: vec![v1::Node {
                node_id: 7,
                address: "a:1".to_owned(),
                shard_addresses: vec!["a:2".to_owned(), "a:3".to_owned()],
                ..Default::default()
            }],
            topics: vec![v1::TopicMetadata {
                name: "t".to_owned(),
                topic_id: String::new(),
                partitions: [(1, Some(7), 1), (0, None, 0), (2, Some(7), 9)]
                    .map(|(partition, leader, shard)| v1::PartitionMetadata {
                        partition,
                        leader,
                        shard,
                        ..Default::default()
                    })
                    .to_vec(),
            }],
        }
        .into()
    }

    #[test]
    fn a_partition_is_served_at_its_own_shards_address() {
        let cluster = cluster();
        let partitions = &cluster.topic("t").expect("it was given").partitions;
        let addresses: Vec<_> = partitions.iter().map(|p| cluster.address_of(p)).collect();
        // No leader; the shard's own; a shard that is not listed falls back to the node.
        assert_eq!(addresses, [None, Some("a:3"), Some("a:1")]);
        assert!(cluster.topic("u").is_none());
    }

    #[test]
    fn replicas_are_read_at_the_same_shard_where_there_are_as_many() {
        let mut cluster = cluster();
        let mut node = |id, address: &str, shards: &[&str]| {
            cluster.nodes.push(Node {
                id: NodeId::new(id),
                address: address.to_owned(),
                shard_addresses: shards.iter().map(|one| (*one).to_owned()).collect(),
            });
        };
        node(8, "b:1", &["b:2", "b:3"]);
        node(9, "c:1", &["c:2"]);
        node(10, "d:1", &["d:2", "d:3"]);
        let mut partition = cluster.topics[0].partitions[1].clone();
        partition.replicas = [7, 8, 9, 11].map(NodeId::new).to_vec();
        let found: Vec<_> = cluster.replicas_of(&partition).collect();
        assert_eq!(found, ["a:3", "b:3", "c:1"]);
    }

    #[test]
    fn a_node_that_says_no_address_is_reached_where_it_answered() {
        let mut cluster = cluster();
        cluster.nodes[0].address.clear();
        cluster.nodes[0].shard_addresses = vec![String::new(); 2];
        let cluster = cluster.answered_at("b:9");
        let partitions = &cluster.topic("t").expect("it was given").partitions;
        let addresses: Vec<_> = partitions.iter().map(|p| cluster.address_of(p)).collect();
        assert_eq!(addresses, [None, Some("b:9"), Some("b:9")]);
    }
}
