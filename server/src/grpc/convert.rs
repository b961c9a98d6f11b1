//! Wire types from domain types and back. Nothing here decides anything.

use forebay_engine::CursorStart;
use forebay_format::{Epoch, NodeId, Offset, PartitionId, TimestampMs};
use forebay_proto::v1;
use forebay_replication::health::NodeHealth;

use super::services::Services;
use super::status::Refusal;
use crate::catalog::ServedTopic;
use crate::leadership::{NodeRecord, Standing, Topic};

/// Where to begin. What is not said is the earliest record.
pub(crate) fn start(position: Option<v1::StartPosition>) -> Result<CursorStart, Refusal> {
    use v1::start_position::Position;
    let Some(v1::StartPosition { epoch, position }) = position else {
        return Ok(CursorStart::Earliest);
    };
    match position {
        None => Ok(CursorStart::Earliest),
        Some(Position::Offset(offset)) => {
            let (epoch, offset) = (Epoch::new(epoch), Offset::new(offset));
            Ok(match epoch {
                Epoch::ZERO => CursorStart::Offset(offset),
                epoch => CursorStart::After { epoch, offset },
            })
        }
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

/// The same as another node is told it.
pub(crate) fn start_on_the_wire(start: CursorStart) -> v1::StartPosition {
    use v1::start_position::Position;
    let (epoch, position) = match start {
        CursorStart::Offset(offset) => (0, Position::Offset(offset.get())),
        CursorStart::After { epoch, offset } => (epoch.get(), Position::Offset(offset.get())),
        CursorStart::Timestamp(time) => (0, Position::TimestampMs(time.get())),
        CursorStart::Earliest => (0, Position::Anchor(v1::Anchor::Earliest.into())),
        CursorStart::Latest => (0, Position::Anchor(v1::Anchor::Latest.into())),
    };
    v1::StartPosition { epoch, position: Some(position) }
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
        on_every_node: topic.on_every_node,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_node_begins_where_this_one_was_asked_to() {
        let (offset, epoch) = (Offset::new(7), Epoch::new(3));
        for wanted in [
            CursorStart::Offset(offset),
            CursorStart::After { epoch, offset },
            CursorStart::Timestamp(TimestampMs::new(5)),
            CursorStart::Earliest,
            CursorStart::Latest,
        ] {
            assert_eq!(start(Some(start_on_the_wire(wanted))).expect("a start"), wanted);
        }
    }
}
