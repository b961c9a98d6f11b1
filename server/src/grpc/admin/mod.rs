//! `AdminService`: what the people who run a cluster see of it, and tell it to do. Any node answers about the
//! whole cluster.
//!
//! ```text
//! look      health, info, members, events     findings  what all nodes say, gathered for them
//! order     leaders moved, metadata confirmed status    what this node says of itself
//! ```

mod findings;
mod look;
mod order;
mod status;

use std::rc::Rc;

use forebay_proto::v1;
use forebay_proto::v1::admin_service_server::AdminService;
use send_wrapper::SendWrapper;
use tonic::{Request, Response, Status};

use super::services::Services;
use super::status::Failure;
use crate::operations::HOP;

/// The service of one shard. Never leaves the shard, whatever the generated code asks for.
pub(super) struct AdminApi(SendWrapper<Rc<Services>>);

/// Why a call was refused: by this node, or by another one whose words these are.
#[derive(Debug)]
pub(super) struct Refused(Box<Status>);

impl<F: Into<Failure>> From<F> for Refused {
    fn from(failure: F) -> Self {
        Self(Box::new(failure.into().into_status()))
    }
}

/// How a call came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    FromClient,
    /// Another node has carried it here. It is carried no further.
    FromNode,
}

impl AdminApi {
    pub(super) fn new(services: Rc<Services>) -> Self {
        Self(SendWrapper::new(services))
    }

    /// Runs a call on this shard.
    async fn answer<Q, A>(
        &self,
        request: Request<Q>,
        call: impl AsyncFnOnce(&Services, Q, Came) -> Result<A, Refused>,
    ) -> Result<Response<A>, Status> {
        let services = self.0.clone();
        let hop = request.metadata().contains_key(HOP);
        let came = if hop { Came::FromNode } else { Came::FromClient };
        SendWrapper::new(async move {
            let answer = call(&services, request.into_inner(), came).await;
            answer.map(Response::new).map_err(|refused| *refused.0)
        })
        .await
    }
}

#[tonic::async_trait]
impl AdminService for AdminApi {
    async fn get_health(
        &self,
        request: Request<v1::GetHealthRequest>,
    ) -> Result<Response<v1::GetHealthResponse>, Status> {
        self.answer(request, async |services, _, _| Ok(look::health(services).await)).await
    }

    async fn get_info(
        &self,
        request: Request<v1::GetInfoRequest>,
    ) -> Result<Response<v1::GetInfoResponse>, Status> {
        self.answer(request, async |services, _, _| Ok(look::info(services))).await
    }

    async fn list_members(
        &self,
        request: Request<v1::ListMembersRequest>,
    ) -> Result<Response<v1::ListMembersResponse>, Status> {
        self.answer(request, async |services, _, _| Ok(look::members(services).await)).await
    }

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        self.answer(request, async |services, asked, _| Ok(look::events(services, &asked).await))
            .await
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        self.answer(request, order::transfer_leader).await
    }

    async fn force_leader(
        &self,
        request: Request<v1::ForceLeaderRequest>,
    ) -> Result<Response<v1::ForceLeaderResponse>, Status> {
        self.answer(request, order::force_leader).await
    }

    async fn confirm_metadata(
        &self,
        request: Request<v1::ConfirmMetadataRequest>,
    ) -> Result<Response<v1::ConfirmMetadataResponse>, Status> {
        self.answer(request, order::confirm_metadata).await
    }

    async fn get_node_status(
        &self,
        request: Request<v1::GetNodeStatusRequest>,
    ) -> Result<Response<v1::GetNodeStatusResponse>, Status> {
        self.answer(request, async |services, _, _| Ok(status::own(services).await)).await
    }
}
