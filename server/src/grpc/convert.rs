//! Wire types from domain types and back. Nothing here decides anything.

use forebay_engine::CursorStart;
use forebay_format::{Offset, TimestampMs};
use forebay_proto::v1;

use super::services::NodeFacts;
use super::status::Refusal;
use crate::catalog::ServedTopic;
use crate::leadership::{NodeRegistration, Topic};

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

pub(crate) fn node(node: &NodeRegistration) -> v1::Node {
    v1::Node {
        node_id: node.id.get(),
        address: node.address.clone(),
        shard_addresses: node.shard_addresses.clone(),
    }
}

pub(crate) fn topic_summary(topic: &Topic) -> v1::TopicSummary {
    v1::TopicSummary {
        name: topic.name.to_string(),
        topic_id: topic.id.to_string(),
        partitions: topic.partitions,
        replication_factor: topic.replication_factor,
    }
}

pub(crate) fn topic_metadata(served: &ServedTopic, facts: &NodeFacts) -> v1::TopicMetadata {
    let node = facts.node.id.get();
    let partition = |id: forebay_format::PartitionId| v1::PartitionMetadata {
        partition: id.partition.get(),
        leader: served.epoch(id.partition).map(|_| node),
        epoch: served.epoch(id.partition).map_or(0, forebay_format::Epoch::get),
        shard: forebay_engine::shard_of(id, facts.shards).get(),
        replicas: vec![node],
        in_sync: vec![node],
    };
    v1::TopicMetadata {
        name: served.topic.name.to_string(),
        topic_id: served.topic.id.to_string(),
        partitions: served.topic.partition_ids().map(partition).collect(),
    }
}
