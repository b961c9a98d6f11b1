//! What this node says of itself, as it travels.

use bytes::Bytes;
use forebay_format::{PartitionId, PartitionIndex, TopicId};
use forebay_proto::v1;
use forebay_replication::Alarm;
use forebay_replication::metadata::UncleanElection;

use crate::bridge::ControlRequest;
use crate::grpc::services::Services;
use crate::operations::{ReplicaReport, Role, words_of_alarm};

/// What all shards of this node say.
pub(super) async fn own(services: &Services) -> v1::GetNodeStatusResponse {
    let asked = services.control.ask(|reply| ControlRequest::Report { reply }).await;
    // Without the control thread the node is about to end.
    let report = asked.unwrap_or_default();
    v1::GetNodeStatusResponse {
        node_id: services.facts.node.id.get(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        shards: services.facts.config.node.shards.resolve(),
        lease_margin_ms: services.operations.lease.margin_ms(),
        replicas: report.replicas.iter().map(replica).collect(),
        silent_shards: report.silent_shards,
    }
}

/// The replica of a partition on this node; `None` when it has none.
pub(super) async fn own_replica(
    services: &Services,
    partition: PartitionId,
) -> Option<v1::ReplicaStatus> {
    let status = own(services).await;
    status.replicas.into_iter().find(|replica| place(replica) == Some(partition))
}

fn replica(report: &ReplicaReport) -> v1::ReplicaStatus {
    let alarm = report.alarm.as_ref().map(words_of_alarm);
    let (alarm_reason, alarm) = alarm.unwrap_or_default();
    let seen_state_version = match report.alarm {
        Some(Alarm::MetadataRolledBack { seen, .. }) => seen,
        _ => 0,
    };
    v1::ReplicaStatus {
        topic_id: Bytes::copy_from_slice(&report.partition.topic.to_bytes()),
        partition: report.partition.partition.get(),
        role: role(report.role).into(),
        epoch: report.epoch.get(),
        log_start: report.log_start.get(),
        end: report.end.get(),
        durable: report.durable.get(),
        committed: report.committed.get(),
        state_version: report.state_version,
        unclean: report.unclean.as_ref().map(unclean),
        alarm,
        alarm_reason: alarm_reason.to_owned(),
        seen_state_version,
        remembered_state_version: report.remembered_version,
    }
}

fn unclean(election: &UncleanElection) -> v1::UncleanRecord {
    v1::UncleanRecord {
        epoch: election.epoch.get(),
        kept_end: election.kept.end.get(),
        lost_upto: election.lost_upto.get(),
    }
}

fn role(role: Role) -> v1::ReplicaRole {
    match role {
        Role::Follower => v1::ReplicaRole::Follower,
        Role::Candidate => v1::ReplicaRole::Candidate,
        Role::Leader => v1::ReplicaRole::Leader,
        Role::Closed => v1::ReplicaRole::Closed,
    }
}

/// The partition that a replica is of; `None` when another node has said what makes no sense.
pub(super) fn place(replica: &v1::ReplicaStatus) -> Option<PartitionId> {
    let topic: [u8; 16] = replica.topic_id.as_ref().try_into().ok()?;
    let partition = PartitionIndex::new(replica.partition);
    Some(PartitionId::new(TopicId::from_bytes(topic), partition))
}
