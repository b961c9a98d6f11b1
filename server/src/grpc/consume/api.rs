//! The service as the generated code calls it.

use std::pin::Pin;
use std::rc::Rc;

use forebay_proto::v1;
use forebay_proto::v1::consumer_service_server::ConsumerService;
use futures_util::Stream;
use send_wrapper::SendWrapper;
use tonic::{Request, Response, Status, Streaming};

use super::session::Session;
use crate::grpc::services::Services;

/// The service of one shard. Never leaves the shard, whatever the generated code asks for.
pub(in crate::grpc) struct ConsumerApi(SendWrapper<Rc<Services>>);

impl ConsumerApi {
    pub(in crate::grpc) fn new(services: Rc<Services>) -> Self {
        Self(SendWrapper::new(services))
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<v1::ConsumeResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ConsumerService for ConsumerApi {
    type ConsumeStream = Responses;

    async fn consume(
        &self,
        request: Request<Streaming<v1::ConsumeRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let session = Session::new((*self.0).clone(), request.into_inner());
        Ok(Response::new(Box::pin(SendWrapper::new(session))))
    }
}
