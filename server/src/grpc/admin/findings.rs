//! What all nodes of the cluster say of themselves, gathered within a bounded time.

use std::collections::{BTreeMap, BTreeSet};

use forebay_format::{NodeId, PartitionId};
use forebay_proto::v1;
use futures_util::future::join_all;

use super::status;
use crate::grpc::services::Services;
use crate::operations::{LOOK_PATIENCE, NodeFinding, PartitionFinding};

/// The cluster, as this node finds it.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) nodes: BTreeMap<NodeId, NodeFinding>,
    /// Of those that answer.
    pub(super) statuses: BTreeMap<NodeId, v1::GetNodeStatusResponse>,
    pub(super) partitions: Vec<PartitionFinding>,
}

/// Asks every node that is known.
pub(super) async fn gather(services: &Services) -> Findings {
    let partitions = partitions(services);
    let own = services.facts.node.id;
    let registered: BTreeSet<NodeId> = services.watch.borrow().nodes.keys().copied().collect();
    let holders = partitions.iter().flat_map(|partition| &partition.standing.replicas);
    let mut nodes: BTreeSet<NodeId> = holders.copied().collect();
    nodes.extend(&registered);
    nodes.extend(services.operations.health.all().keys());
    nodes.remove(&own);
    let others: Vec<NodeId> = nodes.into_iter().collect();
    let asked = others.iter().map(|node| {
        let request = v1::GetNodeStatusRequest {};
        services.operations.peers.ask((*node, LOOK_PATIENCE), request, async |mut it, asked| {
            it.get_node_status(asked).await
        })
    });
    let (of_own, of_others) =
        futures_util::future::join(status::own(services), join_all(asked)).await;
    let mut statuses = BTreeMap::from([(own, of_own)]);
    for (node, answer) in others.iter().zip(of_others) {
        statuses.extend(answer.ok().map(|status| (*node, status)));
    }
    let finding = |node: NodeId| {
        let status = statuses.get(&node);
        let sight = services.operations.health.of(node);
        let finding = NodeFinding {
            registered: registered.contains(&node),
            answers: status.is_some(),
            silent_ms: sight.map(|sight| sight.silent_ms()),
            silent_shards: status.map_or(0, |status| status.silent_shards),
            has_lease: status.is_some_and(|status| status.lease_margin_ms.is_some()),
            replicas: status.map(replicas).unwrap_or_default(),
        };
        (node, finding)
    };
    let nodes = others.iter().copied().chain([own]).map(finding).collect();
    Findings { nodes, statuses, partitions }
}

/// All partitions, and who is to hold them.
pub(super) fn partitions(services: &Services) -> Vec<PartitionFinding> {
    let mut partitions = Vec::new();
    for served in services.catalog.all() {
        partitions.extend(served.topic.partition_ids().map(|id| PartitionFinding {
            id,
            topic: served.topic.name.to_string(),
            standing: services.leaders.of(id),
        }));
    }
    partitions
}

fn replicas(status: &v1::GetNodeStatusResponse) -> BTreeMap<PartitionId, v1::ReplicaStatus> {
    let placed = |replica: &v1::ReplicaStatus| Some((status::place(replica)?, replica.clone()));
    status.replicas.iter().filter_map(placed).collect()
}
