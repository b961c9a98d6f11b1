//! One stream: what has come is taken, and handed to the replicas.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use forebay_format::NodeId;
use http_body::{Body, Frame};
use hyper::body::Incoming;

use super::request::{Request, Requests};
use crate::grpc::frame;
use crate::grpc::services::Services;
use crate::grpc::status::Failure;
use crate::net::{Piece, StreamBody};

/// Bytes of requests that one turn takes before others have theirs.
const BYTES_PER_TURN: usize = 1024 * 1024;

/// See the module.
pub(in crate::grpc) struct ReplicateSession {
    services: Rc<Services>,
    body: Incoming,
    requests: Requests,
    /// Who sends, once it has said so.
    from: Option<NodeId>,
    ended: bool,
}

impl ReplicateSession {
    pub(in crate::grpc) fn new(services: Rc<Services>, body: Incoming) -> Self {
        Self { services, body, requests: Requests::default(), from: None, ended: false }
    }

    /// Takes what has come. Ready when the stream is to end.
    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let mut taken = 0;
        loop {
            while let Some(request) = self.requests.next()? {
                self.take(request)?;
            }
            if taken >= BYTES_PER_TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        taken += data.len();
                        self.requests.push(data);
                    }
                }
                Some(Err(_)) | None => return Poll::Ready(Ok(())),
            }
        }
    }

    fn take(&mut self, request: Request) -> Result<(), Failure> {
        let Request { hello, message, batches } = request;
        if let Some(hello) = hello {
            self.from = Some(self.services.greet(&hello)?);
        }
        if let (Some(from), Some(message)) = (self.from, message)
            && let Some(replicas) = &self.services.replicas
        {
            replicas.receive(from, message, batches);
        }
        Ok(())
    }
}

impl StreamBody for ReplicateSession {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Piece>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let result = ready!(self.poll_requests(cx));
        self.ended = true;
        Poll::Ready(Some(frame::trailers(result.err())))
    }
}
