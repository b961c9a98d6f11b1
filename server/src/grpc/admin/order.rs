//! What an operator wants done to a partition. Whoever is called has it done by the node that can, one hop
//! away.

use std::time::Duration;

use forebay_format::{NodeId, PartitionId};
use forebay_proto::v1;

use super::findings::{self, Findings};
use super::{Came, Refused, status};
use crate::bridge::ControlRequest;
use crate::clock;
use crate::grpc::carry::Carrying;
use crate::grpc::services::Services;
use crate::grpc::status::{Failure, Refusal};
use crate::net;
use crate::operations::{
    NewestError, ORDER_PATIENCE, Order, OrderError, PeerError, remembers_newest,
};

/// How long is waited for a leader that is being elected, in milliseconds,
const TAKE_OVER_PATIENCE_MS: u64 = 5_000;

/// and how often it is looked for.
const TAKE_OVER_LOOK: Duration = Duration::from_millis(10);

/// How long is waited for a replica to notice that the metadata went back, in milliseconds,
const NOTICE_PATIENCE_MS: u64 = 5_000;

/// and how often all are asked.
const NOTICE_LOOK: Duration = Duration::from_millis(500);

/// How long a replica on this node may take to carry out an order, the time that it is tried again included.
const ORDER_WITHIN: Duration = Duration::from_secs(12);

// Whoever carries an order here hears what became of it: a leader is waited for before and after.
const _: () = assert!(
    ORDER_PATIENCE.as_millis() > ORDER_WITHIN.as_millis() + 2 * TAKE_OVER_PATIENCE_MS as u128
);

pub(super) async fn transfer_leader(
    services: &Services,
    request: v1::TransferLeaderRequest,
    came: Came,
) -> Result<v1::TransferLeaderResponse, Refused> {
    let partition = partition(services, &request.topic, request.partition)?;
    let own = services.facts.node.id;
    let leader = leader(services, partition).await.ok_or(Refusal::NoLeader)?;
    if leader != own {
        if came == Came::FromNode {
            return Err(services.not_leader(partition, Carrying::Refused, Some(leader)).into());
        }
        let to = (leader, ORDER_PATIENCE);
        let asked = services
            .operations
            .peers
            .ask(to, request, async |mut it, request| it.transfer_leader(request).await);
        return asked.await.map_err(refused_by_peer);
    }
    let to = request.to_node.map(NodeId::new);
    if to == Some(own) {
        let message = format!("node {own} leads the partition already");
        return Err(Refusal::Request { field: "to_node", message }.into());
    }
    match order(services, partition, Order::Transfer { to }).await? {
        Err(OrderError::NotLeader) => {
            return Err(services.not_leader(partition, Carrying::Refused, None).into());
        }
        done => done?,
    }
    let next = next_leader(services, partition, own).await;
    let epoch = services.leaders.of(partition).epoch.get();
    let leader = next.map(NodeId::get);
    Ok(v1::TransferLeaderResponse { from_node: own.get(), leader, epoch })
}

/// Who leads: this node if it serves, or another one. One that is being elected is waited for.
async fn leader(services: &Services, partition: PartitionId) -> Option<NodeId> {
    let own = services.facts.node.id;
    once(|| {
        let other = services.leaders.of(partition).leader.filter(|node| *node != own);
        services.leaders.serves(partition).then_some(own).or(other)
    })
    .await
}

/// Who leads after `before`, once somebody does.
async fn next_leader(
    services: &Services,
    partition: PartitionId,
    before: NodeId,
) -> Option<NodeId> {
    once(|| services.leaders.of(partition).leader.filter(|node| *node != before)).await
}

/// What `look` finds, once it finds something; `None` when it does not in time.
async fn once<T>(look: impl Fn() -> Option<T>) -> Option<T> {
    let since = clock::boottime();
    loop {
        let found = look();
        if found.is_some() || clock::boottime().ms_since(since) >= TAKE_OVER_PATIENCE_MS {
            return found;
        }
        net::sleep(TAKE_OVER_LOOK).await;
    }
}

pub(super) async fn force_leader(
    services: &Services,
    request: v1::ForceLeaderRequest,
    came: Came,
) -> Result<v1::ForceLeaderResponse, Refused> {
    let partition = partition(services, &request.topic, request.partition)?;
    let node = NodeId::new(request.node_id);
    if !request.confirmed {
        return would_be_lost(services, partition, node).await;
    }
    if node != services.facts.node.id {
        if came == Came::FromNode {
            return Err(OrderError::NotHere.into());
        }
        let to = (node, ORDER_PATIENCE);
        let asked = services
            .operations
            .peers
            .ask(to, request, async |mut it, request| it.force_leader(request).await);
        return asked.await.map_err(refused_by_peer);
    }
    tracing::warn!(%partition, "an operator makes this node lead with what it has");
    order(services, partition, Order::ElectUnclean).await??;
    let replica = status::own_replica(services, partition).await.ok_or(OrderError::NotHere)?;
    let record = replica.unclean.unwrap_or_default();
    Ok(v1::ForceLeaderResponse {
        done: true,
        epoch: record.epoch,
        kept_end: record.kept_end,
        lost_upto: record.lost_upto,
        leader: None,
        silent_nodes: Vec::new(),
    })
}

