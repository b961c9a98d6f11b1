//! One produce stream: takes requests, hands batches to their logs, collects the answers.
//!
//! ```text
//!  New ── open ──▶ Opening ── topic found or made ──▶ Open ──┐ client is done, or the node stops,
//!   │                 │                                      │ and every batch was answered
//!   └─ anything else ─┴─ refused ────────────────────────▶ Ended
//! ```

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use forebay_engine::{
    AppendError, Completed, Completion, CompletionQueue, PartitionRef, Reservation,
};
use forebay_proto::v1::produce_result::Outcome;
use futures_util::future::LocalBoxFuture;
use http_body::Frame;
use hyper::body::Incoming;

use super::admission::{Blocked, Open, Prepared, Wait};
use super::carried::{Answer, Carried};
use super::deadline::Deadline;
use super::in_flight::{Expired, InFlight, Lane, Waiting};
use super::input::Input;
use super::open::{self, Identity};
use super::prepare;
use super::request::{Batch, Request};
use super::results::Results;
use crate::catalog::ServedTopic;
use crate::clock;
use crate::grpc::carry::{self, Carrying};
use crate::grpc::connection::{ConnectionUse, InFlightBytes, UnfinishedBytes};
use crate::grpc::frame;
use crate::grpc::metrics::add;
use crate::grpc::services::Services;
use crate::grpc::status::{Failure, Refusal};
use crate::net::{Piece, Stopped, StreamBody};

/// Bytes of requests that one turn takes before answers are looked at.
const BYTES_PER_TURN: usize = 1024 * 1024;

/// What a request counts for in a turn besides its bytes: a flood of tiny ones costs time, not bytes.
const BYTES_PER_REQUEST: usize = 32;

/// A turn also ends when its refusals are this large. One of seven bytes is refused with ten times as
/// many, and what the client does not fetch must not grow.
const REFUSAL_BYTES_PER_TURN: usize = 128 * 1024;

/// Batches and refusals of a stream that may wait for their answer, whatever their size.
const IN_FLIGHT_MAX: usize = 32 * 1024;

/// How long a client that was told that the node drains may take to end its stream.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);

/// See the module.
pub(in crate::grpc) struct Session {
    services: Rc<Services>,
    connection: InFlightBytes,
    input: Input,
    state: State,
    queue: CompletionQueue,
    /// Kept for its capacity.
    completed: Vec<Completed>,
    in_flight: InFlight<(u64, Failure)>,
    /// What goes to other nodes.
    carried: Carried,
    results: Results,
    deadline: Deadline,
    /// The client sends no more, or is not listened to any more.
    input_ended: bool,
    /// What the stream ends with.
    failure: Option<Failure>,
    drain: Drain,
}

enum State {
    New,
    Opening(LocalBoxFuture<'static, Result<(Rc<ServedTopic>, Identity), Failure>>),
    Open(Box<Open>),
    Ended,
}

enum Drain {
    /// Not yet.
    Awaited(Stopped),
    /// The client was told; new batches are refused until it ends the stream, or this passes.
    Told { until: Instant },
}

impl Session {
    pub(in crate::grpc) fn new(
        services: Rc<Services>,
        connection: &ConnectionUse,
        carrying: Carrying,
        requests: Incoming,
    ) -> Self {
        let drain = Drain::Awaited(services.drain.stopped());
        add(&services.metrics.produce_streams, 1);
        Self {
            services,
            connection: connection.in_flight.clone(),
            input: Input::new(requests, UnfinishedBytes::new(connection.unfinished.clone())),
            state: State::New,
            queue: CompletionQueue::new(),
            completed: Vec::new(),
            in_flight: InFlight::new(),
            carried: Carried::new(carrying),
            results: Results::default(),
            deadline: Deadline::default(),
            input_ended: false,
            failure: None,
            drain,
        }
    }

