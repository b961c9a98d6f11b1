//! From the path of a request to the service that answers it.

use std::rc::Rc;

use forebay_proto::v1::cluster_service_server::ClusterServiceServer;
use forebay_proto::v1::consumer_service_server::ConsumerServiceServer;
use forebay_proto::v1::producer_service_server::ProducerServiceServer;
use http::{Request, Response};
use hyper::body::Incoming;
use send_wrapper::SendWrapper;
use tokio::runtime::Handle;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

use super::cluster::ClusterApi;
use super::connection::InFlightBytes;
use super::consume::ConsumerApi;
use super::health::Health;
use super::produce::ProducerApi;
use super::reflection;
use super::services::Services;
use crate::net::{Handler, ResponseBody};

/// Services that a stopping node does not wait for: their streams have no end of their own.
const NOT_WAITED_FOR: &str = "/grpc.";

/// All services of a shard. Makes a handler for each connection.
pub(crate) struct Router {
    services: Rc<Services>,
    routes: Routes,
}

impl Router {
    /// `runtime` is the control thread's.
    pub(crate) fn new(services: Rc<Services>, health: &Health, runtime: &Handle) -> Self {
        let (reflection, reflection_alpha) = reflection::services(runtime);
        let routes = Routes::new(ClusterServiceServer::new(ClusterApi::new(services.clone())))
            .add_service(ProducerServiceServer::new(ProducerApi::new(services.clone())))
            .add_service(ConsumerServiceServer::new(ConsumerApi::new(services.clone())))
            .add_service(health.service())
            .add_service(reflection)
            .add_service(reflection_alpha)
            .prepare();
        Self { services, routes }
    }

    /// What answers the requests of one connection.
    pub(crate) fn connection(&self) -> impl Handler + use<> {
        let limit = self.services.facts.config.network.in_flight_per_connection;
        Connection {
            services: self.services.clone(),
            routes: self.routes.clone(),
            in_flight: InFlightBytes::new(limit.as_usize()),
        }
    }
}

struct Connection {
    services: Rc<Services>,
    routes: Routes,
    in_flight: InFlightBytes,
}

impl Handler for Connection {
    async fn handle(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let path = request.uri().path();
        let open = (!path.starts_with(NOT_WAITED_FOR)).then(|| self.services.open_requests.begin());
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(SendWrapper::new(self.in_flight.clone()));
        let answer = self.routes.clone().call(request).await;
        let response = answer.unwrap_or_else(|never: std::convert::Infallible| match never {});
        response.map(|body| ResponseBody::tonic(body).holding(open))
    }
}
