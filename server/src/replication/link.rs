//! The way to the replicas on one shard of another node: messages queue here and leave on one stream.
//!
//! ```text
//!            stream begun                  stream broke
//!  down ────────────────▶ up ──────────────────────────▶ down
//!    ▲ └── not begun: again after a while, longer each time ┘
//! ```
//!
//! A message that is sent while the way is down is lost, as is what had queued when it broke; the
//! protocol expects that, and is told that the peer is lost.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use forebay_format::NodeId;
use forebay_proto::v1;
use http_body::Frame;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use smallvec::SmallVec;

use crate::net::{Piece, StreamBody, begin_message, end_message};

/// Queued bytes from which on whoever sends batches waits.
const ROOM_BYTES: usize = 4 * 1024 * 1024;

/// Queued bytes from which on messages are dropped: the other side takes nothing.
const QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a message counts for besides its bytes.
const OVERHEAD_BYTES: usize = 128;

/// Field numbers of `ReplicateRequest`.
const MESSAGE_FIELD: u32 = 2;
const BATCHES_FIELD: u32 = 3;

/// What a message is sent with: batches as they are stored.
pub(super) type Batches = SmallVec<[Bytes; 4]>;

/// A shard of another node, and which of the two ways there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Destination {
    pub(super) node: NodeId,
    /// Index among the node's shards.
    pub(super) shard: u32,
    /// R14: replicas that catch up have a way of their own, so that they do not hold up the others.
    pub(super) catching_up: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) to: Destination,
    queue: RefCell<Queue>,
    up: Cell<bool>,
    /// How often a stream was begun. One that broke must not take what is meant for the next.
    streams: Cell<u64>,
}

#[derive(Default)]
struct Queue {
    pieces: VecDeque<Piece>,
    bytes: usize,
    sender: Option<Waker>,
    waiting: Vec<Waker>,
}

impl Link {
    /// A way that is not open yet. What is sent before it is waits.
    pub(super) fn new(to: Destination) -> Self {
        Self { to, queue: RefCell::default(), up: Cell::new(true), streams: Cell::new(0) }
    }

    /// Queues a message and the batches that go with it.
    pub(super) fn send(&self, message: &v1::PeerMessage, batches: Batches) {
        let mut queue = self.queue.borrow_mut();
        if !self.up.get() || queue.bytes > QUEUE_BYTES_MAX {
            return;
        }
        let batch_bytes: usize = batches.iter().map(Bytes::len).sum();
        let mut head = BytesMut::with_capacity(OVERHEAD_BYTES);
        let start = begin_message(&mut head);
        encode_key(MESSAGE_FIELD, WireType::LengthDelimited, &mut head);
        encode_varint(message.encoded_len() as u64, &mut head);
        message.encode_raw(&mut head);
        if batch_bytes > 0 {
            encode_key(BATCHES_FIELD, WireType::LengthDelimited, &mut head);
            encode_varint(batch_bytes as u64, &mut head);
        }
        end_message(&mut head, start, batch_bytes);
        queue.push(head.freeze(), batches);
    }

