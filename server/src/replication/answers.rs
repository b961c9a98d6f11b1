//! Clients' writes that wait for what the protocol says of them.

use std::collections::HashMap;
use std::time::Instant;

use forebay_engine::{AckWhen, AppendError, Appended, Completion, WriteRefusal};
use forebay_format::{BatchMeta, TimestampMs};
use forebay_replication::{Answer, Token, WriteConcern, WriteRefusal as Refusal};

use super::metrics::ReplicationMetrics;
use crate::clock;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Answers {
    last: u64,
    waiting: HashMap<Token, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    done: Completion,
    record_count: u32,
    /// When it was appended; `None` when it had been before.
    append_time: Option<TimestampMs>,
    since: Instant,
}

impl Answers {
    /// Remembers a write under a token of its own.
    pub(super) fn wait(&mut self, done: Completion, record_count: u32) -> Token {
        self.last += 1;
        let token = Token(self.last);
        let since = clock::monotonic();
        self.waiting.insert(token, Waiting { done, record_count, append_time: None, since });
        token
    }

    /// The write was appended, as this.
    pub(super) fn appended(&mut self, token: Token, batch: &BatchMeta) {
        if let Some(waiting) = self.waiting.get_mut(&token) {
            waiting.append_time = Some(batch.leader.append_time);
        }
    }

    /// What the client is told, and where.
    pub(super) fn answer(
        &mut self,
        token: Token,
        answer: Answer,
        metrics: &ReplicationMetrics,
    ) -> Option<(Completion, Result<Appended, AppendError>)> {
        let Waiting { done, record_count, append_time, since } = self.waiting.remove(&token)?;
        let outcome = match answer {
            Answer::Acked { base_offset, epoch, durable_replicas, concern } => {
                if !matches!(concern, WriteConcern::None | WriteConcern::LEADER) {
                    metrics.commit.observe(clock::monotonic().duration_since(since));
                }
                let duplicate = append_time.is_none();
                let append_time = append_time.unwrap_or(TimestampMs::MIN);
                let durable_replicas = u32::try_from(durable_replicas).unwrap_or(u32::MAX);
                Ok(Appended {
                    base_offset,
                    record_count,
                    epoch,
                    append_time,
                    durable_replicas,
                    duplicate,
                })
            }
            Answer::Refused(refusal) => Err(refused(refusal)),
            Answer::Indeterminate { .. } => Err(AppendError::Indeterminate),
        };
        Some((done, outcome))
    }

    /// The log is out of service: nobody knows what becomes of them.
    pub(super) fn abandon(&mut self) -> Vec<(Completion, Result<Appended, AppendError>)> {
        let waiting = self.waiting.drain();
        waiting.map(|(_, waiting)| (waiting.done, Err(AppendError::Indeterminate))).collect()
    }
}

/// What the protocol calls what the answer waits for.
pub(super) const fn concern(when: AckWhen) -> WriteConcern {
    match when {
        AckWhen::AtOnce => WriteConcern::None,
        AckWhen::Written => WriteConcern::LEADER,
        AckWhen::Durable | AckWhen::Quorum => WriteConcern::Quorum,
        AckWhen::All => WriteConcern::All,
        AckWhen::Replicas(count) => WriteConcern::Replicas(count),
    }
}

fn refused(refusal: Refusal) -> AppendError {
    AppendError::NotAdmitted(match refusal {
        Refusal::NotLeader { leader } => WriteRefusal::NotLeader { leader },
        Refusal::NotServing => WriteRefusal::NotServing,
        Refusal::ReadOnly { live, needed } => WriteRefusal::ReadOnly { live, needed },
        Refusal::MetadataRolledBack => WriteRefusal::MetadataRolledBack,
        Refusal::TooManyReplicas { voters } => WriteRefusal::TooManyReplicas { voters },
        Refusal::Overloaded => WriteRefusal::Overloaded,
        Refusal::Producer(error) => return AppendError::Producer(error),
    })
}

#[cfg(test)]
mod tests {
    use forebay_engine::{CompletionQueue, StampedBatch};
    use forebay_format::{Epoch, LeaderFields, NodeId, Offset, ProducerEpoch, ProducerError};

    use super::*;

    fn completion(token: u64) -> Completion {
        Completion { queue: CompletionQueue::new(), token, when: AckWhen::Quorum }
    }

    fn batch() -> BatchMeta {
        let leader = LeaderFields {
            base_offset: Offset::new(7),
            epoch: Epoch::new(3),
            append_time: TimestampMs::new(99),
            previous_header_crc: 0,
        };
        *StampedBatch::epoch_start(leader.append_time, leader).meta()
    }

