//! What a response is made of.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

/// Any response. The guard is dropped with it, that is when the request is over.
pub(crate) struct ResponseBody {
    content: tonic::body::Body,
    /// Kept for what happens when it is dropped.
    guard: Option<Box<dyn Any>>,
}

impl ResponseBody {
    /// What tonic's generated code answers.
    pub(crate) fn tonic(content: tonic::body::Body) -> Self {
        Self { content, guard: None }
    }

    /// Keeps `guard` until the response is over.
    #[must_use]
    pub(crate) fn holding(mut self, guard: impl Any) -> Self {
        self.guard = Some(Box::new(guard));
        self
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.content).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseBody")
    }
}
