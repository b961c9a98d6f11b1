//! Batches of a stream for partitions that other nodes lead: which call takes which, and what comes back.
//!
//! A partition's batches keep their order because those of one place go one way, and a batch for another
//! place than the one before it waits until that one is answered (`session`).

use std::collections::BTreeSet;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use forebay_engine::IncomingBatch;
use forebay_format::PartitionId;
use forebay_format::limits::{CLIENT_HEADER_BYTES, HEADER_BYTES};
use forebay_proto::v1;
use forebay_proto::v1::produce_result::Outcome;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::PRODUCE;
use super::concern::Concern;
use super::in_flight::Waiting;
use crate::grpc::carry::{Call, CallEnd, Carrying, Destination, Lost};
use crate::grpc::frame;
use crate::grpc::services::Services;
use crate::grpc::status::Refusal;

/// Field numbers of `ProduceRequest` and `ProduceBatch`.
const BATCH_FIELD: u32 = 2;
const RAW_BATCH_FIELD: u32 = 6;

/// What a leader answers that leads no more. Its client cannot do anything about it.
const NOT_LEADER: &str = "NOT_LEADER";

/// See the module.
pub(super) struct Carried {
    carrying: Carrying,
    /// How every call begins.
    open: v1::ProduceOpen,
    /// By partition; those that were used.
    routes: Vec<Route>,
    calls: Vec<Stream>,
    /// Whether a route has been moved away from a place since calls were last looked through.
    moved: bool,
}

/// A call, and what it was sent.
struct Stream {
    call: Call,
    unanswered: BTreeSet<u64>,
    /// Whether the other node has said that it is about to stop.
    draining: bool,
}

/// Where a partition's batches go. `None`: to this node's own log.
#[derive(Debug, Clone, Copy, Default)]
struct Route {
    /// Of which change of leaders it is.
    seen: Option<u64>,
    to: Option<Destination>,
    /// Where the last batch went.
    used: Option<Destination>,
}

/// What became of a batch that was carried.
pub(super) struct Answer {
    pub(super) token: u64,
    pub(super) by: Destination,
    /// What that node says, or what is made of its silence here.
    pub(super) outcome: Result<Outcome, Refusal>,
}

impl Carried {
    pub(super) fn new(carrying: Carrying) -> Self {
        let open = v1::ProduceOpen::default();
        Self { carrying, open, routes: Vec::new(), calls: Vec::new(), moved: false }
    }

    /// Whether batches may be carried at all.
    #[inline]
    pub(super) fn carrying(&self) -> Carrying {
        self.carrying
    }

    /// The stream was opened like this.
    pub(super) fn set_open(&mut self, open: v1::ProduceOpen) {
        self.open = open;
    }

    /// Where a batch goes, and whether that is another place than where the last one of its partition went. Not to
    /// be asked where nothing may be carried.
    pub(super) fn route(
        &mut self,
        services: &Services,
        partition: PartitionId,
    ) -> (Option<Destination>, bool) {
        let at = partition.partition.get() as usize;
        if self.routes.len() <= at {
            self.routes.resize(at + 1, Route::default());
        }
        let route = &mut self.routes[at];
        let changes = services.leaders.changes();
        if route.seen != Some(changes) {
            route.to = Destination::of_leader(services, partition);
            route.seen = Some(changes);
        }
        (route.to, route.to != route.used)
    }

    /// Batches of the partition go from now on where they are to go.
    pub(super) fn settle(&mut self, partition: u32) {
        let route = &mut self.routes[partition as usize];
        self.moved |= route.used.is_some() && route.used != route.to;
        route.used = route.to;
    }

    /// Sends a batch on.
    pub(super) fn send(
        &mut self,
        services: &Services,
        to: Destination,
        (token, waiting, now): (u64, Waiting, Instant),
        batch: IncomingBatch,
    ) {
        let known = self.calls.iter().position(|stream| stream.call.to == to);
        let at = known.unwrap_or_else(|| {
            let replicas =
                services.replicas.clone().expect("only among others is anything carried");
            let mut call = Call::new(replicas, to, PRODUCE);
            call.send(None, opening(&self.open), None);
            self.calls.push(Stream { call, unanswered: BTreeSet::new(), draining: false });
            self.calls.len() - 1
        });
        let Stream { call, unanswered, .. } = &mut self.calls[at];
        unanswered.insert(token);
        let head = request(token, &waiting, &batch, now);
        call.send(Some(token), head, batch.payload);
    }

