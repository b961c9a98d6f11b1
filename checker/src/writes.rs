//! What clients wrote, put together from the calls and their answers.

use std::collections::BTreeMap;

use forebay_format::{Epoch, NodeId, Offset};

use crate::history::{AttemptId, Event, History, Outcome, Produce, Value, Voter};

/// An acknowledgement with the call that it answers.
#[derive(Debug)]
pub(crate) struct Ack<'a> {
    /// Place of the answer in the history.
    pub(crate) index: usize,
    pub(crate) produce: &'a Produce,
    pub(crate) by: NodeId,
    pub(crate) epoch: Epoch,
    pub(crate) base_offset: Offset,
    /// Replicas that had synced it, when the observer knows.
    pub(crate) copies: Option<(usize, Copies<'a>)>,
}

impl Ack<'_> {
    /// The acknowledged records with their offsets.
    pub(crate) fn records(&self) -> impl Iterator<Item = (Offset, Value)> {
        let place = |(distance, value): (u64, &Value)| (self.base_offset + distance, *value);
        (0..).zip(&self.produce.values).map(place)
    }
}

/// One attempt to write a value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) produce: &'a Produce,
    /// How it ended, and at which place of the history.
    pub(crate) outcome: Option<(usize, &'a Outcome)>,
}

/// What clients wrote.
#[derive(Debug)]
pub(crate) struct Writes<'a> {
    /// All acknowledgements that name an offset, in the order of the history.
    pub(crate) acks: Vec<Ack<'a>>,
    by_value: BTreeMap<Value, Vec<Call<'a>>>,
}

/// See [`Event::Copies`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copies<'a> {
    pub(crate) synced_on: &'a [Voter],
    pub(crate) synced_before: &'a [Voter],
}

impl<'a> Writes<'a> {
    pub(crate) fn of(history: &'a History) -> Self {
        let mut calls: BTreeMap<AttemptId, &Produce> = BTreeMap::new();
        let mut outcomes: BTreeMap<AttemptId, (usize, &Outcome)> = BTreeMap::new();
        let mut copies: BTreeMap<AttemptId, (usize, Copies<'_>)> = BTreeMap::new();
        for (index, _, event) in history.iter() {
            match event {
                Event::Produce(produce) => {
                    calls.insert(produce.attempt, produce);
                }
                Event::ProduceEnded { attempt, outcome } => {
                    outcomes.entry(*attempt).or_insert((index, outcome));
                }
                Event::Copies { attempt, synced_on, synced_before } => {
                    copies.insert(*attempt, (index, Copies { synced_on, synced_before }));
                }
                _ => {}
            }
        }
        let mut by_value: BTreeMap<Value, Vec<Call<'_>>> = BTreeMap::new();
        for (attempt, produce) in &calls {
            let call = Call { produce, outcome: outcomes.get(attempt).copied() };
            for value in &produce.values {
                by_value.entry(*value).or_default().push(call);
            }
        }
        let mut acks: Vec<_> = outcomes
            .iter()
            .filter_map(|(attempt, (index, outcome))| {
                let Outcome::Acked { by, epoch, base_offset: Some(base_offset), .. } = **outcome
                else {
                    return None;
                };
                let produce = *calls.get(attempt)?;
                let copies = copies.get(attempt).copied();
                Some(Ack { index: *index, produce, by, epoch, base_offset, copies })
            })
            .collect();
        acks.sort_unstable_by_key(|ack| ack.index);
        Self { acks, by_value }
    }

    /// Every attempt to write `value`; none, when no client of this history wrote it.
    pub(crate) fn of_value(&self, value: Value) -> &[Call<'a>] {
        self.by_value.get(&value).map_or(&[], Vec::as_slice)
    }
}
