//! I10: once faults are healed, everything is caught up in bounded time: every replica has the whole
//! log, all of it committed, and a write that was sent after the healing was acknowledged.

use std::collections::BTreeSet;

use crate::history::{AttemptId, Event, FinalReplica, History, Outcome};
use crate::violation::{Invariant, Violation};

pub(crate) fn check(history: &History, found: &mut Vec<Violation>) {
    let healed = history.iter().rev().find(|(.., event)| matches!(event, Event::Healed));
    let Some((healed, healed_ms, _)) = healed else { return };
    let ended = history.iter().rev().find_map(|(index, at_ms, event)| match event {
        Event::Ended { bound_ms, replicas } => Some((index, at_ms, *bound_ms, replicas)),
        _ => None,
    });
    let Some((ended, ended_ms, bound_ms, replicas)) = ended else { return };
    let mut broken = |what: String| {
        found.push(Violation::new(Invariant::I10, what, history, [healed, ended]));
    };
    let took_ms = ended_ms.saturating_sub(healed_ms);
    if took_ms > bound_ms {
        broken(format!("catching up took {took_ms} ms, and may take {bound_ms}"));
    }
    for what in behind(replicas) {
        broken(what);
    }
    if !written_after(history, healed) {
        broken("no write that was sent after the healing was acknowledged".to_owned());
    }
}

/// What the replicas lack of the longest log among them.
fn behind(replicas: &[FinalReplica]) -> Vec<String> {
    let Some(longest) = replicas.iter().max_by_key(|replica| (replica.end, replica.log.log_start))
    else {
        return vec!["no replica is left".to_owned()];
    };
    let lacks = |replica: &FinalReplica| {
        let FinalReplica { node, end, log } = replica;
        let what = if *end != longest.end {
            format!("its log ends at {end}, that of node {} at {}", longest.node, longest.end)
        } else if log.committed != *end {
            format!("its mark stands at {}, its log ends at {end}", log.committed)
        } else if log.log_start != longest.log.log_start {
            let (at, other) = (log.log_start, longest.log.log_start);
            format!("its log starts at {at}, that of node {} at {other}", longest.node)
        } else {
            return None;
        };
        Some(format!("node {node}: {what}"))
    };
    replicas.iter().filter_map(lacks).collect()
}

fn written_after(history: &History, healed: usize) -> bool {
    let mut sent: BTreeSet<AttemptId> = BTreeSet::new();
    history.iter().skip(healed).any(|(.., event)| match event {
        Event::Produce(produce) => {
            sent.insert(produce.attempt);
            false
        }
        Event::ProduceEnded { attempt, outcome: Outcome::Acked { .. } } => sent.contains(attempt),
        _ => false,
    })
}
