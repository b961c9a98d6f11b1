//! `ReplicationService.Heartbeat` (R15): that a shard of this node answers is all there is to say.

use std::rc::Rc;

use forebay_proto::v1;
use forebay_proto::v1::replication_service_server::ReplicationService;
use futures_util::stream::Pending;
use send_wrapper::SendWrapper;
use tonic::{Request, Response, Status, Streaming};

use super::services::Services;
use super::status::{Failure, Refusal};

/// The service of one shard.
pub(super) struct HeartbeatApi(SendWrapper<Rc<Services>>);

impl HeartbeatApi {
    pub(super) fn new(services: Rc<Services>) -> Self {
        Self(SendWrapper::new(services))
    }
}

#[tonic::async_trait]
impl ReplicationService for HeartbeatApi {
    type ReplicateStream = Pending<Result<v1::ReplicateResponse, Status>>;

    /// Where there are replicas, the router has taken the call before.
    async fn replicate(
        &self,
        _: Request<Streaming<v1::ReplicateRequest>>,
    ) -> Result<Response<Self::ReplicateStream>, Status> {
        Err(Failure::from(Refusal::Alone).into_status())
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatResponse>, Status> {
        let hello = request.into_inner().hello.unwrap_or_default();
        match self.0.greet(&hello) {
            Ok(_) => Ok(Response::new(v1::HeartbeatResponse {})),
            Err(refusal) => Err(Failure::from(refusal).into_status()),
        }
    }
}
