//! The requests of a stream, cut out of the frames of its body.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::Body;
use hyper::body::Incoming;

use super::request::{Messages, Request};
use crate::grpc::connection::UnfinishedBytes;
use crate::grpc::status::Refusal;

/// See the module.
pub(super) struct Input {
    body: Incoming,
    messages: Messages,
    unfinished: UnfinishedBytes,
    ended: bool,
}

impl Input {
    pub(super) fn new(body: Incoming, unfinished: UnfinishedBytes) -> Self {
        Self { body, messages: Messages::default(), unfinished, ended: false }
    }

    /// Bytes that the last request took on the wire.
    #[inline]
    pub(super) fn request_bytes(&self) -> usize {
        self.messages.last_bytes()
    }

    /// The next request.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Request, Refusal>>> {
        loop {
            match self.messages.next() {
                Err(refusal) => return Poll::Ready(Some(Err(refusal))),
                Ok(Some(request)) => return Poll::Ready(Some(Ok(request))),
                Ok(None) => {}
            }
            let left = self.messages.unfinished_bytes();
            if let Err(refusal) = self.unfinished.set(left) {
                return Poll::Ready(Some(Err(refusal)));
            }
            if self.ended {
                let cut_off = (left > 0).then(|| Refusal::Request {
                    field: "message",
                    message: format!("the stream ended {left} bytes into a message"),
                });
                return Poll::Ready(cut_off.map(Err));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.messages.push(data);
                    }
                }
                // A client that is gone needs no answer.
                Some(Err(_)) | None => self.ended = true,
            }
        }
    }
}
