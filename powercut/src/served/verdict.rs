//! Compares what must be true with what the server shows. Pure.

use std::collections::BTreeMap;

use super::fact::{Incarnation, Place};
use super::partition::{PartitionCheck, SeenPartition};
use super::promise::{Presence, PromisedTopic, Promises};
use crate::subject::{Loss, Verdict};

/// A topic as the server shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenTopic {
    pub(super) name: String,
    pub(super) topic_id: String,
    pub(super) partitions: Vec<SeenPartition>,
}

/// Everything that the promises have against what is seen.
pub(super) fn compare(seed: u64, promises: &Promises, topics: &[SeenTopic]) -> Verdict {
    let mut findings = Findings { seed, promises, verdict: Verdict::default() };
    let by_id: BTreeMap<&str, &SeenTopic> =
        topics.iter().map(|topic| (topic.topic_id.as_str(), topic)).collect();
    if by_id.len() != topics.len() {
        findings.lose("topic-doubled", "two topics have the same identity".to_owned());
    }
    let mut explained = 0;
    for (incarnation, topic) in &promises.topics {
        let found = match &topic.topic_id {
            Some(id) => by_id.get(id.as_str()).copied(),
            // Its creation was never answered. Whatever bears its name and is no other's is it.
            None => topics.iter().find(|seen| {
                seen.name == topic.plan.name
                    && !promises
                        .topics
                        .values()
                        .any(|other| other.topic_id.as_deref() == Some(seen.topic_id.as_str()))
            }),
        };
        explained += usize::from(found.is_some());
        findings.topic(*incarnation, topic, found);
    }
    if explained < topics.len() {
        let detail = format!("{} topics, of which {explained} were asked for", topics.len());
        findings.lose("topic-unknown", detail);
    }
    findings.verdict
}

struct Findings<'a> {
    seed: u64,
    promises: &'a Promises,
    verdict: Verdict,
}

