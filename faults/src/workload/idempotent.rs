//! A producer with an identity, through the Rust client: it sends what was not acknowledged again, across every
//! failover, and nothing may be there twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_checker::{AttemptId, Outcome, Stamp, WriteConcern};
use forebay_client::{
    BatchAck, Client, DeliveryError, DeliveryFailure, DeliveryReport, Producer, ProducerOptions,
    Resume, SendError, reason,
};
use forebay_format::{Epoch, NodeId, PartitionIndex, ProducerEpoch, ProducerId, Sequence};
use tokio::sync::Semaphore;

use super::concern::Concern;
use super::load::{Pace, Surroundings};
use super::record::prepared_batch;
use crate::lock::Lock;
use crate::seed::Dice;

/// Batches that are not acknowledged, at most. With that many nothing more is sent.
const UNANSWERED_MAX: usize = 48;
/// How long a server may wait for a write concern.
const ACK_TIMEOUT: Duration = Duration::from_secs(3);
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

/// Who answers is not told to the user of the client; it is found by the epoch.
pub(super) const SOMEBODY: NodeId = NodeId::new(0);

/// What is under way, by partition and first sequence.
type UnderWay = BTreeMap<(PartitionIndex, u64), (usize, AttemptId)>;

/// One identity.
struct Life {
    around: Arc<Surroundings>,
    concern: Concern,
    id: ProducerId,
    under_way: Lock<UnderWay>,
    room: Semaphore,
}

/// Produces until the load stops, and takes a new identity whenever a server has lost what it may lose.
pub(super) async fn run(
    around: Arc<Surroundings>,
    client: Client,
    topic: usize,
    concern: Concern,
    mut dice: Dice,
) {
    while !around.is_over() {
        let life = Arc::new(Life {
            around: Arc::clone(&around),
            concern,
            id: ProducerId::random(),
            under_way: Lock::default(),
            room: Semaphore::new(UNANSWERED_MAX),
        });
        let options = ProducerOptions {
            write_concern: concern.of_client(),
            linger: Duration::ZERO,
            ack_timeout: Some(ACK_TIMEOUT),
            resume: Some(Resume {
                id: life.id,
                epoch: ProducerEpoch::ZERO,
                next_sequences: BTreeMap::new(),
            }),
            ..ProducerOptions::default()
        };
        let listener = Arc::clone(&life);
        let name = &around.topics.all[topic].name;
        let producer =
            client.producer_with_reports(name, options, move |outcome| listener.hear(outcome));
        match producer.await {
            Ok(producer) => life.live(producer, topic, &mut dice).await,
            Err(_unreachable) => tokio::time::sleep(REOPEN_PAUSE).await,
        }
    }
}

impl Life {
    async fn live(&self, producer: Producer, topic: usize, dice: &mut Dice) {
        let partitions = u64::from(self.around.topics.all[topic].partitions);
        let mut sequences: BTreeMap<PartitionIndex, u64> = BTreeMap::new();
        let mut due = Pace::new(self.around.pace);
        while due.next(&self.around).await {
            let Ok(permit) = self.room.acquire().await else { return };
            permit.forget();
            let index = u32::try_from(dice.below(partitions)).expect("a small number");
            let Some(place) = self.around.topics.place(topic, index) else { continue };
            let index = PartitionIndex::new(index);
            let values = self.around.recorder.values(1 + dice.below(8));
            let batch = prepared_batch(&values, dice);
            let next = sequences.entry(index).or_default();
            let first_sequence = *next;
            *next += values.len() as u64;
            let stamp = Stamp {
                producer: self.id,
                epoch: ProducerEpoch::ZERO,
                first_sequence: Sequence::new(first_sequence),
            };
            let attempt = self.around.recorder.sends(place, values, self.concern, Some(stamp));
            self.under_way.with(|all| all.insert((index, first_sequence), (place, attempt)));
            match producer.send_batch(index, &batch).await {
                Ok(ticket) if ticket.sequence == first_sequence => {}
                Ok(ticket) => {
                    let found = ticket.sequence;
                    let what =
                        format!("the client gave sequence {found}, expected {first_sequence}");
                    self.around.recorder.find(&what);
                    return;
                }
                // It was never sent, so that nobody may ever see it.
                Err(error) => {
                    self.end((index, first_sequence), Outcome::Refused { reason: text(&error) });
                    return;
                }
            }
        }
        // Whoever stops the load knows how long it may take.
        drop(producer.close().await);
    }

    fn hear(&self, report: DeliveryReport) {
        self.room.add_permits(1);
        match report {
            Ok(ack) => self.end((ack.partition, ack.first_sequence), acked(&ack, self.concern)),
            Err(error) => {
                self.judge(&error);
                let outcome = if error.may_be_written {
                    Outcome::Unknown
                } else {
                    Outcome::Refused { reason: format!("{}", error.cause) }
                };
                self.end((error.partition, error.first_sequence), outcome);
            }
        }
    }

    fn end(&self, key: (PartitionIndex, u64), outcome: Outcome) {
        if let Some((place, attempt)) = self.under_way.with(|all| all.remove(&key)) {
            self.around.recorder.ended(place, attempt, self.concern, outcome);
        }
    }

    /// A producer that waits for a quorum never fails for good.
    fn judge(&self, error: &DeliveryError) {
        if !self.concern.is_committed() || self.around.is_over() {
            return;
        }
        let cause = match &*error.cause {
            DeliveryFailure::Refused(refusal)
            | DeliveryFailure::AcknowledgedRecordsLost(refusal) => {
                format!("{}: {refusal}", error.cause)
            }
            DeliveryFailure::Closed => return,
            other => other.to_string(),
        };
        self.around.recorder.find(&format!(
            "a producer with an identity and {:?} failed for good: {error}: {cause}",
            self.concern.0
        ));
    }
}

fn acked(ack: &BatchAck, concern: Concern) -> Outcome {
    let promises = concern.0 != WriteConcern::None;
    Outcome::Acked {
        by: SOMEBODY,
        epoch: Epoch::new(ack.epoch.get()),
        base_offset: promises.then_some(ack.base_offset),
        durable_on: ack.durable_replicas,
    }
}

fn text(error: &SendError) -> String {
    format!("not sent: {error}")
}

/// The reasons of ours that leave open whether a write happened.
pub(super) fn is_open(reason: &str) -> bool {
    reason == reason::INDETERMINATE || reason.is_empty()
}