    /// What came back.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, answers: &mut Vec<Answer>) {
        let mut at = 0;
        while at < self.calls.len() {
            let stream = &mut self.calls[at];
            let by = stream.call.to;
            let (end, lost) = match stream.call.poll_message(cx) {
                Poll::Pending => {
                    at += 1;
                    continue;
                }
                Poll::Ready(Ok(message)) => match v1::ProduceResponse::decode(message) {
                    Ok(response) => {
                        stream.take(response, answers);
                        continue;
                    }
                    // Whatever it has answered, it is not understood.
                    Err(error) => (CallEnd::Broken(error.to_string()), stream.call.close()),
                },
                Poll::Ready(Err(end)) => end,
            };
            let Stream { unanswered, .. } = self.calls.swap_remove(at);
            let failed = |token| {
                let outcome = Err(refusal(by, &end, &lost, token));
                Answer { token, by, outcome }
            };
            answers.extend(unanswered.into_iter().map(failed));
        }
        self.end_unused();
    }

    /// Ends the calls that wait for nothing and are not sent anything more.
    fn end_unused(&mut self) {
        if !self.moved && !self.calls.iter().any(|stream| stream.draining) {
            return;
        }
        let routes = &self.routes;
        let mut moved = false;
        self.calls.retain(|Stream { call, unanswered, draining }| {
            let unused = || !routes.iter().any(|route| route.used == Some(call.to));
            if !*draining && !unused() {
                return true;
            }
            // A batch may wait here although its client was told that its time is over.
            moved |= !unanswered.is_empty();
            !unanswered.is_empty()
        });
        self.moved = moved;
    }
}

impl Stream {
    /// Takes answers. A batch is answered once, whatever the other node says.
    fn take(&mut self, response: v1::ProduceResponse, answers: &mut Vec<Answer>) {
        let by = self.call.to;
        self.draining |= response.draining.is_some();
        for result in response.results {
            // Tokens are the request ids of the call.
            let token = result.request_id;
            if self.unanswered.remove(&token) {
                // One of a later release, maybe.
                let unknown = Err(Refusal::LeaderLost { node: by.node });
                let outcome = result.outcome.map_or(unknown, answered);
                answers.push(Answer { token, by, outcome });
            }
        }
    }
}

/// What the client is told of a leader's answer.
fn answered(outcome: Outcome) -> Result<Outcome, Refusal> {
    match outcome {
        Outcome::Error(error) if error.reason == NOT_LEADER => Err(Refusal::NoLeader),
        outcome => Ok(outcome),
    }
}

/// What the client is told of a batch that the leader has not answered.
fn refusal(by: Destination, end: &CallEnd, lost: &Lost, token: u64) -> Refusal {
    let node = by.node;
    match end {
        // Whatever it had taken, it has answered.
        CallEnd::Said(status) => Refusal::NotCarried { node, problem: status.message().to_owned() },
        CallEnd::Broken(problem) if lost.was_not_sent(token) => {
            Refusal::NotCarried { node, problem: problem.clone() }
        }
        CallEnd::Broken(_) => Refusal::LeaderLost { node },
    }
}

fn opening(open: &v1::ProduceOpen) -> Bytes {
    let message = Some(v1::produce_request::Message::Open(open.clone()));
    let mut frame = BytesMut::new();
    let start = frame::begin_message(&mut frame);
    v1::ProduceRequest { message }.encode(&mut frame).expect("a buffer grows as it needs to");
    frame::end_message(&mut frame, start, 0);
    frame.freeze()
}

