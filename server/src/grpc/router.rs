//! From the path of a request to the service that answers it.

use std::convert::Infallible;
use std::rc::Rc;

use forebay_proto::v1::admin_service_server::AdminServiceServer;
use forebay_proto::v1::cluster_service_server::ClusterServiceServer;
use forebay_proto::v1::fault_service_server::FaultServiceServer;
use forebay_proto::v1::replication_service_server::ReplicationServiceServer;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service;

use super::admin::AdminApi;
use super::carry::Carrying;
use super::cluster::ClusterApi;
use super::connection::ConnectionUse;
use super::consume::{CONSUME, ConsumeSession};
use super::fault::FaultApi;
use super::frame;
use super::health::Health;
use super::heartbeat::HeartbeatApi;
use super::produce::{PRODUCE, ProduceSession};
use super::reflection;
use super::replicate::ReplicateSession;
use super::services::Services;
use super::status::Failure;
use crate::net::{Handler, ResponseBody};

/// Between nodes. Like the two calls that carry records, it takes and gives its bytes without the generated
/// code.
const REPLICATE: &str = "/forebay.v1.ReplicationService/Replicate";

/// Services that are the same everywhere. A stopping node does not wait for them: their streams have no
/// end of their own.
const STANDARD: &str = "/grpc.";

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
            .add_service(AdminServiceServer::new(AdminApi::new(services.clone())))
            .add_service(ReplicationServiceServer::new(HeartbeatApi::new(services.clone())))
            .add_service(health.service())
            .add_service(reflection)
            .add_service(reflection_alpha);
        let routes = match &services.facts.faults {
            Some(faults) => {
                let api = FaultApi::new(services.clone(), faults.clone());
                routes.add_service(FaultServiceServer::new(api))
            }
            None => routes,
        };
        Self { services, routes: routes.prepare() }
    }

    /// What answers the requests of one connection.
    pub(crate) fn connection(&self) -> impl Handler + use<> {
        let limit = self.services.facts.config.network.in_flight_per_connection;
        Connection {
            services: self.services.clone(),
            routes: self.routes.clone(),
            used: ConnectionUse::new(limit.as_usize()),
        }
    }
}

struct Connection {
    services: Rc<Services>,
    routes: Routes,
    used: ConnectionUse,
}

impl Handler for Connection {
    async fn handle(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let path = request.uri().path();
        let path_is_ours = !path.starts_with(STANDARD);
        let is_awaited = path_is_ours && path != REPLICATE;
        let open = is_awaited.then(|| self.services.open_requests.begin());
        let carrying = Carrying::of(request.headers(), &self.services);
        let response = match path {
            PRODUCE if is_grpc(&request) => {
                let requests = request.into_body();
                let services = self.services.clone();
                frame::response(ProduceSession::new(services, &self.used, carrying, requests))
            }
            REPLICATE if is_grpc(&request) && self.services.replicas.is_some() => {
                frame::response(ReplicateSession::new(self.services.clone(), request.into_body()))
            }
            CONSUME if is_grpc(&request) => {
                let services = self.services.clone();
                frame::response(ConsumeSession::new(services, carrying, request.into_body()))
            }
            _ => {
                let answer = self.routes.clone().call(request.map(Body::new)).await;
                let answer = answer.unwrap_or_else(|never: Infallible| match never {});
                if path_is_ours { with_reason(answer) } else { answer }.map(ResponseBody::tonic)
            }
        };
        response.map(|body| body.holding(open))
    }
}

/// Gives the reason of ours to what tonic refuses by itself: unknown calls, and messages that are too
/// large or no protobuf.
fn with_reason(answer: Response<Body>) -> Response<Body> {
    match Status::from_header_map(answer.headers()) {
        Some(status) if status.code() != Code::Ok && status.details().is_empty() => {
            Failure::from_transport(&status).into_status().into_http()
        }
        _ => answer,
    }
}

/// Whether it is a gRPC request at all. What is not, tonic refuses.
fn is_grpc<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(http::header::CONTENT_TYPE);
    request.method() == http::Method::POST
        && content_type.is_some_and(|value| is_grpc_type(value.as_bytes()))
}

/// `application/grpc` with or without a format or parameters. `application/grpc-web` is another protocol.
fn is_grpc_type(content_type: &[u8]) -> bool {
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_web_is_not_grpc() {
        for right in ["application/grpc", "application/grpc+proto", "application/grpc;x=y"] {
            assert!(is_grpc_type(right.as_bytes()), "{right}");
        }
        for wrong in ["application/grpc-web", "application/grpc-web+proto", "application/json", ""]
        {
            assert!(!is_grpc_type(wrong.as_bytes()), "{wrong}");
        }
    }
}
