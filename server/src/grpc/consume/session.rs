//! One consume stream: reads the client's wishes, and pulls from the readers whatever there is room for.

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use forebay_engine::{CursorStart, PartitionCursor, Run};
use forebay_proto::v1;
use forebay_proto::v1::consume_response::Message;
use futures_util::Stream;
use tonic::{Status, Streaming};

use super::reader::{Reading, Step};
use super::readers::Readers;
use super::records::Pages;
use super::subscription::{Format, Subscription, subscription};
use crate::grpc::convert;
use crate::grpc::services::{Services, add};
use crate::grpc::status::{Failure, Refusal};
use crate::net::Stopped;

/// What is read at a time, unless one batch alone is larger. Fits into a gRPC message of 4 MiB.
const RUN_BYTES: usize = 1024 * 1024;

/// See the module.
pub(super) struct Session {
    services: Rc<Services>,
    requests: Streaming<v1::ConsumeRequest>,
    requests_ended: bool,
    /// After the first message.
    subscription: Option<Subscription>,
    readers: Readers,
    /// Bytes that may be sent; without, only the connection's own flow control holds.
    credit: Option<i128>,
    /// Small messages to be sent before anything else is read.
    outbox: VecDeque<Message>,
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
    pub(super) fn new(services: Rc<Services>, requests: Streaming<v1::ConsumeRequest>) -> Self {
        add(&services.metrics.consume_streams, 1);
        let drain = services.drain.stopped();
        Self {
            services,
            requests,
            requests_ended: false,
            subscription: None,
            readers: Readers::default(),
            credit: None,
            outbox: VecDeque::new(),
            pages: None,
            drain,
            failure: None,
            ended: false,
        }
    }

    fn poll_requests(&mut self, cx: &mut Context<'_>) {
        use v1::consume_request::Message as Wish;
        while !self.requests_ended && self.failure.is_none() {
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
            self.readers.open(partition, index, start, seek_id);
            return;
        }
        let partitions = topic.topic.partitions;
        let topic = topic.topic.name.clone();
        let refusal = Refusal::UnknownPartition { topic, partition: index, partitions };
        self.partition_error(index, refusal.into());
    }

    fn partition_error(&mut self, partition: u32, failure: Failure) {
        let error = Some(failure.into_error());
        self.outbox.push_back(Message::Error(v1::PartitionError { partition, error }));
    }

    fn run_bytes(&self) -> usize {
        let credit = self.credit.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(0));
        RUN_BYTES.min(credit)
    }

    /// The next message, if there is one and the client has room for it.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Message> {
        loop {
            if let Some(message) = self.outbox.pop_front() {
                return Poll::Ready(message);
            }
            if self.failure.is_some() || self.credit.is_some_and(|left| left <= 0) {
                return Poll::Pending;
            }
            if let Some(message) = self.next_page() {
                return Poll::Ready(message);
            }
            let Poll::Ready(step) = self.readers.poll_step(self.run_bytes(), cx) else {
                return Poll::Pending;
            };
            if let Some(message) = self.take_step(step) {
                return Poll::Ready(message);
            }
        }
    }

    fn take_step(&mut self, step: Step) -> Option<Message> {
        match step {
            Step::Opened { cursor, reading, seek_id } => {
                let (partition, offset) = (reading.partition, reading.from.get());
                self.readers.read(cursor, reading);
                Some(Message::Positioned(v1::Positioned { partition, offset, seek_id }))
            }
            // Nothing but a leader's own batches.
            Step::Run { cursor, reading, run } if run.first_offset == run.next_offset => {
                self.readers.read(cursor, reading);
                None
            }
            Step::Run { cursor, mut reading, run } => {
                reading.end_told = false;
                self.send(cursor, reading, &run)
            }
            Step::End { cursor, mut reading } => {
                let told = std::mem::replace(&mut reading.end_told, true);
                let (earliest, committed) =
                    cursor.marks().unwrap_or((cursor.position(), cursor.position()));
                let run_bytes = self.run_bytes();
                self.readers.wait(cursor, reading, run_bytes);
                (!told).then(|| {
                    Message::Watermark(v1::Watermark {
                        partition: reading.partition,
                        earliest_offset: earliest.get(),
                        committed_offset: committed.get(),
                    })
                })
            }
            Step::Failed { partition, error } => {
                self.partition_error(partition, error.into());
                None
            }
        }
    }

    fn send(&mut self, cursor: PartitionCursor, reading: Reading, run: &Run) -> Option<Message> {
        add(&self.services.metrics.consumed_bytes, run.bytes as u64);
        self.credit = self.credit.map(|left| left - run.bytes as i128);
        let committed = run.committed.get();
        let format = self.subscription.as_ref().map_or(Format::Raw, |wanted| wanted.format);
        if format == Format::Records {
            let sending = Sending { cursor, reading, committed };
            self.pages = Some((Pages::new(run, reading.from), sending));
            return self.next_page();
        }
        self.readers.read(cursor, reading);
        let raw_batches = match &run.slices[..] {
            [slice] => slice.clone(),
            slices => slices.concat().into(),
        };
        Some(Message::Batches(v1::RawBatches {
            partition: reading.partition,
            committed_offset: committed,
            raw_batches,
        }))
    }

    /// The next plain records of the run that is being sent.
    fn next_page(&mut self) -> Option<Message> {
        let (pages, sending) = self.pages.as_mut()?;
        let partition = sending.reading.partition;
        match pages.next_page() {
            Ok(records) if records.is_empty() => {
                let (_, Sending { cursor, reading, .. }) = self.pages.take()?;
                self.readers.read(cursor, reading);
                None
            }
            Ok(records) => Some(Message::Records(v1::RecordBatch {
                partition,
                committed_offset: sending.committed,
                records,
            })),
            Err(failure) => {
                self.pages = None;
                let error = Some(failure.into_error());
                Some(Message::Error(v1::PartitionError { partition, error }))
            }
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) {
        if self.failure.is_none() && Pin::new(&mut self.drain).poll(cx).is_ready() {
            self.outbox.push_back(Message::Draining(v1::Draining::default()));
            self.fail(Refusal::Stopping.into());
        }
    }
}

fn wrong(message: &str) -> Failure {
    Refusal::Request { field: "message", message: message.to_owned() }.into()
}

/// Nothing in a session is ever pinned in place.
impl Unpin for Session {}

impl Stream for Session {
    type Item = Result<v1::ConsumeResponse, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<v1::ConsumeResponse, Status>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        this.poll_requests(cx);
        this.poll_drain(cx);
        if let Poll::Ready(message) = this.poll_message(cx) {
            return Poll::Ready(Some(Ok(v1::ConsumeResponse { message: Some(message) })));
        }
        if let Some(failure) = this.failure.take() {
            this.ended = true;
            return Poll::Ready(Some(Err(failure.into_status())));
        }
        if this.requests_ended && this.subscription.is_none() {
            this.ended = true;
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}
