//! What the people who run a cluster ask of it and tell it to do. Conversions of that from the wire are here
//! and nowhere else.

use std::time::Duration;

use forebay_format::{Epoch, NodeId, Offset};
use forebay_proto::v1::{self, admin_service_client::AdminServiceClient};
use thiserror::Error;
use tonic::{Response, Status, transport::Channel};

use crate::{
    asking::{Changes, Failure, Unreachable, ask},
    client::Client,
    refusal::Refusal,
};

/// How long one endpoint may take to say how the cluster is. It waits for others itself, less long.
const LOOK_TIMEOUT: Duration = Duration::from_secs(6);

/// How long one endpoint may take to do something.
const ORDER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum OperateError {
    /// Nobody answered. What was to be done may have been done.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The server refused.
    #[error("refused")]
    Refused(#[source] Box<Refusal>),
}

/// Whether a cluster is as it should be.
#[derive(Debug, Clone)]
pub struct ClusterHealth {
    /// Whether nothing is wrong.
    pub healthy: bool,
    /// What is wrong, worst first.
    pub concerns: Vec<HealthConcern>,
    /// Further concerns, for which there was no room.
    pub concerns_left_out: u32,
    /// Nodes that are known.
    pub nodes: u32,
    /// Those that answer.
    pub nodes_answering: u32,
    /// Partitions of all topics.
    pub partitions: u32,
    /// Those without a leader that serves.
    pub partitions_without_leader: u32,
    /// Those that lack a replica.
    pub partitions_under_replicated: u32,
}

/// Something that is not as it should be.
#[derive(Debug, Clone)]
pub struct HealthConcern {
    /// Stable, for programs.
    pub reason: String,
    /// For people.
    pub message: String,
    /// The node it is about.
    pub node: Option<NodeId>,
    /// Topic and partition that it is about.
    pub partition: Option<(String, u32)>,
}

/// What a cluster is.
#[derive(Debug, Clone)]
pub struct ClusterInfo {
    /// 32 hexadecimal digits.
    pub cluster_id: String,
    /// The node that has answered.
    pub node: NodeId,
    /// Its version.
    pub version: String,
    /// Whether it is one of several.
    pub clustered: bool,
    /// How many nodes there are.
    pub nodes: u32,
    /// How many topics.
    pub topics: u32,
    /// How many partitions.
    pub partitions: u32,
    /// How many replicas of partitions.
    pub replicas: u32,
    /// How long a lease lives without a sign of its node; `None` where there are no leases.
    pub lease_ttl: Option<Duration>,
}

/// How a node seems to the one that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeHealth {
    /// Answers.
    Healthy,
    /// Has missed a few heartbeats.
    Suspected,
    /// Has missed many.
    Unhealthy,
    /// Nobody has asked it.
    Unknown,
}

/// A node of a cluster.
#[derive(Debug, Clone)]
pub struct ClusterMember {
    /// Its number.
    pub id: NodeId,
    /// HOST:PORT; empty when it is not known.
    pub address: String,
    /// By its answers to heartbeats.
    pub health: NodeHealth,
    /// Whether it has a lease.
    pub registered: bool,
    /// Whether it has answered just now.
    pub answers: bool,
    /// For how long it has not answered heartbeats; `None` when that is not known.
    pub silent: Option<Duration>,
    /// Its version; empty when it does not answer, and likewise what follows.
    pub version: String,
    /// Its shards.
    pub shards: u32,
    /// Replicas that it holds.
    pub replicas: u32,
    /// Partitions that it leads.
    pub leads: u32,
    /// How long its lease is sure to live; `None` when it has none.
    pub lease_margin: Option<Duration>,
    /// Records that its replicas lack.
    pub lag_records: u64,
}

/// What has happened.
#[derive(Debug, Clone)]
pub struct Events {
    /// By time.
    pub events: Vec<ClusterEvent>,
    /// Nodes that were asked and did not answer.
    pub silent: Vec<NodeId>,
}

