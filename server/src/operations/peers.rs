//! Asking other nodes what only they know, and having them do what only they can. Shards ask; the calls run on
//! the control thread.

use std::collections::BTreeSet;
use std::time::Duration;

use forebay_format::NodeId;
use forebay_proto::v1::admin_service_client::AdminServiceClient;
use tokio::runtime::Handle;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use super::health::HealthWatch;
use crate::leadership::ClusterWatch;

/// How long a node may take to say something of itself.
pub(crate) const LOOK_PATIENCE: Duration = Duration::from_secs(2);

/// How long a node may take to do something. Longer than it takes until it gives up, and shorter than clients
/// wait.
pub(crate) const ORDER_PATIENCE: Duration = Duration::from_secs(23);

/// The largest answer that is taken, in bytes: of a node with 100 000 replicas, each with an alarm.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What marks a call that one node has carried to another, which carries it no further.
pub(crate) const HOP: &str = "forebay-hop";

/// See the module. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    own: NodeId,
    watch: ClusterWatch,
    health: HealthWatch,
    runtime: Handle,
}

/// Why another node has not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// Nobody is there; it was not asked.
    #[error("node {0} does not answer")]
    Silent(NodeId),
    /// It was asked, and has not answered in time, or the way to it broke.
    #[error("node {0} was asked and has not answered: it may have done it, or may do it yet")]
    Unanswered(NodeId),
    /// It has refused.
    #[error("{}", .0.message())]
    Refused(Box<Status>),
}

type Service = AdminServiceClient<Channel>;

impl Peers {
    /// `runtime` is the control thread's.
    pub(crate) fn new(
        own: NodeId,
        watch: ClusterWatch,
        health: HealthWatch,
        runtime: Handle,
    ) -> Self {
        Self { own, watch, health, runtime }
    }

    /// The others, with a lease or with replicas.
    pub(crate) fn others(&self) -> Vec<NodeId> {
        let mut others: BTreeSet<NodeId> = self.watch.borrow().nodes.keys().copied().collect();
        others.extend(self.health.all().keys());
        others.remove(&self.own);
        others.into_iter().collect()
    }

    /// Where a node is. Without a lease it may be where it was.
    fn address(&self, node: NodeId) -> Option<String> {
        let registered = self.watch.borrow().nodes.get(&node).map(|it| it.address.clone());
        registered.or_else(|| Some(self.health.of(node)?.address.to_string()))
    }

    /// Calls a node, and waits so long for its answer.
    pub(crate) async fn ask<Q, A, F>(
        &self,
        (node, patience): (NodeId, Duration),
        question: Q,
        call: impl FnOnce(Service, Request<Q>) -> F + Send + 'static,
    ) -> Result<A, PeerError>
    where
        Q: Send + 'static,
        A: Send + 'static,
        F: Future<Output = Result<Response<A>, Status>> + Send,
    {
        let address = self.address(node).ok_or(PeerError::Silent(node))?;
        let own = self.own.get();
        let asked = self.runtime.spawn(async move {
            let until = Instant::now() + patience;
            let connecting = connect(address);
            let channel = timeout_at(until, connecting).await.map_err(|late| late.to_string());
            let channel = channel.flatten().map_err(Problem::NotAsked)?;
            let service = AdminServiceClient::new(channel);
            let mut request = Request::new(question);
            request.metadata_mut().insert(HOP, own.into());
            let service = service.max_decoding_message_size(ANSWER_BYTES_MAX);
            let answer = timeout_at(until, call(service, request)).await;
            answer.map_err(Problem::Late)?.map_err(Problem::Status)
        });
        match asked.await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            // What a node of ours refuses has details; what broke on the way has none.
            Ok(Err(Problem::Status(status))) if !status.details().is_empty() => {
                Err(PeerError::Refused(Box::new(status)))
            }
            Ok(Err(problem)) => {
                tracing::debug!(%node, %problem, "a node does not answer");
                Err(match problem {
                    Problem::NotAsked(_) => PeerError::Silent(node),
                    Problem::Late(_) | Problem::Status(_) => PeerError::Unanswered(node),
                })
            }
            // The control thread is about to end.
            Err(_ended) => Err(PeerError::Unanswered(node)),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("it cannot be reached: {0}")]
    NotAsked(String),
    #[error("it was asked: {0}")]
    Late(Elapsed),
    #[error("it was asked: {0}")]
    Status(Status),
}

async fn connect(address: String) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let endpoint = endpoint.map_err(|error| error.to_string())?;
    let channel = endpoint.connect_timeout(LOOK_PATIENCE).connect().await;
    channel.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use forebay_format::ReplicaId;
    use forebay_proto::v1;
    use forebay_replication::metadata::Incarnation;
    use tokio::net::TcpListener;
    use tokio::sync::watch;

    use super::*;
    use crate::leadership::{ClusterView, NodeRecord};

    const OTHER: NodeId = NodeId::new(2);

    /// Orders a node at this address to do something.
    async fn order(address: String) -> PeerError {
        let record = NodeRecord {
            address,
            shard_addresses: vec![],
            incarnation: Incarnation::new(1),
            version: String::new(),
            directory: ReplicaId::from_u128(0),
        };
        let view = ClusterView { nodes: [(OTHER, record)].into(), ..ClusterView::default() };
        let (_view, watch) = watch::channel(Arc::new(view));
        let (_board, health) = HealthWatch::new();
        let peers = Peers::new(NodeId::new(1), watch, health, Handle::current());
        let (request, patience) =
            (v1::TransferLeaderRequest::default(), Duration::from_millis(500));
        let ordered = peers.ask((OTHER, patience), request, async |mut it, request| {
            it.transfer_leader(request).await
        });
        ordered.await.expect_err("nobody answers")
    }

    #[tokio::test]
    async fn node_that_was_asked_may_have_done_it_and_one_that_is_not_there_has_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        // Connections wait to be accepted, and are not.
        let error = order(address.clone()).await;
        assert!(matches!(error, PeerError::Unanswered(OTHER)), "{error}");
        drop(listener);
        let error = order(address).await;
        assert!(matches!(error, PeerError::Silent(OTHER)), "{error}");
    }
}