    /// Takes requests until there are none, until one has to wait, or until it is time for answers.
    fn poll_requests(&mut self, now: Instant, cx: &mut Context<'_>) {
        let mut taken = 0;
        if self.poll_blocked(now, cx).is_pending() {
            return;
        }
        // Refusals make a frame, and whoever fetches it polls again.
        while !self.input_ended
            && self.in_flight.len() < IN_FLIGHT_MAX
            && self.results.bytes() < REFUSAL_BYTES_PER_TURN
        {
            if taken >= BYTES_PER_TURN {
                cx.waker().wake_by_ref();
                return;
            }
            match &mut self.state {
                State::Ended => return,
                State::Opening(opening) => match opening.as_mut().poll(cx) {
                    Poll::Pending => return,
                    Poll::Ready(Err(failure)) => self.fail(failure),
                    Poll::Ready(Ok((topic, identity))) => {
                        self.results.set_replicas(topic.topic.replication_factor);
                        self.carried.set_open(open::again(&topic, identity));
                        self.state = State::Open(Box::new(Open::new(topic, identity)));
                    }
                },
                State::New | State::Open(_) => match self.input.poll_next(cx) {
                    Poll::Pending => return,
                    Poll::Ready(None) => self.input_ended = true,
                    Poll::Ready(Some(Ok(request))) => {
                        taken += self.input.request_bytes() + BYTES_PER_REQUEST;
                        self.take(request, now);
                        if self.poll_blocked(now, cx).is_pending() {
                            return;
                        }
                    }
                    Poll::Ready(Some(Err(refusal))) => self.fail(refusal.into()),
                },
            }
        }
    }

    /// Ends the stream with a failure, once everything before it was answered.
    fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
        self.input_ended = true;
    }

    fn take(&mut self, request: Request, now: Instant) {
        let wrong = |message: &str| Refusal::Request { field: "message", message: message.into() };
        match (request, &mut self.state) {
            (Request::Open(message), State::New) => {
                let opening = open::open(self.services.clone(), message);
                self.state = State::Opening(Box::pin(opening));
            }
            (Request::Open(_), _) => self.fail(wrong("a stream is opened once").into()),
            (_, State::New) => {
                self.fail(wrong("the first message of a stream must be `open`").into());
            }
            (Request::Batch(batch), State::Open(_)) => self.take_batch(batch, now),
            // From a later release: nothing that could be answered.
            (Request::Empty | Request::Batch(_), _) => {}
        }
    }

    fn take_batch(&mut self, batch: Batch, now: Instant) {
        let State::Open(open) = &mut self.state else { return };
        let (request_id, partition) = (batch.fields.request_id, batch.fields.partition);
        let draining = matches!(self.drain, Drain::Told { .. });
        let (partition, batch) = match open.prepare(batch, now, draining) {
            Ok(prepared) => prepared,
            Err((concern, failure)) => {
                self.refuse(Lane { partition, concern }, request_id, *failure);
                return;
            }
        };
        let bytes = batch.waiting.bytes;
        // Mostly there is room, and nothing waits.
        let blocked = if self.connection.try_take(bytes) {
            self.admit(partition, batch, now)
        } else {
            let wait = Wait::Connection(self.connection.queue());
            Some(Blocked { batch, partition, wait })
        };
        self.block(blocked);
    }

    /// Hands a batch that the connection has room for to its log, or on to the node that leads. Comes back with
    /// what that has to wait for.
    fn admit(&mut self, partition: PartitionRef, batch: Prepared, now: Instant) -> Option<Blocked> {
        if self.carried.carrying().is_allowed()
            && let State::Open(open) = &self.state
        {
            let index = batch.waiting.lane.partition;
            let (to, moved) = self.carried.route(&self.services, open.partition_id(index));
            if moved && self.in_flight.waits_for(index) {
                return Some(Blocked { batch, partition, wait: Wait::Answers });
            }
            self.carried.settle(index);
            if let Some(to) = to {
                let Prepared { waiting, mut incoming } = batch;
                prepare::let_go_of_frames(&mut incoming);
                let token = self.in_flight.push(waiting);
                self.carried.send(&self.services, to, (token, waiting, now), incoming);
                return None;
            }
        }
        let bytes = batch.waiting.bytes;
        if let Some(room) = partition.try_reserve(bytes) {
            self.append(&partition, batch, room);
            return None;
        }
        let wait = Wait::for_log(&partition, bytes);
        Some(Blocked { batch, partition, wait })
    }

    fn block(&mut self, blocked: Option<Blocked>) {
        if let State::Open(open) = &mut self.state
            && blocked.is_some()
        {
            open.blocked = blocked;
        }
    }

