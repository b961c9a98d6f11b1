//! One consume stream: some partitions from one address, until it breaks. What it delivers is
//! verified but not yet put in order with what came before; see `position`.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes};
use forebay_format::{BatchError, Offset, PartitionIndex};
use forebay_proto::v1::{self, consume_request, consume_response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};

use super::{ConsumedBatch, options::Place};
use crate::{
    call::CallEnded,
    client::Client,
    connection::{Carried, Piece, RequestBody},
    lock::Lock,
    refusal::Refusal,
    wire::{
        BrokenStream, ConsumeMessage, MessageReader, Slices, decode_consume_response,
        encode_consume_request,
    },
};

const CONSUME: &str = "/forebay.v1.ConsumerService/Consume";

/// What a stream delivers.
#[derive(Debug)]
pub(super) enum Item {
    Batch(ConsumedBatch),
    Damaged(PartitionIndex, BatchError),
    /// Reading starts here: after subscribing (0) or after the seek of this number.
    Positioned(PartitionIndex, Offset, u64),
    CaughtUp {
        partition: PartitionIndex,
        earliest: Offset,
        committed: Offset,
    },
    /// The server reads this partition no further; the others go on. The number is that of the seek
    /// that it was reading after, 0 for the subscription.
    Stopped(PartitionIndex, Refusal, u64),
}

impl Item {
    pub(super) fn partition(&self) -> PartitionIndex {
        match self {
            Self::Batch(batch) => batch.partition(),
            Self::Damaged(partition, _)
            | Self::Positioned(partition, ..)
            | Self::CaughtUp { partition, .. }
            | Self::Stopped(partition, ..) => *partition,
        }
    }
}

/// Batches of one message that were not delivered yet.
#[derive(Debug)]
struct Run {
    partition: PartitionIndex,
    committed: Offset,
    bytes: Slices,
}

/// See the module.
#[derive(Debug)]
pub(super) struct ConsumeStream {
    reader: MessageReader,
    run: Option<Run>,
}

/// What is asked of the server on one stream: the subscription, and later seeks. The stream is given
/// up when this is dropped.
///
/// HTTP/2 keeps a stream as long as either half of it is in use, and whoever carries the request does
/// not notice that the answer is no longer read. So the request must end too.
#[derive(Debug)]
pub(super) struct Requests(Arc<Lock<Queue>>);

/// Messages that the request body has not sent yet.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Bytes>,
    /// Nothing follows.
    closed: bool,
    waker: Option<Waker>,
}

impl Requests {
    /// Subscribes to partitions of a topic.
    pub(super) fn new(topic: String, partitions: &[(PartitionIndex, Place)]) -> Self {
        let partitions = partitions
            .iter()
            .map(|(partition, start)| v1::PartitionStart {
                partition: partition.get(),
                start: Some(start.on_the_wire()),
            })
            .collect();
        let subscribe =
            encode_consume_request(consume_request::Message::Subscribe(v1::Subscribe {
                topic,
                partitions,
                start: None,
                format: v1::RecordFormat::Raw.into(),
                // HTTP/2 flow control bounds what is under way.
                credit_bytes: 0,
                topic_id: String::new(),
            }));
        let waiting = VecDeque::from([subscribe]);
        Self(Arc::new(Lock::new(Queue { waiting, ..Queue::default() })))
    }

    /// Asks the server to go on somewhere else. What was sent before may still arrive first. A stream
    /// that is still being opened sends it behind the subscription.
    pub(super) fn seek(&self, partition: PartitionIndex, start: Place, seek_id: u64) {
        let seek = encode_consume_request(consume_request::Message::Seek(v1::Seek {
            partition: partition.get(),
            start: Some(start.on_the_wire()),
            seek_id,
        }));
        self.change(|queue| queue.waiting.push_back(seek));
    }

    /// The request that sends all this.
    pub(super) fn body(&self) -> RequestBody {
        RequestBody::new(RequestsBody(Arc::clone(&self.0)).boxed_unsync())
    }

    fn change(&self, change: impl FnOnce(&mut Queue)) {
        let waker = self.0.with(|queue| {
            change(queue);
            queue.waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.change(|queue| {
            queue.waiting.clear();
            queue.closed = true;
        });
    }
}

impl ConsumeStream {
    /// Sends the requests to this address.
    pub(super) async fn open(
        client: Client,
        (address, carried): (String, Carried),
        requests: RequestBody,
    ) -> Result<Self, CallEnded> {
        let mut connection = client.connection(&address).await?;
        let response =
            connection.call(CONSUME, carried, requests).await.map_err(BrokenStream::from)?;
        Ok(Self { reader: MessageReader::new(response)?, run: None })
    }

    pub(super) fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Result<Item, CallEnded>> {
        loop {
            if let Some(item) = self.cut_batch() {
                return Poll::Ready(Ok(item));
            }
            let message = ready!(self.reader.poll_message(cx))?;
            match decode_consume_response(message).map_err(BrokenStream::from)? {
                ConsumeMessage::Batches { partition, committed, bytes } => {
                    self.run = Some(Run { partition, committed, bytes });
                }
                ConsumeMessage::Unknown => {}
                ConsumeMessage::Other(message) => {
                    if let Some(item) = other(message)? {
                        return Poll::Ready(Ok(item));
                    }
                }
            }
        }
    }

    fn cut_batch(&mut self) -> Option<Item> {
        let run = self.run.as_mut()?;
        if !run.bytes.has_remaining() {
            self.run = None;
            return None;
        }
        match ConsumedBatch::cut(&mut run.bytes, run.partition, run.committed) {
            Ok(batch) => Some(Item::Batch(batch)),
            Err(error) => {
                let partition = run.partition;
                self.run = None;
                Some(Item::Damaged(partition, error))
            }
        }
    }
}

fn other(message: consume_response::Message) -> Result<Option<Item>, CallEnded> {
    use consume_response::Message;
    Ok(match message {
        Message::Positioned(positioned) => Some(Item::Positioned(
            PartitionIndex::new(positioned.partition),
            Offset::new(positioned.offset),
            positioned.seek_id,
        )),
        Message::Watermark(watermark) => Some(Item::CaughtUp {
            partition: PartitionIndex::new(watermark.partition),
            earliest: Offset::new(watermark.earliest_offset),
            committed: Offset::new(watermark.committed_offset),
        }),
        Message::Error(error) => Some(Item::Stopped(
            PartitionIndex::new(error.partition),
            error.error.unwrap_or_default().into(),
            error.seek_id,
        )),
        Message::Draining(_) => return Err(CallEnded::ByServer),
        // Raw batches are asked for, and those never come here.
        Message::Batches(_) | Message::Records(_) => None,
    })
}

/// The request: everything in the queue, until it is closed.
struct RequestsBody(Arc<Lock<Queue>>);

impl Body for RequestsBody {
    type Data = Piece;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Infallible>>> {
        self.0.with(|queue| match queue.waiting.pop_front() {
            Some(message) => Poll::Ready(Some(Ok(Frame::data(message.chain(Bytes::new()))))),
            None if queue.closed => Poll::Ready(None),
            None => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        })
    }
}