    /// Waits until the queue is short, or nothing goes out at all.
    pub(super) async fn room(&self) {
        poll_fn(|cx| {
            let mut queue = self.queue.borrow_mut();
            if queue.bytes < ROOM_BYTES || !self.up.get() {
                return Poll::Ready(());
            }
            queue.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Takes messages again.
    pub(super) fn open(&self) {
        self.up.set(true);
    }

    /// A stream for what queues, which begins with `hello`.
    pub(super) fn stream(self: &Rc<Self>, hello: &v1::ReplicateRequest) -> impl StreamBody + use<> {
        let mut head = BytesMut::new();
        let start = begin_message(&mut head);
        hello.encode_raw(&mut head);
        end_message(&mut head, start, 0);
        let piece = head.freeze().chain(Bytes::new());
        let mut queue = self.queue.borrow_mut();
        queue.bytes += piece.remaining();
        queue.pieces.push_front(piece);
        self.streams.set(self.streams.get() + 1);
        Outgoing { link: Rc::clone(self), stream: self.streams.get() }
    }

    /// Drops everything that has queued, and takes no more.
    pub(super) fn close(&self) {
        self.up.set(false);
        let mut queue = self.queue.borrow_mut();
        queue.pieces.clear();
        queue.bytes = 0;
        queue.waiting.drain(..).for_each(Waker::wake);
    }
}

impl Queue {
    fn push(&mut self, head: Bytes, batches: Batches) {
        self.bytes += head.len() + batches.iter().map(Bytes::len).sum::<usize>();
        let mut batches = batches.into_iter();
        self.pieces.push_back(head.chain(batches.next().unwrap_or_default()));
        let alone = |piece: Bytes| Bytes::new().chain(piece);
        self.pieces.extend(batches.map(alone));
        if let Some(sender) = self.sender.take() {
            sender.wake();
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// The request that carries what is queued.
struct Outgoing {
    link: Rc<Link>,
    stream: u64,
}

impl StreamBody for Outgoing {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Piece>>> {
        if !self.link.up.get() || self.link.streams.get() != self.stream {
            return Poll::Ready(None);
        }
        let mut queue = self.link.queue.borrow_mut();
        let Some(piece) = queue.pieces.pop_front() else {
            queue.sender = Some(cx.waker().clone());
            return Poll::Pending;
        };
        queue.bytes -= piece.remaining();
        if queue.bytes < ROOM_BYTES {
            queue.waiting.drain(..).for_each(Waker::wake);
        }
        Poll::Ready(Some(Frame::data(piece)))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use bytes::BufMut;
    use futures_util::task::noop_waker_ref;

    use super::*;
    use crate::replication::testing::Wakes;

    fn link() -> Rc<Link> {
        let to = Destination { node: NodeId::new(2), shard: 1, catching_up: false };
        Rc::new(Link::new(to))
    }

    fn message(epoch: u64) -> v1::PeerMessage {
        v1::PeerMessage { topic_id: vec![5; 16].into(), partition: 4, epoch, message: None }
    }

    fn hello(from_node: u32) -> v1::ReplicateRequest {
        let hello = v1::PeerHello { from_node, ..v1::PeerHello::default() };
        v1::ReplicateRequest { hello: Some(hello), ..Default::default() }
    }

    /// Batches of so many bytes each.
    fn batches(bytes: &[usize]) -> Batches {
        bytes.iter().map(|bytes| Bytes::from(vec![7; *bytes])).collect()
    }

    fn poll(stream: &mut impl StreamBody) -> Poll<Option<Frame<Piece>>> {
        stream.poll_frame(&mut Context::from_waker(noop_waker_ref()))
    }

    /// The pieces that are there to be sent.
    fn pieces(stream: &mut impl StreamBody) -> Vec<Piece> {
        let mut found = Vec::new();
        while let Poll::Ready(Some(frame)) = poll(stream) {
            found.push(frame.into_data().expect("a request has no trailers"));
        }
        found
    }

    /// The same, as the other side reads them.
    #[expect(clippy::big_endian_bytes, reason = "gRPC says so")]
    fn requests(stream: &mut impl StreamBody) -> Vec<v1::ReplicateRequest> {
        let mut bytes = BytesMut::new();
        for piece in pieces(stream) {
            bytes.put(piece);
        }
        let (mut bytes, mut found) = (bytes.freeze(), Vec::new());
        while !bytes.is_empty() {
            assert_eq!(bytes.get_u8(), 0, "not compressed");
            let length = u32::from_be_bytes(bytes.split_to(4)[..].try_into().expect("four"));
            let request = bytes.split_to(length as usize);
            found.push(v1::ReplicateRequest::decode(request).expect("a request"));
        }
        found
    }

    fn epochs(requests: &[v1::ReplicateRequest]) -> Vec<u64> {
        requests.iter().filter_map(|request| Some(request.message.as_ref()?.epoch)).collect()
    }

    #[test]
    fn a_stream_begins_with_its_hello_and_keeps_the_order() {
        let link = link();
        link.send(&message(1), Batches::new());
        let mut stream = link.stream(&hello(1));
        link.send(&message(2), batches(&[10, 0, 2000]));
        link.send(&message(3), Batches::new());
        let sent = requests(&mut stream);
        assert_eq!(sent[0], hello(1));
        assert_eq!(epochs(&sent), [1, 2, 3]);
        assert!(sent[1..].iter().all(|request| request.hello.is_none()));
        let batch_bytes: Vec<_> = sent.iter().map(|request| request.batches.len()).collect();
        assert_eq!(batch_bytes, [0, 0, 2010, 0]);
        assert_eq!(link.queue.borrow().bytes, 0);
        link.send(&message(4), Batches::new());
        assert_eq!(epochs(&requests(&mut stream)), [4]);
    }

    #[test]
    fn batches_go_out_as_they_lie_in_memory() {
        let link = link();
        let mut stream = link.stream(&hello(1));
        let sent = batches(&[100, 200]);
        link.send(&message(1), sent.clone());
        let found = pieces(&mut stream);
        let payloads: Vec<_> = found.iter().map(|piece| piece.last_ref().as_ptr()).collect();
        assert_eq!(payloads[1..], [sent[0].as_ptr(), sent[1].as_ptr()]);
    }

    #[test]
    fn whoever_sends_is_woken_by_what_queues() {
        let (link, wakes) = (link(), Wakes::new());
        let mut stream = link.stream(&hello(1));
        pieces(&mut stream);
        assert!(stream.poll_frame(&mut wakes.context()).is_pending());
        link.send(&message(1), Batches::new());
        assert_eq!(wakes.count(), 1);
    }

    #[test]
    fn a_stream_that_broke_takes_nothing_of_what_is_meant_for_the_next() {
        let link = link();
        let mut first = link.stream(&hello(1));
        link.close();
        link.open();
        link.send(&message(1), Batches::new());
        let mut second = link.stream(&hello(2));
        assert!(matches!(poll(&mut first), Poll::Ready(None)));
        let sent = requests(&mut second);
        assert_eq!(
            (&sent[0], epochs(&sent)),
            (&hello(2), vec![1]),
            "the old hello went with its stream"
        );
        assert!(matches!(poll(&mut first), Poll::Ready(None)));
    }

    #[test]
    fn closing_drops_what_has_queued_and_takes_no_more() {
        let (link, wakes) = (link(), Wakes::new());
        let mut stream = link.stream(&hello(1));
        link.send(&message(1), batches(&[ROOM_BYTES]));
        let mut room = pin!(link.room());
        assert!(room.as_mut().poll(&mut wakes.context()).is_pending());
        link.close();
        assert_eq!(wakes.count(), 1, "whoever waits finds that out");
        assert!(room.poll(&mut wakes.context()).is_ready());
        link.send(&message(2), Batches::new());
        assert!(matches!(poll(&mut stream), Poll::Ready(None)));
        assert_eq!((link.queue.borrow().bytes, link.queue.borrow().pieces.len()), (0, 0));
        link.open();
        link.send(&message(3), Batches::new());
        assert_eq!(epochs(&requests(&mut link.stream(&hello(2)))), [3]);
    }

    #[test]
    fn whoever_has_batches_waits_while_the_queue_is_long() {
        let (link, wakes) = (link(), Wakes::new());
        assert!(pin!(link.room()).poll(&mut wakes.context()).is_ready());
        let mut stream = link.stream(&hello(1));
        link.send(&message(1), batches(&[1000, ROOM_BYTES]));
        let mut room = pin!(link.room());
        assert!(room.as_mut().poll(&mut wakes.context()).is_pending());
        // The hello, then the message with its first batch: what is left is still too much.
        for _ in 0..2 {
            assert!(poll(&mut stream).is_ready());
            assert_eq!(wakes.count(), 0);
        }
        assert!(poll(&mut stream).is_ready());
        assert_eq!(wakes.count(), 1);
        assert!(room.poll(&mut wakes.context()).is_ready());
    }

    #[test]
    fn a_node_that_takes_nothing_is_not_remembered_everything_for() {
        let link = link();
        for epoch in 0..100 {
            link.send(&message(epoch), batches(&[QUEUE_BYTES_MAX / 8]));
        }
        let bytes = link.queue.borrow().bytes;
        assert!((QUEUE_BYTES_MAX..QUEUE_BYTES_MAX / 8 * 9).contains(&bytes), "{bytes}");
        let sent = requests(&mut link.stream(&hello(1)));
        assert_eq!(epochs(&sent), (0..8).collect::<Vec<_>>(), "whole messages, the oldest");
    }
}
