//! Wire types from domain types and back. Nothing here decides anything.

use forebay_engine::CursorStart;
use forebay_format::{NodeId, Offset, PartitionId, TimestampMs};
use forebay_proto::v1;
use forebay_replication::health::NodeHealth;

use super::services::Services;
use super::status::Refusal;
use crate::catalog::ServedTopic;
use crate::leadership::{NodeRecord, Standing, Topic};

/// Where to begin. What is not said is the earliest record.
pub(crate) fn start(position: Option<v1::StartPosition>) -> Result<CursorStart, Refusal> {
    use v1::start_position::Position;
    match position.and_then(|position| position.position) {
        None => Ok(CursorStart::Earliest),
        Some(Position::Offset(offset)) => Ok(CursorStart::Offset(Offset::new(offset))),
        Some(Position::TimestampMs(time)) => Ok(CursorStart::Timestamp(TimestampMs::new(time))),
        Some(Position::Anchor(anchor)) => match v1::Anchor::try_from(anchor) {
            Ok(v1::Anchor::Unspecified | v1::Anchor::Earliest) => Ok(CursorStart::Earliest),
            Ok(v1::Anchor::Latest) => Ok(CursorStart::Latest),
            Err(_) => Err(Refusal::Request {
                field: "anchor",
                message: format!("there is no anchor {anchor}"),
            }),
        },
    }
}

pub(crate) fn node(id: NodeId, node: &NodeRecord, services: &Services) -> v1::Node {
    v1::Node {
        health: node_health(id, services).into(),
        node_id: id.get(),
        address: node.address.clone(),
        shard_addresses: node.shard_addresses.clone(),
    }
}

/// How a node seems to this one, which has nothing to complain of itself.
pub(crate) fn node_health(node: NodeId, services: &Services) -> v1::NodeHealth {
    if node == services.facts.node.id {
        return v1::NodeHealth::Healthy;
    }
    services.operations.health.of(node).map_or(v1::NodeHealth::Unspecified, |sight| {
        match sight.health {
            NodeHealth::Healthy => v1::NodeHealth::Healthy,
            NodeHealth::Suspected => v1::NodeHealth::Suspected,
            NodeHealth::Unhealthy => v1::NodeHealth::Unhealthy,
        }
    })
}

pub(crate) fn topic_summary(topic: &Topic) -> v1::TopicSummary {
    v1::TopicSummary {
        name: topic.name.to_string(),
        topic_id: topic.id.to_string(),
        partitions: topic.partitions,
        replication_factor: topic.replication_factor,
    }
}

pub(crate) fn topic_metadata(served: &ServedTopic, services: &Services) -> v1::TopicMetadata {
    let view = services.watch.borrow();
    // Of a node that tells nobody where its shards are, any is as good.
    let shards = |leader: NodeId| {
        let known = view.nodes.get(&leader).map_or(0, |node| node.shard_addresses.len());
        u32::try_from(known).unwrap_or(u32::MAX).max(1)
    };
    let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.get()).collect();
    let partition = |id: PartitionId| {
        let Standing { leader, epoch, replicas, in_sync, .. } = services.leaders.of(id);
        v1::PartitionMetadata {
            partition: id.partition.get(),
            leader: leader.map(NodeId::get),
            epoch: epoch.get(),
            shard: leader.map_or(0, |leader| forebay_engine::shard_of(id, shards(leader)).get()),
            replicas: numbers(&replicas),
            in_sync: numbers(&in_sync),
        }
    };
    v1::TopicMetadata {
        name: served.topic.name.to_string(),
        topic_id: served.topic.id.to_string(),
        partitions: served.topic.partition_ids().map(partition).collect(),
    }
}