/// Something that has happened.
#[derive(Debug, Clone)]
pub struct ClusterEvent {
    /// The same for one event wherever it was seen.
    pub id: String,
    /// Milliseconds since 1970-01-01 UTC.
    pub time_ms: i64,
    /// What it is.
    pub kind: EventKind,
    /// Who has seen it.
    pub seen_by: NodeId,
    /// The node it is about.
    pub node: Option<NodeId>,
    /// Topic and partition that it is about.
    pub partition: Option<(String, u32)>,
    /// For people.
    pub message: String,
}

/// What an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A node has a lease.
    NodeJoined,
    /// A node's lease is gone.
    NodeLeft,
    /// A node answers heartbeats otherwise than before.
    NodeHealth,
    /// A partition has another leader, or the same one under another epoch.
    LeaderChanged,
    /// A partition has no leader any more.
    LeaderLost,
    /// A leader has handed over.
    LeaderTransferred,
    /// An operator has made a replica leader that may not hold everything.
    UncleanElection,
    /// Another set of replicas is in sync.
    InSyncChanged,
    /// Something that people must look at.
    Alarm,
    /// Of a newer server.
    Unknown,
}

/// What came of a transfer.
#[derive(Debug, Clone, Copy)]
pub struct Transferred {
    /// Who has led.
    pub from: NodeId,
    /// Who leads now; `None` when nobody had taken over in time.
    pub leader: Option<NodeId>,
    /// Its epoch.
    pub epoch: Epoch,
}

/// What came, or would come, of a forced election.
#[derive(Debug, Clone)]
pub struct Forced {
    /// Whether it was done.
    pub done: bool,
    /// The epoch that began with it.
    pub epoch: Epoch,
    /// What is below is kept.
    pub kept_end: Offset,
    /// Offsets from there up to here were committed and may be lost, as far as is known.
    pub lost_upto: Offset,
    /// Who leads and serves at present.
    pub leader: Option<NodeId>,
    /// Nodes with a replica that do not answer, and may hold more.
    pub silent: Vec<NodeId>,
}

/// Whose memory of a partition's state was confirmed.
#[derive(Debug, Clone, Copy)]
pub struct Confirmed {
    /// The node.
    pub node: NodeId,
    /// The version of the state that is right now.
    pub state_version: u64,
}

/// The calls of operators, made with the connections of a [`Client`].
#[derive(Debug, Clone)]
pub struct Operator {
    client: Client,
}

type Service = AdminServiceClient<Channel>;

impl Operator {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Whether the cluster is as it should be.
    ///
    /// # Errors
    /// When nobody answers, or the server refuses.
    pub async fn health(&self) -> Result<ClusterHealth, OperateError> {
        let call = |mut service: Service, request| async move { service.get_health(request).await };
        self.look(v1::GetHealthRequest {}, call).await.map(Into::into)
    }

    /// What the cluster is.
    ///
    /// # Errors
    /// When nobody answers, or the server refuses.
    pub async fn info(&self) -> Result<ClusterInfo, OperateError> {
        let call = |mut service: Service, request| async move { service.get_info(request).await };
        self.look(v1::GetInfoRequest {}, call).await.map(Into::into)
    }

    /// Its nodes, by number.
    ///
    /// # Errors
    /// When nobody answers, or the server refuses.
    pub async fn members(&self) -> Result<Vec<ClusterMember>, OperateError> {
        let call =
            |mut service: Service, request| async move { service.list_members(request).await };
        let answer = self.look(v1::ListMembersRequest {}, call).await?;
        Ok(answer.members.into_iter().map(Into::into).collect())
    }

    /// What has happened since that time, in milliseconds since 1970-01-01 UTC, as far as it is kept.
    ///
    /// # Errors
    /// When nobody answers, or the server refuses.
    pub async fn events(&self, since_ms: i64) -> Result<Events, OperateError> {
        let call =
            |mut service: Service, request| async move { service.list_events(request).await };
        let request = v1::ListEventsRequest { since_ms, this_node: false };
        self.look(request, call).await.map(Into::into)
    }

