//! gRPC reflection, v1 and v1alpha, so that tools can call without the .proto files.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tokio::runtime::Handle;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic_reflection::server::Builder;
use tonic_reflection::server::v1::ServerReflectionServer as V1;
use tonic_reflection::server::v1alpha::ServerReflectionServer as V1Alpha;
use tower::Service;

use crate::bridge::WithControlRuntime;

/// Both versions as services of this shard.
pub(super) fn services(
    runtime: &Handle,
) -> (
    OnControl<V1<impl tonic_reflection::server::v1::ServerReflection>>,
    OnControl<V1Alpha<impl tonic_reflection::server::v1alpha::ServerReflection>>,
) {
    let builder = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(forebay_proto::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = builder().build_v1().expect("our own descriptors");
    let v1alpha = builder().build_v1alpha().expect("our own descriptors");
    let on_control = |runtime: &Handle| runtime.clone();
    (
        OnControl { runtime: on_control(runtime), service: v1 },
        OnControl { runtime: on_control(runtime), service: v1alpha },
    )
}

/// The library answers a stream in a tokio task of its own, which shards do not have.
#[derive(Debug, Clone)]
pub(super) struct OnControl<S> {
    runtime: Handle,
    service: S,
}

impl<S: NamedService> NamedService for OnControl<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for OnControl<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.service.call(request);
        Box::pin(WithControlRuntime::new(self.runtime.clone(), answer))
    }
}
