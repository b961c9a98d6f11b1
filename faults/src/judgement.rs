//! From what was seen of a partition to the history that the checker judges.
//!
//! Clients and etcd are watched by different tasks, so a state of etcd may be learnt after an answer that was
//! given under it. It is put before the first event that names its epoch: the order is then one in which
//! it can have happened.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::path::Path;

use forebay_checker::{
    AttemptId, Event, FinalReplica, History, Outcome, Violation, WriteConcern, check,
};
use forebay_format::{Epoch, NodeId};

use crate::observe::State;
use crate::workload::Seen;

/// What was judged.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) history: History,
    pub(crate) violations: Vec<Violation>,
}

/// Judges one partition.
pub(crate) fn judge(mut seen: Seen, states: Vec<State>) -> Judged {
    forget_what_cannot_be_seen(&mut seen);
    let history = history_of(seen, states);
    let violations = check(&history);
    Judged { history, violations }
}

fn history_of(seen: Seen, states: Vec<State>) -> History {
    let leaders = leaders_of(&states);
    let mut pending: VecDeque<State> = states.into();
    let mut history = History::new();
    let mut writer = NodeId::new(0);
    let mut written: Option<Epoch> = None;
    for (at_ms, event) in seen.events {
        let named = epoch_of(&event);
        while let Some(state) = pending.front() {
            let is_named = named.is_some_and(|named| {
                written < Some(named) && pending.iter().any(|state| state.epoch == named)
            });
            if state.at_ms > at_ms && !is_named {
                break;
            }
            let Some(state) = pending.pop_front() else { break };
            written = Some(state.epoch);
            writer = state.leader.unwrap_or(writer);
            history.push(at_ms, state_written(state, writer));
        }
        history.push(at_ms, with_leader(event, &leaders));
    }
    history
}

/// A log is seen up to its mark only. What fewer than a majority had when it was acknowledged is normally committed
/// by the writes behind it; where a partition ends read-only it may be there all the same, unseen.
fn forget_what_cannot_be_seen(seen: &mut Seen) {
    let marks = seen.events.iter().rev().find_map(|(_, event)| {
        let Event::Ended { replicas, .. } = event else { return None };
        replicas.iter().map(|replica| replica.log.committed).max()
    });
    let healed = seen.events.iter().any(|(_, event)| matches!(event, Event::Healed));
    let Some(mark) = marks.filter(|_| !healed) else { return };
    let below_quorum: BTreeSet<AttemptId> = seen
        .events
        .iter()
        .filter_map(|(_, event)| {
            let Event::Produce(produce) = event else { return None };
            let leader =
                matches!(produce.concern, WriteConcern::Leader | WriteConcern::Replicas(_));
            leader.then_some(produce.attempt)
        })
        .collect();
    for (_, event) in &mut seen.events {
        if let Event::ProduceEnded { attempt, outcome } = event
            && let Outcome::Acked { base_offset: Some(base_offset), .. } = outcome
            && *base_offset >= mark
            && below_quorum.contains(attempt)
        {
            *outcome = Outcome::Unknown;
        }
    }
}

/// Who answers in an epoch.
fn leaders_of(states: &[State]) -> BTreeMap<Epoch, NodeId> {
    states.iter().filter_map(|state| Some((state.epoch, state.leader?))).collect()
}

/// The newest epoch that an event shows to have begun.
fn epoch_of(event: &Event) -> Option<Epoch> {
    match event {
        Event::ProduceEnded { outcome: Outcome::Acked { epoch, .. }, .. } => Some(*epoch),
        Event::Read { records, .. } => records.last().map(|record| record.epoch),
        _ => None,
    }
}

fn with_leader(event: Event, leaders: &BTreeMap<Epoch, NodeId>) -> Event {
    match event {
        Event::ProduceEnded {
            attempt,
            outcome: Outcome::Acked { by, epoch, base_offset, durable_on },
        } => {
            let by = leaders.get(&epoch).copied().unwrap_or(by);
            let outcome = Outcome::Acked { by, epoch, base_offset, durable_on };
            Event::ProduceEnded { attempt, outcome }
        }
        other => other,
    }
}