    /// Has the leader of a partition hand over: to this node, or to whichever holds most. Nothing is lost.
    ///
    /// # Errors
    /// When nobody answers, or the server refuses.
    pub async fn transfer_leader(
        &self,
        topic: &str,
        partition: u32,
        to: Option<NodeId>,
    ) -> Result<Transferred, OperateError> {
        let request = v1::TransferLeaderRequest {
            topic: topic.to_owned(),
            partition,
            to_node: to.map(NodeId::get),
        };
        let call =
            |mut service: Service, request| async move { service.transfer_leader(request).await };
        self.order(Changes::Something, request, call).await.map(Into::into)
    }

    /// Makes the replica on a node lead with the log that it has, whatever others hold that it has not. Without
    /// `confirmed` it only says what may be lost.
    ///
    /// # Errors
    /// When nobody answers, or the server refuses.
    pub async fn force_leader(
        &self,
        topic: &str,
        partition: u32,
        (node, confirmed): (NodeId, bool),
    ) -> Result<Forced, OperateError> {
        let topic = topic.to_owned();
        let request = v1::ForceLeaderRequest { topic, partition, node_id: node.get(), confirmed };
        let call =
            |mut service: Service, request| async move { service.force_leader(request).await };
        let changes = if confirmed { Changes::Something } else { Changes::Nothing };
        self.order(changes, request, call).await.map(Into::into)
    }

    /// Says that the state of a partition is right as this node remembers it, or whichever remembers the
    /// newest, where etcd went back in time.
    ///
    /// # Errors
    /// When nobody answers, or the server refuses.
    pub async fn confirm_metadata(
        &self,
        topic: &str,
        partition: u32,
        node: Option<NodeId>,
    ) -> Result<Confirmed, OperateError> {
        let (topic, node_id) = (topic.to_owned(), node.map(NodeId::get));
        let request = v1::ConfirmMetadataRequest { topic, partition, node_id };
        let call =
            |mut service: Service, request| async move { service.confirm_metadata(request).await };
        self.order(Changes::Something, request, call).await.map(Into::into)
    }

    async fn look<Q, A, F>(
        &self,
        request: Q,
        call: impl Fn(Service, Q) -> F,
    ) -> Result<A, OperateError>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let call = |channel, request| call(AdminServiceClient::new(channel), request);
        Ok(ask(&self.client, (Changes::Nothing, LOOK_TIMEOUT), request, call).await?)
    }

    async fn order<Q, A, F>(
        &self,
        changes: Changes,
        request: Q,
        call: impl Fn(Service, Q) -> F,
    ) -> Result<A, OperateError>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let call = |channel, request| call(AdminServiceClient::new(channel), request);
        Ok(ask(&self.client, (changes, ORDER_TIMEOUT), request, call).await?)
    }
}

impl From<Failure> for OperateError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unreachable(unreachable) => Self::Unreachable(unreachable),
            Failure::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

impl From<v1::GetHealthResponse> for ClusterHealth {
    fn from(wire: v1::GetHealthResponse) -> Self {
        Self {
            healthy: wire.healthy,
            concerns: wire.concerns.into_iter().map(Into::into).collect(),
            concerns_left_out: wire.concerns_left_out,
            nodes: wire.nodes,
            nodes_answering: wire.nodes_answering,
            partitions: wire.partitions,
            partitions_without_leader: wire.partitions_without_leader,
            partitions_under_replicated: wire.partitions_under_replicated,
        }
    }
}

impl From<v1::HealthConcern> for HealthConcern {
    fn from(wire: v1::HealthConcern) -> Self {
        Self {
            reason: wire.reason,
            message: wire.message,
            node: wire.node_id.map(NodeId::new),
            partition: wire.partition.map(|partition| (wire.topic, partition)),
        }
    }
}

