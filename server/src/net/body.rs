//! What a response is made of: either what tonic encoded, or a stream of our own whose payload goes to
//! the socket as it is.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::buf::Chain;
use bytes::{Buf, Bytes};
use http_body::{Body, Frame};
use tonic::Status;

/// A piece of a response: something that was made for it, and a payload that was there already. Both go
/// out with one vectored write, without being put together first.
pub(crate) type Piece = Chain<Bytes, Bytes>;

/// A response that makes its own pieces. Its last frame holds the trailers.
pub(crate) trait StreamBody {
    /// The next frame.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Piece>>>;
}

/// Any response. The guard is dropped with it, that is when the request is over.
pub(crate) struct ResponseBody {
    content: Content,
    /// Kept for what happens when it is dropped.
    guard: Option<Box<dyn Any>>,
}

enum Content {
    Tonic(tonic::body::Body),
    Stream(Box<dyn StreamBody>),
}

impl ResponseBody {
    /// What tonic's generated code answers.
    pub(crate) fn tonic(body: tonic::body::Body) -> Self {
        Self { content: Content::Tonic(body), guard: None }
    }

    /// A stream of our own.
    pub(crate) fn stream(body: impl StreamBody + 'static) -> Self {
        Self { content: Content::Stream(Box::new(body)), guard: None }
    }

    /// Keeps `guard` until the response is over.
    #[must_use]
    pub(crate) fn holding(mut self, guard: impl Any) -> Self {
        self.guard = Some(Box::new(guard));
        self
    }
}

impl Body for ResponseBody {
    type Data = Piece;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Status>>> {
        match &mut self.content {
            Content::Tonic(body) => {
                let alone = |data: Bytes| data.chain(Bytes::new());
                let next = Pin::new(body).poll_frame(cx);
                next.map(|next| next.map(|frame| frame.map(|frame| frame.map_data(alone))))
            }
            Content::Stream(body) => body.poll_frame(cx).map(|next| next.map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Tonic(body) => body.is_end_stream(),
            Content::Stream(_) => false,
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseBody")
    }
}