fn state_written(state: State, by: NodeId) -> Event {
    Event::StateWritten {
        by,
        epoch: state.epoch,
        leader: state.leader.unwrap_or(by),
        voters: state.voters,
        next_voters: state.next_voters,
        in_sync: state.in_sync,
    }
}

/// Writes a history for people, an event to a line.
pub(crate) fn write_history(path: &Path, history: &History) -> std::io::Result<()> {
    let mut text = String::new();
    for (_, at_ms, event) in history.iter() {
        // Writing to a string does not fail.
        let _written = writeln!(text, "{at_ms:>8} {event:?}");
    }
    std::fs::write(path, text)
}

/// The end of a history.
pub(crate) fn ended(replicas: Vec<FinalReplica>, bound_ms: u64) -> Event {
    Event::Ended { bound_ms, replicas }
}

#[cfg(test)]
mod tests {
    use forebay_format::Offset;

    use super::*;

    fn state(at_ms: u64, epoch: u64, leader: Option<u32>) -> State {
        State {
            at_ms,
            epoch: Epoch::new(epoch),
            leader: leader.map(NodeId::new),
            voters: Vec::new(),
            next_voters: None,
            in_sync: Vec::new(),
            version: epoch,
        }
    }

    fn acked(epoch: u64) -> Event {
        let outcome = Outcome::Acked {
            by: NodeId::new(0),
            epoch: Epoch::new(epoch),
            base_offset: Some(Offset::ZERO),
            durable_on: 1,
        };
        Event::ProduceEnded { attempt: AttemptId(epoch), outcome }
    }

    fn seen_as(events: Vec<(u64, Event)>) -> Seen {
        let mut seen = Seen::default();
        seen.events = events;
        seen
    }

    fn names(history: &History) -> Vec<String> {
        let name = |event: &Event| match event {
            Event::StateWritten { epoch, by, .. } => format!("epoch {epoch} by {by}"),
            Event::ProduceEnded { outcome: Outcome::Acked { by, epoch, .. }, .. } => {
                format!("ack of {by} in {epoch}")
            }
            other => format!("{other:?}"),
        };
        history.iter().map(|(.., event)| name(event)).collect()
    }

    #[test]
    fn a_state_that_was_learnt_late_stands_before_what_happened_under_it() {
        let events = vec![(10, acked(1)), (20, acked(2)), (40, Event::Healed)];
        let seen = seen_as(events);
        let history = history_of(seen, vec![state(5, 1, Some(7)), state(30, 2, Some(8))]);
        let expected = ["epoch 1 by 7", "ack of 7 in 1", "epoch 2 by 8", "ack of 8 in 2", "Healed"];
        assert_eq!(names(&history), expected);
    }

    #[test]
    fn states_of_a_store_that_went_back_stand_behind_its_restoration() {
        let events = vec![(10, acked(2)), (20, acked(1)), (30, Event::MetadataRestored)];
        let seen = seen_as(events);
        let states = vec![state(5, 1, Some(7)), state(6, 2, Some(8)), state(40, 1, Some(7))];
        let names = names(&history_of(seen, states));
        assert_eq!(names.last().map(String::as_str), Some("MetadataRestored"));
    }

    #[test]
    fn an_answer_of_an_epoch_that_has_passed_does_not_hurry_later_ones() {
        let events = vec![(10, acked(2)), (11, acked(1)), (12, Event::Healed)];
        let seen = seen_as(events);
        let states = vec![state(5, 1, Some(7)), state(6, 2, Some(8)), state(99, 3, None)];
        let expected = ["epoch 1 by 7", "epoch 2 by 8", "ack of 8 in 2", "ack of 7 in 1", "Healed"];
        assert_eq!(names(&history_of(seen, states)), expected);
    }
}
