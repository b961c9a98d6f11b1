//! The requests of a stream, as tonic decodes them.

use std::pin::Pin;
use std::task::{Context, Poll};

use forebay_proto::v1;
use futures_util::Stream;
use tonic::Streaming;

use super::request::Request;
use crate::grpc::status::Failure;

/// See the module.
pub(super) struct Input(Streaming<v1::ProduceRequest>);

impl Input {
    pub(super) fn new(requests: Streaming<v1::ProduceRequest>) -> Self {
        Self(requests)
    }

    /// The next request.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Request, Failure>>> {
        Pin::new(&mut self.0).poll_next(cx).map(|next| {
            next.map(|next| {
                next.map(Request::from).map_err(|status| Failure::from_transport(&status))
            })
        })
    }
}
