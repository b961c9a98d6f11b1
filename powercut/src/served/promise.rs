//! What must be true after a cut: the facts up to it, put together. Pure.

use std::collections::BTreeMap;

use super::fact::{Fact, Incarnation, Place, TopicPlan};
use super::record::StreamId;
use crate::disk::Position;
use crate::subject::Stamped;

/// Records that must be where they were said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PromisedRecords {
    pub(super) stream: StreamId,
    pub(super) first: u64,
    pub(super) count: u32,
    pub(super) base_offset: u64,
}

/// Whether a topic must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Must,
    /// Somebody had asked for a change that was not answered yet.
    May,
    MustNot,
}

/// What is known of one incarnation of a topic.
#[derive(Debug)]
pub(super) struct PromisedTopic {
    pub(super) plan: TopicPlan,
    pub(super) presence: Presence,
    /// Known when its creation was answered before the end of the recording.
    pub(super) topic_id: Option<String>,
}

/// Everything that must hold after a cut.
#[derive(Debug, Default)]
pub(super) struct Promises {
    pub(super) topics: BTreeMap<Incarnation, PromisedTopic>,
    /// In the order in which they were acknowledged.
    pub(super) records: BTreeMap<Place, Vec<PromisedRecords>>,
    /// Where the records of each stream belong.
    pub(super) streams: BTreeMap<StreamId, Place>,
}

impl Promises {
    /// What was promised before the cut, and what had been asked before it.
    pub(super) fn at(facts: &[Stamped<Fact>], cut: Position) -> Self {
        let mut promises = Self::default();
        for Stamped { at, fact } in facts {
            promises.take(fact, *at <= cut);
        }
        promises
    }

    fn take(&mut self, fact: &Fact, is_before_cut: bool) {
        match fact {
            Fact::CreateRequested(plan) => {
                let presence = if is_before_cut { Presence::May } else { Presence::MustNot };
                let topic = PromisedTopic { plan: plan.clone(), presence, topic_id: None };
                self.topics.insert(plan.incarnation, topic);
            }
            Fact::Created { incarnation, topic_id } => {
                let topic = self.topic(*incarnation);
                // An identity learned after the cut still tells which topic it is.
                topic.topic_id = Some(topic_id.clone());
                if is_before_cut {
                    topic.presence = Presence::Must;
                }
            }
            Fact::DeleteRequested { incarnation } if is_before_cut => {
                self.topic(*incarnation).presence = Presence::May;
            }
            Fact::Deleted { incarnation } if is_before_cut => {
                self.topic(*incarnation).presence = Presence::MustNot;
            }
            Fact::ProducerOpened { incarnation, streams, .. } => {
                let incarnation = *incarnation;
                for (partition, stream) in (0..).zip(streams) {
                    self.streams.insert(*stream, Place { incarnation, partition });
                }
            }
            Fact::Appended { stream, first, count, base_offset } if is_before_cut => {
                let place = self.streams[stream];
                let (stream, first, count) = (*stream, *first, *count);
                let records = PromisedRecords { stream, first, count, base_offset: *base_offset };
                self.records.entry(place).or_default().push(records);
            }
            Fact::DeleteRequested { .. }
            | Fact::Deleted { .. }
            | Fact::Appended { .. }
            | Fact::ServerEnded { .. } => {}
        }
    }

    fn topic(&mut self, incarnation: Incarnation) -> &mut PromisedTopic {
        self.topics.get_mut(&incarnation).expect("creation is requested before anything else")
    }
}