    fn acked(durable_replicas: usize) -> Answer {
        let (base_offset, epoch) = (Offset::new(7), Epoch::new(3));
        Answer::Acked { base_offset, epoch, durable_replicas, concern: WriteConcern::Quorum }
    }

    #[test]
    fn each_write_is_answered_once_and_where_it_came_from() {
        let (mut answers, counted) = (Answers::default(), ReplicationMetrics::default());
        let (one, two) = (answers.wait(completion(11), 5), answers.wait(completion(12), 6));
        assert_ne!(one, two);
        answers.appended(two, &batch());
        let (done, outcome) = answers.answer(two, acked(2), &counted).expect("it waits");
        assert_eq!(done.token, 12);
        let expected = Appended {
            base_offset: Offset::new(7),
            record_count: 6,
            epoch: Epoch::new(3),
            append_time: TimestampMs::new(99),
            durable_replicas: 2,
            duplicate: false,
        };
        assert_eq!(outcome.expect("acknowledged"), expected);
        assert!(answers.answer(two, acked(2), &counted).is_none(), "it was answered");
        let (done, outcome) = answers.answer(one, acked(0), &counted).expect("it waits");
        let appended = outcome.expect("acknowledged");
        assert_eq!((done.token, appended.record_count), (11, 5));
        assert!(appended.duplicate, "it was not appended by this attempt");
        assert_eq!(appended.durable_replicas, 0);
    }

    #[test]
    fn what_becomes_of_writes_is_not_known_when_the_log_is_out_of_service() {
        let (mut answers, counted) = (Answers::default(), ReplicationMetrics::default());
        let one = answers.wait(completion(11), 5);
        answers.wait(completion(12), 5);
        let offset = Offset::new(7);
        let indeterminate =
            answers.answer(one, Answer::Indeterminate { base_offset: offset }, &counted);
        let (_, outcome) = indeterminate.expect("it waits");
        assert!(matches!(outcome, Err(AppendError::Indeterminate)));
        let abandoned = answers.abandon();
        let [(done, outcome)] = &abandoned[..] else { panic!("{abandoned:?}") };
        assert!(matches!(outcome, Err(AppendError::Indeterminate)));
        assert_eq!(done.token, 12);
        assert!(answers.abandon().is_empty());
        let after = answers.wait(completion(13), 5);
        assert_ne!(after, one, "no token comes twice");
    }

    #[test]
    fn refusals_keep_what_they_say() {
        let leader = Some(NodeId::new(4));
        let producer = ProducerError::StaleEpoch {
            found: ProducerEpoch::new(1),
            current: ProducerEpoch::new(2),
        };
        let refuse = |refusal| {
            let (mut answers, counted) = (Answers::default(), ReplicationMetrics::default());
            let token = answers.wait(completion(1), 1);
            let (_, outcome) =
                answers.answer(token, Answer::Refused(refusal), &counted).expect("it waits");
            outcome.expect_err("it was refused")
        };
        for (refusal, expected) in [
            (Refusal::NotLeader { leader }, WriteRefusal::NotLeader { leader }),
            (Refusal::NotServing, WriteRefusal::NotServing),
            (
                Refusal::ReadOnly { live: 1, needed: 2 },
                WriteRefusal::ReadOnly { live: 1, needed: 2 },
            ),
            (Refusal::MetadataRolledBack, WriteRefusal::MetadataRolledBack),
            (Refusal::TooManyReplicas { voters: 3 }, WriteRefusal::TooManyReplicas { voters: 3 }),
            (Refusal::Overloaded, WriteRefusal::Overloaded),
        ] {
            let error = refuse(refusal);
            assert!(
                matches!(error, AppendError::NotAdmitted(found) if found == expected),
                "{error}"
            );
        }
        let error = refuse(Refusal::Producer(producer));
        assert!(matches!(error, AppendError::Producer(found) if found == producer), "{error}");
    }

    #[test]
    fn durable_here_and_elsewhere_are_asked_of_the_protocol() {
        for (when, expected) in [
            (AckWhen::AtOnce, WriteConcern::None),
            (AckWhen::Written, WriteConcern::Replicas(1)),
            (AckWhen::Durable, WriteConcern::Quorum),
            (AckWhen::Quorum, WriteConcern::Quorum),
            (AckWhen::All, WriteConcern::All),
            (AckWhen::Replicas(3), WriteConcern::Replicas(3)),
        ] {
            assert_eq!(concern(when), expected);
        }
    }
}