/// A request up to where the batch's payload begins.
fn request(token: u64, waiting: &Waiting, batch: &IncomingBatch, now: Instant) -> Bytes {
    let (write_concern, write_concern_replicas) = on_the_wire(waiting.lane.concern);
    let left_ms = waiting.deadline.saturating_duration_since(now).as_millis();
    let fields = v1::ProduceBatch {
        request_id: token,
        partition: waiting.lane.partition,
        write_concern: write_concern.into(),
        write_concern_replicas,
        timeout_ms: u32::try_from(left_ms).unwrap_or(u32::MAX).max(1),
        content: None,
    };
    let raw_bytes = batch.batch_bytes();
    let key_bytes = 1;
    let batch_bytes =
        fields.encoded_len() + key_bytes + encoded_len_varint(raw_bytes as u64) + raw_bytes;
    let mut frame = BytesMut::with_capacity(HEADER_BYTES + 64);
    let start = frame::begin_message(&mut frame);
    encode_key(BATCH_FIELD, WireType::LengthDelimited, &mut frame);
    encode_varint(batch_bytes as u64, &mut frame);
    fields.encode(&mut frame).expect("a buffer grows as it needs to");
    encode_key(RAW_BATCH_FIELD, WireType::LengthDelimited, &mut frame);
    encode_varint(raw_bytes as u64, &mut frame);
    frame.put_slice(&batch.header);
    frame.put_bytes(0, HEADER_BYTES - CLIENT_HEADER_BYTES);
    frame::end_message(&mut frame, start, raw_bytes - HEADER_BYTES);
    frame.freeze()
}

