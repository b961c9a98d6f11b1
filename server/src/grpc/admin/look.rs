//! How the cluster is, what it is, who belongs to it, and what has happened.

use forebay_format::NodeId;
use forebay_proto::v1;
use futures_util::future::join_all;

use super::findings::{self, Findings};
use crate::grpc::convert;
use crate::grpc::services::Services;
use crate::operations::{LOOK_PATIENCE, Verdict, judge, lag_records, merge_events};

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(super) async fn health(services: &Services) -> v1::GetHealthResponse {
    let Findings { nodes, partitions, .. } = findings::gather(services).await;
    let Verdict { concerns, left_out, without_leader, under_replicated } =
        judge(&nodes, &partitions);
    let answering = nodes.values().filter(|node| node.answers).count();
    v1::GetHealthResponse {
        healthy: concerns.is_empty(),
        concerns: concerns
            .into_iter()
            .map(|concern| {
                let (topic, partition) = concern.partition.unzip();
                v1::HealthConcern {
                    reason: concern.reason.to_owned(),
                    message: concern.message,
                    node_id: concern.node.map(NodeId::get),
                    topic: topic.unwrap_or_default(),
                    partition,
                }
            })
            .collect(),
        concerns_left_out: count(left_out),
        nodes: count(nodes.len()),
        nodes_answering: count(answering),
        partitions: count(partitions.len()),
        partitions_without_leader: without_leader,
        partitions_under_replicated: under_replicated,
    }
}

pub(super) fn info(services: &Services) -> v1::GetInfoResponse {
    let (facts, partitions) = (&services.facts, findings::partitions(services));
    let replicas = partitions.iter().map(|partition| partition.standing.replicas.len()).sum();
    let clustered = services.replicas.is_some();
    let lease_ttl = facts.config.cluster.etcd.lease_ttl;
    v1::GetInfoResponse {
        cluster_id: facts.cluster.to_string(),
        node_id: facts.node.id.get(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        clustered,
        nodes: count(services.watch.borrow().nodes.len()),
        topics: count(services.catalog.all().len()),
        partitions: count(partitions.len()),
        replicas: count(replicas),
        lease_ttl_ms: if clustered { lease_ttl.as_millis() } else { 0 },
    }
}

pub(super) async fn members(services: &Services) -> v1::ListMembersResponse {
    let Findings { nodes, statuses, partitions } = findings::gather(services).await;
    let view = services.watch.borrow().clone();
    let member = |node: &NodeId| {
        let finding = &nodes[node];
        let sight = services.operations.health.of(*node);
        let address = view.nodes.get(node).map(|record| record.address.clone());
        let address = address.or_else(|| Some(sight.as_ref()?.address.to_string()));
        let status = statuses.get(node).cloned().unwrap_or_default();
        let leads = |replica: &&v1::ReplicaStatus| replica.role() == v1::ReplicaRole::Leader;
        let leads = if services.replicas.is_some() {
            status.replicas.iter().filter(leads).count()
        } else {
            partitions.len()
        };
        let lag = partitions.iter().filter_map(|partition| lag_records(&nodes, partition, *node));
        v1::ClusterMember {
            node_id: node.get(),
            address: address.unwrap_or_default(),
            health: convert::node_health(*node, services).into(),
            registered: finding.registered,
            answers: finding.answers,
            silent_ms: if finding.answers { Some(0) } else { finding.silent_ms },
            version: status.version,
            shards: status.shards,
            replicas: count(status.replicas.len()),
            leads: count(leads),
            lease_margin_ms: status.lease_margin_ms,
            lag_records: lag.sum(),
        }
    };
    v1::ListMembersResponse { members: nodes.keys().map(member).collect() }
}

pub(super) async fn events(
    services: &Services,
    asked: &v1::ListEventsRequest,
) -> v1::ListEventsResponse {
    let operations = &services.operations;
    let mut events = operations.history.read(asked.since_ms).await;
    let mut silent_nodes = Vec::new();
    if !asked.this_node {
        let others = operations.peers.others();
        let request = v1::ListEventsRequest { this_node: true, ..*asked };
        let answers = join_all(others.iter().map(|node| {
            operations.peers.ask((*node, LOOK_PATIENCE), request, async |mut it, asked| {
                it.list_events(asked).await
            })
        }));
        for (node, answer) in others.iter().zip(answers.await) {
            match answer {
                Ok(answer) => events.extend(answer.events),
                Err(_) => silent_nodes.push(node.get()),
            }
        }
    }
    v1::ListEventsResponse { events: merge_events(events), silent_nodes }
}