/// What an unclean election of the replica on `node` may lose, as far as the nodes that answer know.
async fn would_be_lost(
    services: &Services,
    partition: PartitionId,
    node: NodeId,
) -> Result<v1::ForceLeaderResponse, Refused> {
    let Findings { nodes, .. } = findings::gather(services).await;
    let replica = |node: &NodeId| nodes.get(node)?.replicas.get(&partition);
    let answers = |node: &NodeId| nodes.get(node).is_some_and(|finding| finding.answers);
    if !answers(&node) {
        return Err(PeerError::Silent(node).into());
    }
    let kept = replica(&node).ok_or(OrderError::NotHere)?;
    let standing = services.leaders.of(partition);
    let committed = nodes.keys().filter_map(|node| Some(replica(node)?.committed)).max();
    let serves = |node: &NodeId| {
        replica(node).is_some_and(|replica| replica.role() == v1::ReplicaRole::Leader)
    };
    let silent = standing.replicas.iter().filter(|node| !answers(node));
    Ok(v1::ForceLeaderResponse {
        done: false,
        epoch: 0,
        kept_end: kept.durable,
        lost_upto: committed.unwrap_or_default().max(kept.durable),
        leader: nodes.keys().find(|node| serves(node)).map(|node| node.get()),
        silent_nodes: silent.map(|node| node.get()).collect(),
    })
}

pub(super) async fn confirm_metadata(
    services: &Services,
    request: v1::ConfirmMetadataRequest,
    came: Came,
) -> Result<v1::ConfirmMetadataResponse, Refused> {
    let partition = partition(services, &request.topic, request.partition)?;
    let node = match request.node_id {
        Some(node) => NodeId::new(node),
        None => newest(services, partition).await?,
    };
    if node != services.facts.node.id {
        if came == Came::FromNode {
            return Err(OrderError::NotHere.into());
        }
        let request = v1::ConfirmMetadataRequest { node_id: Some(node.get()), ..request };
        let to = (node, ORDER_PATIENCE);
        let asked = services
            .operations
            .peers
            .ask(to, request, async |mut it, request| it.confirm_metadata(request).await);
        return asked.await.map_err(refused_by_peer);
    }
    tracing::warn!(%partition, "an operator confirms the metadata as this node remembers them");
    order(services, partition, Order::ConfirmMetadata).await??;
    let replica = status::own_replica(services, partition).await.ok_or(OrderError::NotHere)?;
    let state_version = replica.state_version;
    Ok(v1::ConfirmMetadataResponse { node_id: node.get(), state_version })
}

/// The node that remembers the newest state. Replicas notice one after the other that the metadata went back.
async fn newest(services: &Services, partition: PartitionId) -> Result<NodeId, NewestError> {
    let since = clock::boottime();
    loop {
        let Findings { nodes, .. } = findings::gather(services).await;
        let holders = services.leaders.of(partition).replicas;
        let found = remembers_newest(&nodes, partition, &holders);
        let late = clock::boottime().ms_since(since) >= NOTICE_PATIENCE_MS;
        match found {
            Err(NewestError::Forgotten { .. }) if !late => net::sleep(NOTICE_LOOK).await,
            found => return found,
        }
    }
}

/// Has the replica on this node carry out an order.
async fn order(
    services: &Services,
    partition: PartitionId,
    order: Order,
) -> Result<Result<(), OrderError>, Refusal> {
    let asked = services.control.ask(|reply| ControlRequest::Order { partition, order, reply });
    match net::timeout(ORDER_WITHIN, asked).await {
        Some(done) => done.map_err(|_gone| Refusal::Stopping),
        None => Ok(Err(OrderError::Unknown)),
    }
}

/// The partition that is meant, on a node that is one of several.
fn partition(services: &Services, topic: &str, index: u32) -> Result<PartitionId, Failure> {
    if services.replicas.is_none() {
        return Err(Refusal::Alone.into());
    }
    let served = services.topic(topic)?;
    let topic = &served.topic;
    topic.partition(index).ok_or_else(|| {
        let (topic, partitions) = (topic.name.clone(), topic.partitions);
        Refusal::UnknownPartition { topic, partition: index, partitions }.into()
    })
}

/// In its own words, where it has any.
fn refused_by_peer(error: PeerError) -> Refused {
    match error {
        PeerError::Refused(status) => Refused(status),
        error @ (PeerError::Silent(_) | PeerError::Unanswered(_)) => error.into(),
    }
}
