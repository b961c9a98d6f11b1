//! One consume stream: reads the client's wishes, and pulls from the readers whatever there is room for.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use forebay_engine::{CursorStart, PartitionCursor, ReadError, Run};
use forebay_format::{NodeId, PartitionId, PartitionIndex};
use forebay_proto::v1;
use forebay_proto::v1::consume_response::Message;
use futures_util::Stream;
use http_body::Frame;
use hyper::body::Incoming;
use tonic::Streaming;
use tonic::codec::Codec;
use tonic_prost::ProstCodec;

use super::carried::{Carriage, Carried};
use super::output::Output;
use super::reader::{Reading, Step};
use super::readers::Readers;
use super::records::Pages;
use super::subscription::{Format, Subscription, subscription};
use crate::grpc::carry::{self, Carrying, Destination};
use crate::grpc::convert;
use crate::grpc::frame;
use crate::grpc::metrics::add;
use crate::grpc::services::Services;
use crate::grpc::status::{Failure, Refusal};
use crate::net::{Piece, Stopped, StreamBody};

/// What is read at a time, unless one batch alone is larger. Fits into a gRPC message of 4 MiB.
const RUN_BYTES: usize = 1024 * 1024;

/// A wish of a client: even one for every partition of the largest topic is smaller.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// What a leader answers that leads no more. A client that is carried cannot do anything about it.
const NOT_LEADER: &str = "NOT_LEADER";

/// Wishes that are taken before something is sent: each may concern every partition.
const REQUESTS_PER_TURN: usize = 64;

/// See the module.
pub(in crate::grpc) struct Session {
    services: Rc<Services>,
    requests: Streaming<v1::ConsumeRequest>,
    requests_ended: bool,
    /// After the first message.
    subscription: Option<Subscription>,
    readers: Readers,
    carrying: Carrying,
    /// What is read on other nodes.
    carried: Carried,
    /// Nodes that could not be reached, or were lost, and have not answered since.
    unreachable: BTreeSet<NodeId>,
    /// Which of the two was asked first last time.
    carried_first: bool,
    /// Bytes that may be sent; without, only the connection's own flow control holds.
    credit: Option<i128>,
    output: Output,
    /// A run that is being sent as plain records.
    pages: Option<(Pages, Sending)>,
    drain: Stopped,
    /// What the stream ends with, once everything before it was sent.
    failure: Option<Failure>,
    ended: bool,
}

/// The reader whose run is being sent.
struct Sending {
    cursor: PartitionCursor,
    reading: Reading,
    committed: u64,
}

impl Session {
    pub(in crate::grpc) fn new(
        services: Rc<Services>,
        carrying: Carrying,
        requests: Incoming,
    ) -> Self {
        let decoder = ProstCodec::<v1::ConsumeResponse, v1::ConsumeRequest>::default().decoder();
        let requests = Streaming::new_request(decoder, requests, None, Some(REQUEST_BYTES_MAX));
        add(&services.metrics.consume_streams, 1);
        let drain = services.drain.stopped();
        Self {
            services,
            requests,
            requests_ended: false,
            subscription: None,
            readers: Readers::default(),
            carrying,
            carried: Carried::default(),
            unreachable: BTreeSet::new(),
            carried_first: false,
            credit: None,
            output: Output::default(),
            pages: None,
            drain,
            failure: None,
            ended: false,
        }
    }