impl Findings<'_> {
    fn lose(&mut self, kind: &'static str, detail: String) {
        self.verdict.losses.push(Loss { kind, detail });
    }

    fn topic(&mut self, incarnation: Incarnation, topic: &PromisedTopic, seen: Option<&SeenTopic>) {
        self.verdict.promises_checked += u64::from(topic.presence != Presence::May);
        let name = format!("topic {} ({})", topic.plan.name, incarnation.0);
        let Some(seen) = seen else {
            if topic.presence == Presence::Must {
                self.lose("topic-lost", format!("{name} was created and is not there"));
            }
            return;
        };
        if topic.presence == Presence::MustNot {
            self.lose(
                "topic-back",
                format!("{name} was deleted, or never asked for, and is there"),
            );
            return;
        }
        let found = u32::try_from(seen.partitions.len()).unwrap_or(u32::MAX);
        if found != topic.plan.partitions || seen.name != topic.plan.name {
            let expected = topic.plan.partitions;
            let detail =
                format!("{name} of {expected} partitions came back as {} of {found}", seen.name);
            self.lose("topic-changed", detail);
        }
        for (partition, seen) in (0..).zip(&seen.partitions) {
            let place = Place { incarnation, partition };
            let name = format!("{name}, partition {partition}");
            let check = PartitionCheck { promises: self.promises, seed: self.seed, place, seen };
            let found = check.run(topic.plan.retention);
            self.verdict.promises_checked += found.promises_checked;
            for (kind, detail) in found.losses {
                self.lose(kind, format!("{name}: {detail}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fact::{Fact, TopicPlan};
    use super::super::partition::SeenRecord;
    use super::super::record::Content;
    use super::*;
    use crate::disk::Position;
    use crate::subject::Stamped;

    const SEED: u64 = 5;
    const TOPIC: Incarnation = Incarnation(0);

    fn stamped(facts: Vec<Fact>) -> Vec<Stamped<Fact>> {
        (0..).zip(facts).map(|(at, fact)| Stamped { at: Position::new(at), fact }).collect()
    }

    /// Positions 0 to 4: asked for, created, producer opened, two records promised, three more.
    fn history() -> Vec<Fact> {
        let name = "orders".to_owned();
        let plan = TopicPlan { incarnation: TOPIC, name, partitions: 1, retention: None };
        vec![
            Fact::CreateRequested(plan),
            Fact::Created { incarnation: TOPIC, topic_id: "a".to_owned() },
            Fact::ProducerOpened { producer: 1, incarnation: TOPIC, streams: vec![1] },
            Fact::Appended { stream: 1, first: 0, count: 2, base_offset: 0 },
            Fact::Appended { stream: 1, first: 2, count: 3, base_offset: 2 },
        ]
    }

    fn seen(numbers: &[u64]) -> Vec<SeenTopic> {
        let records: Vec<SeenRecord> = (0..)
            .zip(numbers)
            .map(|(offset, number)| {
                let Content { key, value } = Content::of(SEED, 1, *number);
                SeenRecord { offset, key, value: Some(value) }
            })
            .collect();
        let committed = u64::try_from(records.len()).expect("few records");
        let partition = SeenPartition { earliest: 0, committed, records, refusal: None };
        let (name, topic_id) = ("orders".to_owned(), "a".to_owned());
        vec![SeenTopic { name, topic_id, partitions: vec![partition] }]
    }

    fn losses(facts: Vec<Fact>, cut: u64, seen: &[SeenTopic]) -> Vec<&'static str> {
        let promises = Promises::at(&stamped(facts), Position::new(cut));
        compare(SEED, &promises, seen).losses.iter().map(|loss| loss.kind).collect()
    }

    #[test]
    fn what_was_promised_before_the_cut_and_maybe_more_is_right() {
        let right: [(u64, &[u64]); 4] =
            [(3, &[0, 1]), (3, &[0, 1, 2, 3]), (4, &[0, 1, 2, 3, 4]), (2, &[])];
        for (cut, numbers) in right {
            assert_eq!(losses(history(), cut, &seen(numbers)), [""; 0], "{cut} {numbers:?}");
        }
    }

    #[test]
    fn a_promised_record_that_is_missing_is_a_loss() {
        assert_eq!(losses(history(), 4, &seen(&[0, 1, 2, 3])), ["records-lost"]);
        assert_eq!(losses(history(), 3, &seen(&[])), ["records-lost"]);
    }

    #[test]
    fn doubled_skipped_and_swapped_records_are_found() {
        assert_eq!(losses(history(), 2, &seen(&[0, 0])), ["order"]);
        assert_eq!(losses(history(), 2, &seen(&[0, 2])), ["order"]);
        assert_eq!(losses(history(), 3, &seen(&[1, 0])), ["order", "order", "records-lost"]);
    }

    #[test]
    fn a_gap_of_offsets_changed_bytes_and_a_moved_start_are_found() {
        let mut gap = seen(&[0, 1]);
        gap[0].partitions[0].records[1].offset = 2;
        assert_eq!(losses(history(), 3, &gap), ["gap", "records-lost"]);

        let mut changed = seen(&[0, 1]);
        let last = changed[0].partitions[0].records[1].value.as_mut().expect("a value");
        *last.last_mut().expect("bytes") ^= 1;
        assert_eq!(losses(history(), 3, &changed), ["bytes"]);

        let mut moved = seen(&[0, 1]);
        moved[0].partitions[0].earliest = 1;
        moved[0].partitions[0].records.remove(0);
        assert_eq!(losses(history(), 3, &moved), ["start-moved"]);
    }

    #[test]
    fn a_topic_is_there_from_its_answer_on_until_its_deletion_was_asked_for() {
        let mut facts = history();
        facts.push(Fact::DeleteRequested { incarnation: TOPIC });
        facts.push(Fact::Deleted { incarnation: TOPIC });
        assert_eq!(losses(facts.clone(), 0, &[]), [""; 0]);
        assert_eq!(losses(facts.clone(), 1, &[]), ["topic-lost"]);
        assert_eq!(losses(facts.clone(), 5, &[]), [""; 0]);
        assert_eq!(losses(facts.clone(), 5, &seen(&[0, 1, 2, 3, 4])), [""; 0]);
        assert_eq!(losses(facts.clone(), 6, &[]), [""; 0]);
        assert_eq!(losses(facts, 6, &seen(&[0, 1, 2, 3, 4])), ["topic-back"]);
    }

    #[test]
    fn a_topic_that_nobody_asked_for_is_found() {
        let mut two = seen(&[0, 1]);
        two.push(SeenTopic { topic_id: "b".to_owned(), ..two[0].clone() });
        assert_eq!(losses(history(), 3, &two), ["topic-unknown"]);
    }
}