fn on_the_wire(concern: Concern) -> (v1::WriteConcern, u32) {
    match concern {
        Concern::AtOnce => (v1::WriteConcern::None, 0),
        Concern::Written => (v1::WriteConcern::Leader, 0),
        Concern::Durable => (v1::WriteConcern::Quorum, 0),
        Concern::All => (v1::WriteConcern::All, 0),
        Concern::Replicas(replicas) => (v1::WriteConcern::Replicas, replicas.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::time::Duration;

    use tonic::{Code, Status};

    use super::*;
    use crate::clock;
    use crate::grpc::carry::Other;
    use crate::grpc::produce::in_flight::Lane;
    use crate::grpc::produce::request::{Content, Messages, Request};
    use crate::grpc::status::Failure;

    #[test]
    fn batch_arrives_as_it_was_sent() {
        let now = clock::monotonic();
        for (concern, wire) in [
            (Concern::Durable, (v1::WriteConcern::Quorum, 0)),
            (Concern::Replicas(2), (v1::WriteConcern::Replicas, 2)),
        ] {
            let waiting = Waiting {
                request_id: 99,
                lane: Lane { partition: 300, concern },
                bytes: HEADER_BYTES + 5,
                deadline: now + Duration::from_secs(7),
            };
            let payload = Bytes::from_static(b"hello");
            let batch = IncomingBatch {
                header: [7; CLIENT_HEADER_BYTES],
                payload: [payload.clone()].into_iter().collect(),
            };
            let mut messages = Messages::default();
            messages.push(request(1234, &waiting, &batch, now));
            messages.push(payload.clone());
            let found = messages.next().expect("a right message");
            let Some(Request::Batch(found)) = found else { panic!("{found:?}") };
            assert_eq!((found.fields.request_id, found.fields.partition), (1234, 300));
            let concern = (found.fields.write_concern, found.fields.write_concern_replicas);
            assert_eq!(concern, (wire.0.into(), wire.1));
            assert_eq!(found.fields.timeout_ms, 7000);
            let Content::Raw { header, payload: found } = found.content else { panic!("raw") };
            assert_eq!(header[..CLIENT_HEADER_BYTES], [7; CLIENT_HEADER_BYTES]);
            assert!(header[CLIENT_HEADER_BYTES..].iter().all(|byte| *byte == 0));
            assert_eq!(found.concat(), payload);
        }
    }

    #[test]
    fn only_what_the_leader_may_have_seen_is_indeterminate() {
        let by = Destination { node: forebay_format::NodeId::new(2), shard: 0 };
        let of = |end: CallEnd| Failure::from(refusal(by, &end, &Lost::default(), 1));
        let broken = of(CallEnd::Broken("reset".to_owned()));
        assert_eq!((broken.code, broken.reason), (Code::Unknown, "INDETERMINATE"));
        let said = of(CallEnd::Said(Status::unavailable("stopping")));
        assert_eq!((said.code, said.reason), (Code::Unavailable, "LEADER_UNREACHABLE"));
        assert!(said.retry_after.is_some());
    }

    fn to(node: u32) -> Destination {
        Destination { node: forebay_format::NodeId::new(node), shard: 0 }
    }

    /// A stream that has sent batches of these tokens to a node.
    fn carried(other: &Other, tokens: impl IntoIterator<Item = u64>) -> Carried {
        let mut carried = Carried::new(Carrying::Allowed);
        let unanswered = tokens.into_iter().collect();
        carried.calls.push(Stream { call: other.call(to(2)), unanswered, draining: false });
        carried.routes.push(Route { seen: None, to: Some(to(2)), used: Some(to(2)) });
        carried
    }

    fn poll(carried: &mut Carried) -> Vec<(u64, Result<Outcome, &'static str>)> {
        let mut answers = Vec::new();
        carried.poll(&mut Context::from_waker(Waker::noop()), &mut answers);
        let outcome = |answer: Answer| answer.outcome.map_err(|it| Failure::from(it).reason);
        answers.into_iter().map(|answer| (answer.token, outcome(answer))).collect()
    }

    fn result(request_id: u64, outcome: Option<Outcome>) -> v1::ProduceResult {
        v1::ProduceResult { request_id, outcome, ..Default::default() }
    }

    #[test]
    fn every_batch_is_answered_once_also_by_what_is_not_understood() {
        let other = Other::default();
        let mut carried = carried(&other, 1..=3);
        let ack = Outcome::Ack(v1::ProduceAck::default());
        let results = vec![result(1, None), result(1, Some(ack.clone())), result(9, None)];
        other.says(&v1::ProduceResponse { results, draining: None });
        assert_eq!(poll(&mut carried), [(1, Err("INDETERMINATE"))]);
        let results = vec![result(2, Some(ack.clone()))];
        other.says(&v1::ProduceResponse { results, draining: None });
        assert_eq!(poll(&mut carried), [(2, Ok(ack))]);
        // A message whose first field is not what it should be.
        other.says(&v1::Watermark { partition: 7, ..Default::default() });
        assert_eq!(poll(&mut carried), [(3, Err("INDETERMINATE"))]);
        assert!(carried.calls.is_empty());
    }

    #[test]
    fn a_call_ends_that_nobody_uses_or_that_drains_once_it_has_answered() {
        let answer = |draining| v1::ProduceResponse { results: vec![result(1, None)], draining };
        let (moved, drained) = (Other::default(), Other::default());
        let mut unused = carried(&moved, [1]);
        unused.routes[0].to = Some(to(3));
        unused.settle(0);
        let mut draining = carried(&drained, [1, 2]);
        assert_eq!((poll(&mut unused).len(), unused.calls.len()), (0, 1));
        moved.says(&answer(None));
        assert_eq!((poll(&mut unused).len(), unused.calls.len()), (1, 0));
        drained.says(&answer(Some(v1::Draining::default())));
        assert_eq!((poll(&mut draining).len(), draining.calls.len()), (1, 1));
        drained.says(&v1::ProduceResponse { results: vec![result(2, None)], draining: None });
        assert_eq!((poll(&mut draining).len(), draining.calls.len()), (1, 0));
    }

    #[test]
    fn who_is_carried_never_hears_that_the_leader_is_elsewhere() {
        let error = |reason: &str| v1::Error { reason: reason.to_owned(), ..Default::default() };
        let moved = answered(Outcome::Error(error("NOT_LEADER")));
        assert!(matches!(moved, Err(Refusal::NoLeader)));
        assert!(answered(Outcome::Error(error("READ_ONLY"))).is_ok());
    }
}