impl From<v1::GetInfoResponse> for ClusterInfo {
    fn from(wire: v1::GetInfoResponse) -> Self {
        let lease_ttl = (wire.lease_ttl_ms > 0).then(|| Duration::from_millis(wire.lease_ttl_ms));
        Self {
            cluster_id: wire.cluster_id,
            node: NodeId::new(wire.node_id),
            version: wire.version,
            clustered: wire.clustered,
            nodes: wire.nodes,
            topics: wire.topics,
            partitions: wire.partitions,
            replicas: wire.replicas,
            lease_ttl,
        }
    }
}

impl From<v1::NodeHealth> for NodeHealth {
    fn from(wire: v1::NodeHealth) -> Self {
        match wire {
            v1::NodeHealth::Unspecified => Self::Unknown,
            v1::NodeHealth::Healthy => Self::Healthy,
            v1::NodeHealth::Suspected => Self::Suspected,
            v1::NodeHealth::Unhealthy => Self::Unhealthy,
        }
    }
}

impl From<v1::ClusterMember> for ClusterMember {
    fn from(wire: v1::ClusterMember) -> Self {
        Self {
            health: wire.health().into(),
            id: NodeId::new(wire.node_id),
            address: wire.address,
            registered: wire.registered,
            answers: wire.answers,
            silent: wire.silent_ms.map(Duration::from_millis),
            version: wire.version,
            shards: wire.shards,
            replicas: wire.replicas,
            leads: wire.leads,
            lease_margin: wire.lease_margin_ms.map(Duration::from_millis),
            lag_records: wire.lag_records,
        }
    }
}

impl From<v1::ListEventsResponse> for Events {
    fn from(wire: v1::ListEventsResponse) -> Self {
        Self {
            events: wire.events.into_iter().map(Into::into).collect(),
            silent: wire.silent_nodes.into_iter().map(NodeId::new).collect(),
        }
    }
}

impl From<v1::ClusterEvent> for ClusterEvent {
    fn from(wire: v1::ClusterEvent) -> Self {
        Self {
            kind: wire.kind().into(),
            id: wire.id,
            time_ms: wire.time_ms,
            seen_by: NodeId::new(wire.seen_by),
            node: wire.node_id.map(NodeId::new),
            partition: wire.partition.map(|partition| (wire.topic, partition)),
            message: wire.message,
        }
    }
}

impl From<v1::ClusterEventKind> for EventKind {
    fn from(wire: v1::ClusterEventKind) -> Self {
        use v1::ClusterEventKind as Wire;
        match wire {
            Wire::Unspecified => Self::Unknown,
            Wire::NodeJoined => Self::NodeJoined,
            Wire::NodeLeft => Self::NodeLeft,
            Wire::NodeHealth => Self::NodeHealth,
            Wire::LeaderChanged => Self::LeaderChanged,
            Wire::LeaderLost => Self::LeaderLost,
            Wire::LeaderTransferred => Self::LeaderTransferred,
            Wire::UncleanElection => Self::UncleanElection,
            Wire::InSyncChanged => Self::InSyncChanged,
            Wire::Alarm => Self::Alarm,
        }
    }
}

impl From<v1::TransferLeaderResponse> for Transferred {
    fn from(wire: v1::TransferLeaderResponse) -> Self {
        Self {
            from: NodeId::new(wire.from_node),
            leader: wire.leader.map(NodeId::new),
            epoch: Epoch::new(wire.epoch),
        }
    }
}

impl From<v1::ForceLeaderResponse> for Forced {
    fn from(wire: v1::ForceLeaderResponse) -> Self {
        Self {
            done: wire.done,
            epoch: Epoch::new(wire.epoch),
            kept_end: Offset::new(wire.kept_end),
            lost_upto: Offset::new(wire.lost_upto),
            leader: wire.leader.map(NodeId::new),
            silent: wire.silent_nodes.into_iter().map(NodeId::new).collect(),
        }
    }
}

impl From<v1::ConfirmMetadataResponse> for Confirmed {
    fn from(wire: v1::ConfirmMetadataResponse) -> Self {
        Self { node: NodeId::new(wire.node_id), state_version: wire.state_version }
    }
}