    /// Hands on the batch that waits, once it need not.
    fn poll_blocked(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let reserved = loop {
            let State::Open(open) = &mut self.state else { return Poll::Ready(()) };
            let Some(blocked) = &mut open.blocked else { return Poll::Ready(()) };
            let Waiting { bytes, lane, .. } = blocked.batch.waiting;
            match &mut blocked.wait {
                Wait::Connection(turn) => ready!(turn.poll(bytes, cx)),
                // Whoever takes the answers polls again.
                Wait::Answers if self.in_flight.waits_for(lane.partition) => return Poll::Pending,
                Wait::Answers => {}
                Wait::Log(reserving) => break ready!(reserving.as_mut().poll(cx)),
            }
            let Blocked { batch, partition, .. } = open.blocked.take().expect("just seen");
            let blocked = self.admit(partition, batch, now);
            self.block(blocked);
        };
        let State::Open(open) = &mut self.state else { return Poll::Ready(()) };
        let Blocked { batch, partition, .. } = open.blocked.take().expect("just seen");
        let bytes = batch.waiting.bytes;
        match reserved {
            Ok(room) => self.append(&partition, batch, room),
            Err(error) => {
                self.connection.give_back(bytes);
                let Lane { partition, .. } = batch.waiting.lane;
                let failure = self.failure(partition, error.into());
                self.refuse(batch.waiting.lane, batch.waiting.request_id, failure);
            }
        }
        Poll::Ready(())
    }

    fn append(&mut self, partition: &PartitionRef, batch: Prepared, room: Reservation) {
        let when = batch.waiting.lane.concern.into();
        let token = self.in_flight.push(batch.waiting);
        let done = Completion { queue: self.queue.clone(), token, when };
        partition.append(room, batch.incoming, done);
    }

    /// What a producer is told of a batch that was not appended.
    fn failure(&self, partition: u32, error: AppendError) -> Failure {
        match &self.state {
            State::Open(open) => {
                let partition = open.partition_id(partition);
                self.services.append_failure(partition, self.carried.carrying(), error)
            }
            State::New | State::Opening(_) | State::Ended => error.into(),
        }
    }

    /// Answers a batch that no log has seen, after those before it.
    fn refuse(&mut self, lane: Lane, request_id: u64, failure: Failure) {
        add(&self.services.metrics.produce_errors, 1);
        if let Some((request_id, failure)) = self.in_flight.hold(lane, (request_id, failure)) {
            self.results.error(request_id, lane.partition, failure);
        }
    }

    /// Takes the answers of the logs.
    fn poll_answers(&mut self, cx: &mut Context<'_>) {
        let mut completed = std::mem::take(&mut self.completed);
        let was_full = self.in_flight.len() >= IN_FLIGHT_MAX;
        while self.queue.poll_drain(cx, &mut completed).is_ready() {
            for Completed { token, outcome } in completed.drain(..) {
                let (waiting, bytes) = self.in_flight.complete(token);
                self.connection.give_back(bytes);
                let Some(Waiting { request_id, lane, .. }) = waiting else { continue };
                match outcome {
                    Ok(appended) => self.results.ack(request_id, lane.partition, &appended),
                    Err(error) => {
                        add(&self.services.metrics.produce_errors, 1);
                        let failure = self.failure(lane.partition, error);
                        self.results.error(request_id, lane.partition, failure);
                    }
                }
                for (request_id, failure) in self.in_flight.release(lane) {
                    self.results.error(request_id, lane.partition, failure);
                }
            }
        }
        self.completed = completed;
        self.poll_carried(cx);
        let blocked =
            matches!(&self.state, State::Open(open) if open.waits_for_answers(&self.in_flight));
        if blocked {
            // It has left no word either.
            cx.waker().wake_by_ref();
        }
        if was_full && self.in_flight.len() < IN_FLIGHT_MAX {
            // The requests have left no word, and answers to what has timed out make no frame.
            cx.waker().wake_by_ref();
        }
    }

