//! The service as the generated code calls it.

use std::pin::Pin;
use std::rc::Rc;

use forebay_proto::v1;
use forebay_proto::v1::producer_service_server::ProducerService;
use futures_util::Stream;
use send_wrapper::SendWrapper;
use tonic::{Request, Response, Status, Streaming};

use super::session::Session;
use crate::grpc::connection::InFlightBytes;
use crate::grpc::services::Services;

/// The service of one shard. Never leaves the shard, whatever the generated code asks for.
pub(in crate::grpc) struct ProducerApi(SendWrapper<Rc<Services>>);

impl ProducerApi {
    pub(in crate::grpc) fn new(services: Rc<Services>) -> Self {
        Self(SendWrapper::new(services))
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<v1::ProduceResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ProducerService for ProducerApi {
    type ProduceStream = Responses;

    async fn produce(
        &self,
        request: Request<Streaming<v1::ProduceRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let (_, extensions, requests) = request.into_parts();
        let in_flight = extensions.get::<SendWrapper<InFlightBytes>>();
        let in_flight = in_flight.expect("the router gives every request its connection's").clone();
        let session = Session::new((*self.0).clone(), in_flight.take(), requests);
        Ok(Response::new(Box::pin(SendWrapper::new(session))))
    }
}
