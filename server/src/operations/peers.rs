//! Asking other nodes what only they know, and having them do what only they can. Shards ask; the calls run on
//! the control thread.

use std::collections::BTreeSet;
use std::time::Duration;

use forebay_format::NodeId;
use forebay_proto::v1::admin_service_client::AdminServiceClient;
use tokio::runtime::Handle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use super::health::HealthWatch;
use crate::leadership::ClusterWatch;

/// How long a node may take to say something of itself.
pub(crate) const LOOK_PATIENCE: Duration = Duration::from_secs(2);

/// How long a node may take to do something.
pub(crate) const ORDER_PATIENCE: Duration = Duration::from_secs(15);

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
    /// Not in time, or nobody is there.
    #[error("node {0} does not answer")]
    Silent(NodeId),
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
            let endpoint = Endpoint::from_shared(format!("http://{address}"));
            let endpoint = endpoint.map_err(|error| Status::unavailable(error.to_string()))?;
            let channel = endpoint.connect_timeout(LOOK_PATIENCE).connect_lazy();
            let mut request = Request::new(question);
            request.metadata_mut().insert(HOP, own.into());
            let asked =
                tokio::time::timeout(patience, call(AdminServiceClient::new(channel), request));
            asked.await.map_err(|elapsed| Status::unavailable(elapsed.to_string()))?
        });
        match asked.await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            // What a node of ours refuses has details; what broke on the way has none.
            Ok(Err(status)) if !status.details().is_empty() => {
                Err(PeerError::Refused(Box::new(status)))
            }
            Ok(Err(status)) => {
                tracing::debug!(%node, %status, "a node does not answer");
                Err(PeerError::Silent(node))
            }
            Err(_ended) => Err(PeerError::Silent(node)),
        }
    }
}