    /// Takes the answers of other nodes.
    fn poll_carried(&mut self, cx: &mut Context<'_>) {
        if !self.carried.carrying().is_allowed() {
            return;
        }
        let mut answers = Vec::new();
        self.carried.poll(cx, &mut answers);
        for Answer { token, by, outcome } in answers {
            let (waiting, bytes) = self.in_flight.complete(token);
            self.connection.give_back(bytes);
            let Some(Waiting { request_id, lane, .. }) = waiting else { continue };
            if !matches!(outcome, Ok(Outcome::Ack(_))) {
                add(&self.services.metrics.produce_errors, 1);
            }
            match outcome {
                Ok(outcome) => {
                    let to = carry::hint(&self.services, by);
                    self.results.carried((request_id, lane.partition), outcome, to);
                }
                // The other node has not said that.
                Err(refusal) => {
                    self.results.error(request_id, lane.partition, refusal.into());
                }
            }
            for (request_id, failure) in self.in_flight.release(lane) {
                self.results.error(request_id, lane.partition, failure);
            }
        }
    }

    /// Answers what has waited too long.
    fn poll_deadlines(&mut self, now: Instant, cx: &mut Context<'_>) {
        let blocked = match &self.state {
            State::Open(open) => {
                open.blocked.as_ref().map(|blocked| blocked.batch.waiting.deadline)
            }
            _ => None,
        };
        let earliest = self.in_flight.earliest_deadline().into_iter().chain(blocked).min();
        if self.deadline.poll(earliest, now, cx).is_pending() {
            return;
        }
        if let State::Open(open) = &mut self.state
            && let Some(Blocked { batch, wait, .. }) =
                open.blocked.take_if(|blocked| blocked.batch.waiting.deadline <= now)
        {
            if wait.has_room_of_connection() {
                self.connection.give_back(batch.waiting.bytes);
            }
            let Waiting { lane, request_id, .. } = batch.waiting;
            self.refuse(lane, request_id, Refusal::NoRoomInTime.into());
        }
        for Expired { waiting, released } in self.in_flight.expire(now) {
            let Waiting { request_id, lane, .. } = waiting;
            add(&self.services.metrics.produce_errors, 1);
            self.results.error(request_id, lane.partition, Refusal::Indeterminate.into());
            for (request_id, failure) in released {
                self.results.error(request_id, lane.partition, failure);
            }
        }
        // The next deadline has no timer yet.
        cx.waker().wake_by_ref();
    }

    /// Tells the client when the node stops, and gives up on one that goes on.
    fn poll_drain(&mut self, now: Instant, cx: &mut Context<'_>) {
        match &mut self.drain {
            Drain::Awaited(stopped) => {
                if Pin::new(stopped).poll(cx).is_ready() {
                    self.results.draining();
                    self.drain = Drain::Told { until: now + DRAIN_PATIENCE };
                }
            }
            Drain::Told { until } => {
                let until = *until;
                if self.deadline.poll(Some(until), now, cx).is_ready() && !self.input_ended {
                    self.fail(Refusal::Stopping.into());
                }
            }
        }
    }

    /// Whether there is nothing left to answer, and will not be.
    fn is_finished(&self) -> bool {
        let blocked = matches!(&self.state, State::Open(open) if open.blocked.is_some());
        self.input_ended && self.in_flight.is_empty() && !blocked
    }
}

impl StreamBody for Session {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Piece>>> {
        let now = clock::monotonic();
        self.poll_requests(now, cx);
        self.poll_answers(cx);
        self.poll_drain(now, cx);
        self.poll_deadlines(now, cx);
        if let Some(messages) = self.results.take() {
            return Poll::Ready(Some(Frame::data(messages.chain(Bytes::new()))));
        }
        if matches!(self.state, State::Ended) {
            return Poll::Ready(None);
        }
        if !self.is_finished() {
            return Poll::Pending;
        }
        self.state = State::Ended;
        Poll::Ready(Some(frame::trailers(self.failure.take())))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Batches go on to the disk; only their answers have nowhere to go.
        self.queue.close();
        let mut bytes = self.in_flight.bytes();
        if let State::Open(open) = &self.state
            && let Some(Blocked { batch, wait, .. }) = &open.blocked
            && wait.has_room_of_connection()
        {
            bytes += batch.waiting.bytes;
        }
        self.connection.give_back(bytes);
    }
}
