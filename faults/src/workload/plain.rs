//! A producer without an identity over a bare stream, as a simple client in any language: it sees refusals and
//! outcomes that are not known, and does not try again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_checker::{AttemptId, Outcome, WriteConcern};
use forebay_format::{Epoch, Offset};
use forebay_proto::v1::producer_service_client::ProducerServiceClient;
use forebay_proto::v1::{
    ProduceAck, ProduceBatch, ProduceOpen, ProduceRequest, ProduceResult, produce_batch::Content,
    produce_request::Message, produce_result,
};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::addresses::channel;
use super::concern::Concern;
use super::idempotent::{SOMEBODY, is_open};
use super::load::{Pace, Surroundings};
use super::record::raw_batch;
use crate::seed::Dice;

/// A stream lives this long, and the next goes to another node.
const STREAM_LIFE: Duration = Duration::from_secs(2);
/// A stream on which nothing is answered for so long is given up.
const ANSWER_PATIENCE: Duration = Duration::from_secs(6);
/// What the server may wait for a write concern.
const TIMEOUT_MS: u32 = 1_500;
const UNANSWERED_MAX: usize = 16;
const REOPEN_PAUSE: Duration = Duration::from_millis(100);

/// One stream.
struct Session<'a> {
    around: &'a Surroundings,
    topic: usize,
    requests: mpsc::Sender<ProduceRequest>,
    under_way: BTreeMap<u64, (usize, AttemptId, Concern)>,
    next_request: u64,
}

/// Produces until the load stops, with one write concern after the other.
pub(super) async fn run(around: Arc<Surroundings>, topic: usize, mut dice: Dice) {
    let factor = around.topics.all[topic].factor;
    let concerns = [
        WriteConcern::Quorum,
        WriteConcern::Leader,
        WriteConcern::All,
        WriteConcern::None,
        WriteConcern::Quorum,
        WriteConcern::Replicas(factor.min(2)),
    ];
    let mut pace = Pace::new(around.pace);
    while !around.is_over() {
        let (_, address) = &around.nodes[dice.index(around.nodes.len())];
        let (requests, receiver) = mpsc::channel(UNANSWERED_MAX + 1);
        let mut session = Session {
            around: &around,
            topic,
            requests,
            under_way: BTreeMap::new(),
            next_request: 0,
        };
        let name = around.topics.all[topic].name.clone();
        let open = ProduceOpen { topic: name, ..ProduceOpen::default() };
        let opened = session.requests.send(request(Message::Open(open))).await;
        debug_assert!(opened.is_ok(), "there is room for the first message");
        let mut service = ProducerServiceClient::new(channel(address));
        let answers =
            tokio::time::timeout(ANSWER_PATIENCE, service.produce(ReceiverStream::new(receiver)));
        if let Ok(Ok(answers)) = answers.await {
            session.produce(answers.into_inner(), &concerns, (&mut pace, &mut dice)).await;
        } else {
            tokio::time::sleep(REOPEN_PAUSE).await;
        }
        // Whatever was not answered may be in the log or not.
        for (place, attempt, concern) in std::mem::take(&mut session.under_way).into_values() {
            around.recorder.ended(place, attempt, concern, Outcome::Unknown);
        }
    }
}

impl Session<'_> {
    async fn produce(
        &mut self,
        mut answers: Streaming<forebay_proto::v1::ProduceResponse>,
        concerns: &[WriteConcern],
        (pace, dice): (&mut Pace, &mut Dice),
    ) {
        let end = Instant::now() + STREAM_LIFE;
        let mut answered = Instant::now();
        loop {
            let done_sending = Instant::now() >= end || self.around.is_over();
            if done_sending && self.under_way.is_empty() {
                return;
            }
            let may_send = !done_sending && self.under_way.len() < UNANSWERED_MAX;
            tokio::select! {
                answer = answers.message() => {
                    let Ok(Some(answer)) = answer else { return };
                    answered = Instant::now();
                    for result in answer.results {
                        self.take(result);
                    }
                    if answer.draining.is_some() && self.under_way.is_empty() {
                        return;
                    }
                }
                _ = pace.next(self.around), if may_send => {
                    if self.under_way.is_empty() {
                        answered = Instant::now();
                    }
                    let concern = Concern(concerns[dice.index(concerns.len())]);
                    if !self.send(concern, dice).await {
                        return;
                    }
                }
                () = tokio::time::sleep_until(answered + ANSWER_PATIENCE) => return,
            }
        }
    }

    async fn send(&mut self, concern: Concern, dice: &mut Dice) -> bool {
        let partitions = u64::from(self.around.topics.all[self.topic].partitions);
        let partition = u32::try_from(dice.below(partitions)).expect("a small number");
        let Some(place) = self.around.topics.place(self.topic, partition) else { return true };
        let values = self.around.recorder.values(1 + dice.below(4));
        let (write_concern, replicas) = concern.on_the_wire();
        let batch = ProduceBatch {
            request_id: self.next_request,
            partition,
            write_concern: write_concern.into(),
            write_concern_replicas: replicas,
            timeout_ms: TIMEOUT_MS,
            content: Some(Content::RawBatch(raw_batch(&values, dice))),
        };
        let attempt = self.around.recorder.sends(place, values, concern, None);
        self.under_way.insert(self.next_request, (place, attempt, concern));
        self.next_request += 1;
        self.requests.send(request(Message::Batch(batch))).await.is_ok()
    }

    fn take(&mut self, result: ProduceResult) {
        let Some((place, attempt, concern)) = self.under_way.remove(&result.request_id) else {
            self.around
                .recorder
                .find(&format!("an answer to a request {} that nobody made", result.request_id));
            return;
        };
        let outcome = match result.outcome {
            Some(produce_result::Outcome::Ack(ack)) => acked(&ack, concern),
            Some(produce_result::Outcome::Error(error))
                if error.reason == forebay_client::reason::INDETERMINATE =>
            {
                Outcome::Indeterminate
            }
            Some(produce_result::Outcome::Error(error)) if !is_open(&error.reason) => {
                Outcome::Refused { reason: error.reason }
            }
            _ => Outcome::Unknown,
        };
        self.around.recorder.ended(place, attempt, concern, outcome);
    }
}

fn request(message: Message) -> ProduceRequest {
    ProduceRequest { message: Some(message) }
}

fn acked(ack: &ProduceAck, concern: Concern) -> Outcome {
    let promises = concern.0 != WriteConcern::None;
    Outcome::Acked {
        by: SOMEBODY,
        epoch: Epoch::new(ack.epoch),
        base_offset: promises.then(|| Offset::new(ack.base_offset)),
        durable_on: ack.durable_replicas,
    }
}
