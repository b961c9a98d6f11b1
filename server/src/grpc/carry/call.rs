//! One call to another node: requests queue here, and its messages are read as they are asked for.
//! It knows nothing of what they mean.
//!
//! What queues is bounded by whoever sends: a produce stream by the bytes that its client may have in flight, a
//! consume stream by its partitions. A call has a connection of its own, so that a client that takes
//! nothing holds up nobody else.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use futures_util::future::LocalBoxFuture;
use http::{HeaderValue, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tonic::Status;

use super::way::{Destination, HOP};
use crate::grpc::chunks::Chunks;
use crate::grpc::frame::PREFIX_BYTES;
use crate::grpc::status::is_ours;
use crate::net::{PeerConnection, Piece, ResponseBody, StreamBody};
use crate::replication::Replicas;

/// A message of the other node. What it sends is far below this.
const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A call. Ends when it is dropped.
pub(in crate::grpc) struct Call {
    pub(in crate::grpc) to: Destination,
    queue: Rc<RefCell<Queue>>,
    state: State,
}

enum State {
    Opening(LocalBoxFuture<'static, Result<Response<Incoming>, String>>),
    Open(Messages),
    Ended,
}

/// What a call has ended with.
#[derive(Debug)]
pub(in crate::grpc) enum CallEnd {
    /// The other node ended it, and says why. It has answered everything that it took, and took nothing else.
    Said(Status),
    /// The way there broke, or it never came about; or the call ended in a way that proves nothing.
    Broken(String),
}

/// Which requests were not even begun to be sent when a call ended.
#[derive(Debug, Default)]
pub(in crate::grpc) struct Lost(VecDeque<u64>);

impl CallEnd {
    /// What a status says. Transports make such too, when a stream is reset or a node goes away: only one with our
    /// details proves that the service itself ended the call.
    fn of(status: Option<Status>) -> Self {
        match status {
            Some(status) if is_ours(&status) => Self::Said(status),
            Some(status) => Self::Broken(format!("the stream ended: {status}")),
            None => Self::Broken("the stream ended without a status".to_owned()),
        }
    }
}

impl Lost {
    /// Whether the other node cannot have seen the request of this token.
    pub(in crate::grpc) fn was_not_sent(&self, token: u64) -> bool {
        self.0.contains(&token)
    }
}

#[derive(Default)]
struct Queue {
    /// Pieces of requests; the first piece of a request bears its token.
    pieces: VecDeque<(Option<u64>, Piece)>,
    closed: bool,
    sender: Option<Waker>,
}

impl Call {
    /// Begins a call of `path`.
    pub(in crate::grpc) fn new(replicas: Replicas, to: Destination, path: &'static str) -> Self {
        let queue = Rc::<RefCell<Queue>>::default();
        let body = ResponseBody::stream(Requests(Rc::clone(&queue)));
        let opening = Box::pin(open(replicas, to, path, body));
        Self { to, queue, state: State::Opening(opening) }
    }

    /// Sends a request: its frame up to where the payload begins, and that.
    pub(in crate::grpc) fn send(
        &mut self,
        token: Option<u64>,
        head: Bytes,
        payload: impl IntoIterator<Item = Bytes>,
    ) {
        let mut payload = payload.into_iter();
        let mut queue = self.queue.borrow_mut();
        queue.pieces.push_back((token, head.chain(payload.next().unwrap_or_default())));
        queue.pieces.extend(payload.map(|piece| (None, Bytes::new().chain(piece))));
        if let Some(sender) = queue.sender.take() {
            sender.wake();
        }
    }

    /// Sends nothing behind what was sent.
    pub(in crate::grpc) fn end(&mut self) {
        let mut queue = self.queue.borrow_mut();
        queue.closed = true;
        if let Some(sender) = queue.sender.take() {
            sender.wake();
        }
    }

    /// The next message, without its prefix.
    pub(in crate::grpc) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, (CallEnd, Lost)>> {
        let end = loop {
            match &mut self.state {
                State::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(response) => match Status::from_header_map(response.headers()) {
                        Some(status) => break CallEnd::of(Some(status)),
                        None => self.state = State::Open(Messages::new(response.into_body())),
                    },
                    Err(problem) => break CallEnd::Broken(problem),
                },
                State::Open(messages) => match ready!(messages.poll_next(cx)) {
                    Ok(message) => return Poll::Ready(Ok(message)),
                    Err(end) => break end,
                },
                State::Ended => return Poll::Pending,
            }
        };
        Poll::Ready(Err((end, self.close())))
    }

    /// Gives the call up, and sends nothing more.
    pub(in crate::grpc) fn close(&mut self) -> Lost {
        self.state = State::Ended;
        self.end();
        let mut queue = self.queue.borrow_mut();
        Lost(queue.pieces.drain(..).filter_map(|(token, _)| token).collect())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.close();
    }
}

async fn open(
    replicas: Replicas,
    to: Destination,
    path: &'static str,
    body: ResponseBody,
) -> Result<Response<Incoming>, String> {
    let address = replicas.address(to.node, to.shard).await;
    let address = address.ok_or_else(|| format!("node {} is not there", to.node))?;
    let connection = PeerConnection::open(address).await;
    let mut connection = connection.map_err(|error| error.to_string())?;
    let hop = Some((HOP, HeaderValue::from_static("1")));
    let response = connection.call_with(path, hop, body).await;
    response.map_err(|error| error.to_string())
}

/// The messages in a response.
struct Messages {
    body: Pin<Box<dyn Body<Data = Bytes, Error = hyper::Error>>>,
    chunks: Chunks,
    /// Length of the message that comes next, once its prefix was read.
    length: Option<usize>,
}

impl Messages {
    fn new(body: impl Body<Data = Bytes, Error = hyper::Error> + 'static) -> Self {
        Self { body: Box::pin(body), chunks: Chunks::default(), length: None }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, CallEnd>> {
        loop {
            if let Some(message) = self.cut_out()? {
                return Poll::Ready(Ok(message));
            }
            let Some(frame) = ready!(self.body.as_mut().poll_frame(cx)) else {
                return Poll::Ready(Err(CallEnd::Broken("the stream broke".to_owned())));
            };
            let frame = frame.map_err(|error| CallEnd::Broken(error.to_string()))?;
            match frame.into_data() {
                Ok(data) => self.chunks.push(data),
                Err(frame) => {
                    let trailers = frame.trailers_ref();
                    let status = trailers.and_then(Status::from_header_map);
                    return Poll::Ready(Err(CallEnd::of(status)));
                }
            }
        }
    }

    #[expect(clippy::big_endian_bytes, reason = "gRPC says so")]
    fn cut_out(&mut self) -> Result<Option<Bytes>, CallEnd> {
        let length = match self.length {
            Some(length) => length,
            None if self.chunks.len() < PREFIX_BYTES => return Ok(None),
            None => {
                let mut prefix = [0; PREFIX_BYTES];
                self.chunks.copy_to(&mut prefix);
                let [compressed, length @ ..] = prefix;
                let length = u32::from_be_bytes(length) as usize;
                if compressed != 0 || length > MESSAGE_BYTES_MAX {
                    let problem = format!("a message of {length} bytes, compressed: {compressed}");
                    return Err(CallEnd::Broken(problem));
                }
                *self.length.insert(length)
            }
        };
        if self.chunks.len() < length {
            return Ok(None);
        }
        self.length = None;
        Ok(Some(self.chunks.take_together(length)))
    }
}

/// The request that carries what is queued.
struct Requests(Rc<RefCell<Queue>>);

impl StreamBody for Requests {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Piece>>> {
        let mut queue = self.0.borrow_mut();
        match queue.pieces.pop_front() {
            Some((_, piece)) => Poll::Ready(Some(Frame::data(piece))),
            None if queue.closed => Poll::Ready(None),
            None => {
                queue.sender = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// The other node of a call, in tests.
#[cfg(test)]
pub(in crate::grpc) mod testing {
    use super::*;
    use crate::grpc::frame;

    /// What the other node sends.
    #[derive(Clone, Default)]
    pub(in crate::grpc) struct Other(Rc<RefCell<Sent>>);

    #[derive(Default)]
    struct Sent {
        frames: VecDeque<Frame<Bytes>>,
        ended: bool,
        reader: Option<Waker>,
    }

    impl Other {
        /// A call to it that is open.
        pub(in crate::grpc) fn call(&self, to: Destination) -> Call {
            let state = State::Open(Messages::new(self.clone()));
            Call { to, queue: Rc::default(), state }
        }

        pub(in crate::grpc) fn says(&self, message: &impl prost::Message) {
            let mut bytes = bytes::BytesMut::new();
            let start = frame::begin_message(&mut bytes);
            message.encode(&mut bytes).expect("a buffer grows as it needs to");
            frame::end_message(&mut bytes, start, 0);
            self.frame(Frame::data(bytes.freeze()));
        }

        /// Ends the call. `None`: it breaks.
        pub(in crate::grpc) fn ends(&self, trailers: Option<http::HeaderMap>) {
            self.0.borrow_mut().ended = true;
            match trailers {
                Some(trailers) => self.frame(Frame::trailers(trailers)),
                None => self.wake(),
            }
        }

        fn frame(&self, frame: Frame<Bytes>) {
            self.0.borrow_mut().frames.push_back(frame);
            self.wake();
        }

        fn wake(&self) {
            if let Some(reader) = self.0.borrow_mut().reader.take() {
                reader.wake();
            }
        }
    }

    impl Body for Other {
        type Data = Bytes;
        type Error = hyper::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
            let mut sent = self.0.borrow_mut();
            match sent.frames.pop_front() {
                Some(frame) => Poll::Ready(Some(Ok(frame))),
                None if sent.ended => Poll::Ready(None),
                None => {
                    sent.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::task::noop_waker_ref;
    use http::HeaderMap;
    use tonic::Code;

    use super::testing::Other;
    use super::*;
    use crate::grpc::status::{Failure, Refusal};

    #[test]
    fn only_a_status_with_our_details_says_that_the_rest_was_not_taken() {
        let to = Destination { node: forebay_format::NodeId::new(2), shard: 0 };
        let trailers = |status: Status| {
            let mut trailers = HeaderMap::new();
            status.add_header(&mut trailers).expect("headers");
            trailers
        };
        let ours = trailers(Failure::from(Refusal::Stopping).into_status());
        for (ends_with, said) in [
            (None, false),
            (Some(HeaderMap::new()), false),
            (Some(trailers(Status::new(Code::Ok, ""))), false),
            (Some(trailers(Status::cancelled("reset"))), false),
            (Some(trailers(Status::unavailable("going away"))), false),
            (Some(ours), true),
        ] {
            let other = Other::default();
            let mut call = other.call(to);
            other.ends(ends_with.clone());
            let cx = &mut Context::from_waker(noop_waker_ref());
            let Poll::Ready(Err((end, _))) = call.poll_message(cx) else { panic!("{ends_with:?}") };
            assert_eq!(matches!(end, CallEnd::Said(_)), said, "{ends_with:?}");
            assert!(call.poll_message(cx).is_pending());
        }
    }

    #[test]
    fn request_that_was_begun_may_have_been_seen_and_one_behind_it_was_not() {
        let queue = Rc::<RefCell<Queue>>::default();
        let to = Destination { node: forebay_format::NodeId::new(2), shard: 0 };
        let mut call = Call { to, queue: Rc::clone(&queue), state: State::Ended };
        let payload = || [Bytes::from_static(b"p"), Bytes::from_static(b"q")];
        call.send(Some(7), Bytes::from_static(b"head"), payload());
        call.send(Some(8), Bytes::from_static(b"head"), payload());
        let mut requests = Requests(queue);
        let cx = &mut Context::from_waker(noop_waker_ref());
        let Poll::Ready(Some(frame)) = requests.poll_frame(cx) else { panic!("a piece") };
        let mut piece = frame.into_data().expect("data");
        assert_eq!(piece.copy_to_bytes(piece.remaining())[..], *b"headp");
        let lost = call.close();
        assert!(!lost.was_not_sent(7) && lost.was_not_sent(8));
        assert!(matches!(requests.poll_frame(cx), Poll::Ready(None)), "the rest is not sent");
    }
}