    fn poll_requests(&mut self, cx: &mut Context<'_>) {
        use v1::consume_request::Message as Wish;
        let mut taken = 0;
        // Answers make a frame, and whoever fetches it polls again.
        while !self.requests_ended && self.failure.is_none() && !self.output.is_enough() {
            if taken == REQUESTS_PER_TURN {
                cx.waker().wake_by_ref();
                return;
            }
            taken += 1;
            let Poll::Ready(next) = Pin::new(&mut self.requests).poll_next(cx) else { return };
            let wish = match next {
                // The client may be done with wishes and still listen.
                None => {
                    self.requests_ended = true;
                    return;
                }
                Some(Ok(request)) => request.message,
                Some(Err(status)) => return self.fail(Failure::from_transport(&status)),
            };
            let done = match (wish, &mut self.subscription) {
                (Some(Wish::Subscribe(subscribe)), None) => self.subscribe(subscribe),
                (Some(Wish::Seek(seek)), Some(_)) => self.seek(seek),
                (Some(Wish::Credit(credit)), Some(_)) => {
                    self.credit = self.credit.map(|left| left + i128::from(credit.bytes));
                    Ok(())
                }
                (None, Some(_)) => Ok(()),
                (Some(Wish::Subscribe(_)), Some(_)) => Err(wrong("a stream subscribes once")),
                (_, None) => Err(wrong("the first message of a stream must be `subscribe`")),
            };
            if let Err(failure) = done {
                self.fail(failure);
            }
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    fn subscribe(&mut self, subscribe: v1::Subscribe) -> Result<(), Failure> {
        let subscription = subscription(&self.services, subscribe)?;
        self.credit = subscription.credit_bytes.map(i128::from);
        let starts: Vec<(u32, CursorStart)> =
            subscription.partitions.iter().map(|(index, start)| (*index, *start)).collect();
        self.subscription = Some(subscription);
        for (index, start) in starts {
            self.open(index, start, 0);
        }
        Ok(())
    }

    fn seek(&mut self, seek: v1::Seek) -> Result<(), Failure> {
        let start = convert::start(seek.start)?;
        if self.pages.as_ref().is_some_and(|(_, s)| s.reading.partition == seek.partition) {
            self.pages = None;
        }
        self.open(seek.partition, start, seek.seek_id);
        Ok(())
    }

    fn open(&mut self, index: u32, start: CursorStart, seek_id: u64) {
        let Some(Subscription { topic, .. }) = &self.subscription else { return };
        if let Some(partition) = topic.partition(index) {
            let id = PartitionId::new(topic.topic.id, PartitionIndex::new(index));
            if self.carrying.is_allowed()
                && let Some(to) = Destination::of_replica(&self.services, id, &self.unreachable)
            {
                self.carry(to, index, convert::start_on_the_wire(start), seek_id);
                return;
            }
            self.carried.stop(index);
            self.readers.open(partition, index, start, seek_id);
            return;
        }
        let partitions = topic.topic.partitions;
        let topic = topic.topic.name.clone();
        let refusal = Refusal::UnknownPartition { topic, partition: index, partitions };
        self.partition_error(index, seek_id, refusal.into());
    }

    /// Has a partition read on another node.
    fn carry(&mut self, to: Destination, index: u32, start: v1::StartPosition, seek_id: u64) {
        let Some(subscription) = &self.subscription else { return };
        self.readers.stop(index);
        self.carried.open(&self.services, to, subscription, (index, start, seek_id));
    }

    /// What comes from other nodes, if there is anything.
    fn poll_carried(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(self.carried.poll(cx)) {
            Carriage::Message { from, message, encoded } => match message {
                Message::Positioned(positioned) => {
                    self.unreachable.remove(&from.node);
                    let carried_to = Some(carry::hint(&self.services, from));
                    let positioned = v1::Positioned { carried_to, ..positioned };
                    self.output.message(Message::Positioned(positioned));
                }
                Message::Error(v1::PartitionError { partition, error: Some(error), seek_id })
                    if error.reason == NOT_LEADER =>
                {
                    self.partition_error(partition, seek_id, Refusal::NoLeader.into());
                }
                // With the seek that the client knows.
                error @ Message::Error(_) => self.output.message(error),
                message => {
                    let payload_bytes = payload_bytes(&message, &encoded);
                    add(&self.services.metrics.consumed_bytes, payload_bytes as u64);
                    self.credit = self.credit.map(|left| left - payload_bytes as i128);
                    self.output.encoded(encoded);
                }
            },
            Carriage::Lost { partition, seek_id, start, from, problem } => {
                self.unreachable.insert(from.node);
                if let Some(start) = start
                    && let Some(to) = self.other_replica(partition)
                {
                    self.carry(to, partition, start, seek_id);
                    return Poll::Ready(());
                }
                let refusal = Refusal::NotCarried { node: from.node, problem };
                self.partition_error(partition, seek_id, refusal.into());
            }
        }
        Poll::Ready(())
    }

    /// Another node that has the partition, if there is one which may still be reached.
    fn other_replica(&self, partition: u32) -> Option<Destination> {
        let topic = &self.subscription.as_ref()?.topic.topic;
        let id = PartitionId::new(topic.id, PartitionIndex::new(partition));
        let to = Destination::of_replica(&self.services, id, &self.unreachable)?;
        (!self.unreachable.contains(&to.node)).then_some(to)
    }

    /// Where a reader goes on that is ahead of this replica (R13).
    fn ahead(
        &self,
        partition: u32,
        at: CursorStart,
        error: &ReadError,
    ) -> Option<(Destination, CursorStart)> {
        let start = match *error {
            ReadError::OutOfRange { requested, latest, .. } if requested > latest => match at {
                CursorStart::After { offset, .. } if offset == requested => at,
                _ => CursorStart::Offset(requested),
            },
            ReadError::Ahead { epoch, requested } => {
                CursorStart::After { epoch, offset: requested }
            }
            _ => return None,
        };
        let topic = self.subscription.as_ref().filter(|_| self.carrying.is_allowed())?;
        let id = PartitionId::new(topic.topic.topic.id, PartitionIndex::new(partition));
        Some((Destination::of_leader(&self.services, id)?, start))
    }

    fn partition_error(&mut self, partition: u32, seek_id: u64, failure: Failure) {
        let error = Some(failure.into_error());
        self.output.message(Message::Error(v1::PartitionError { partition, error, seek_id }));
    }

    fn run_bytes(&self) -> usize {
        let credit = self.credit.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(0));
        RUN_BYTES.min(credit)
    }

    /// Makes messages while there is something to say and the client has room for it, until they are
    /// worth being sent.
    fn poll_messages(&mut self, cx: &mut Context<'_>) {
        while !self.output.is_enough() && self.failure.is_none() {
            if self.credit.is_some_and(|left| left <= 0) {
                return;
            }
            if self.pages.is_some() {
                self.send_page();
                continue;
            }
            self.carried_first = !self.carried_first;
            if self.carried_first && self.poll_carried(cx).is_ready() {
                continue;
            }
            match self.readers.poll_step(self.run_bytes(), cx) {
                Poll::Ready(step) => self.take_step(step),
                Poll::Pending if self.carried_first => return,
                Poll::Pending if self.poll_carried(cx).is_pending() => return,
                Poll::Pending => {}
            }
        }
    }

    fn take_step(&mut self, step: Step) {
        match step {
            Step::Opened { cursor, reading } => {
                let Reading { partition, from, seek_id, .. } = reading;
                let offset = from.get();
                self.readers.read(cursor, reading);
                let positioned = v1::Positioned { partition, offset, seek_id, carried_to: None };
                self.output.message(Message::Positioned(positioned));
            }
            Step::Resumed { cursor, reading } => self.readers.read_on(cursor, reading),
            // Nothing but a leader's own batches.
            Step::Run { cursor, reading, run } if run.first_offset == run.next_offset => {
                self.readers.read_on(cursor, reading);
            }
            Step::Run { cursor, mut reading, run } => {
                reading.end_told = false;
                reading.turn_bytes += run.bytes;
                self.send(cursor, reading, run);
            }
            Step::End { cursor, mut reading } => {
                let told = std::mem::replace(&mut reading.end_told, true);
                let (earliest, committed) =
                    cursor.marks().unwrap_or((cursor.position(), cursor.position()));
                let run_bytes = self.run_bytes();
                self.readers.wait(cursor, reading, run_bytes);
                if !told {
                    self.output.message(Message::Watermark(v1::Watermark {
                        partition: reading.partition,
                        earliest_offset: earliest.get(),
                        committed_offset: committed.get(),
                    }));
                }
            }
            Step::Failed { partition, seek_id, at, error } => {
                if let Some((to, start)) = self.ahead(partition, at, &error) {
                    let start = convert::start_on_the_wire(start);
                    return self.carry(to, partition, start, seek_id);
                }
                let topic = self.subscription.as_ref().map(|wanted| wanted.topic.topic.id);
                let failure = match topic {
                    Some(topic) => {
                        let id = PartitionId::new(topic, PartitionIndex::new(partition));
                        self.services.read_failure(id, self.carrying, error)
                    }
                    None => error.into(),
                };
                self.partition_error(partition, seek_id, failure);
            }
        }
    }

    fn send(&mut self, cursor: PartitionCursor, reading: Reading, run: Run) {
        add(&self.services.metrics.consumed_bytes, run.bytes as u64);
        self.credit = self.credit.map(|left| left - run.bytes as i128);
        let format = self.subscription.as_ref().map_or(Format::Raw, |wanted| wanted.format);
        match format {
            Format::Raw => {
                self.readers.read_on(cursor, reading);
                self.output.batches(reading.partition, run);
            }
            Format::Records => {
                let committed = run.committed.get();
                let sending = Sending { cursor, reading, committed };
                self.pages = Some((Pages::new(&run, reading.from), sending));
            }
        }
    }

    /// Sends the next plain records of the run that is being sent.
    fn send_page(&mut self) {
        let Some((mut pages, sending)) = self.pages.take() else { return };
        let partition = sending.reading.partition;
        match pages.next_page() {
            Ok(records) if records.is_empty() => {
                self.readers.read_on(sending.cursor, sending.reading);
            }
            Ok(records) => {
                let committed_offset = sending.committed;
                let epoch = pages.epoch().get();
                let batch = v1::RecordBatch { partition, committed_offset, records, epoch };
                self.output.message(Message::Records(batch));
                self.pages = Some((pages, sending));
            }
            Err(failure) => self.partition_error(partition, sending.reading.seek_id, failure),
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) {
        if self.failure.is_none() && Pin::new(&mut self.drain).poll(cx).is_ready() {
            self.output.message(Message::Draining(v1::Draining::default()));
            self.fail(Refusal::Stopping.into());
        }
    }
}

/// What a message of another node counts for.
fn payload_bytes(message: &Message, encoded: &Bytes) -> usize {
    match message {
        Message::Batches(batches) => batches.raw_batches.len(),
        Message::Records(_) => encoded.len(),
        Message::Watermark(_)
        | Message::Error(_)
        | Message::Positioned(_)
        | Message::Draining(_) => 0,
    }
}

fn wrong(message: &str) -> Failure {
    Refusal::Request { field: "message", message: message.to_owned() }.into()
}

impl StreamBody for Session {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Piece>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.poll_requests(cx);
        self.poll_drain(cx);
        self.poll_messages(cx);
        if let Some(piece) = self.output.next() {
            return Poll::Ready(Some(Frame::data(piece)));
        }
        let unused = self.requests_ended && self.subscription.is_none();
        if self.failure.is_none() && !unused {
            return Poll::Pending;
        }
        self.ended = true;
        Poll::Ready(Some(frame::trailers(self.failure.take())))
    }
}
