//! I8: the epoch of the partition (unless the metadata store is restored) and the promise of a replica never go back; the committed mark of
//! a process does not while it runs.

use std::collections::BTreeMap;

use forebay_format::{Epoch, NodeId, Offset, ReplicaId};

use crate::history::{Event, History};
use crate::unclean::UncleanRanges;
use crate::violation::{Invariant, Violation};

pub(crate) fn check(history: &History, unclean: &UncleanRanges, found: &mut Vec<Violation>) {
    let mut state: Option<(Epoch, NodeId, usize)> = None;
    let mut promises: BTreeMap<ReplicaId, (Epoch, usize)> = BTreeMap::new();
    let mut marks: BTreeMap<NodeId, (Offset, usize)> = BTreeMap::new();
    for (index, _, event) in history.iter() {
        let mut broken = |what: String, before: usize| {
            found.push(Violation::new(Invariant::I8, what, history, [before, index]));
        };
        match event {
            Event::StateWritten { epoch, leader, .. } => {
                if let Some((known, led_by, before)) = state {
                    if *epoch < known {
                        broken(format!("the epoch went from {known} to {epoch}"), before);
                    } else if *epoch == known && *leader != led_by {
                        let what = format!("epoch {epoch} passed from node {led_by} to {leader}");
                        broken(what, before);
                    }
                }
                state = Some((*epoch, *leader, index));
            }
            Event::MetadataRestored => state = None,
            Event::Promised { node, replica, epoch }
            | Event::ProcessStarted { node, replica, promised: epoch } => {
                let (known, before) = *promises.get(replica).unwrap_or(&(*epoch, index));
                if *epoch < known {
                    let what = format!("node {node} had promised {known}, and now {epoch}");
                    broken(what, before);
                }
                promises.insert(*replica, (*epoch, index));
            }
            Event::Committed { node, from, to, .. } => {
                let (known, before) = *marks.get(node).unwrap_or(&(*from, index));
                // A log that parts from the elected one below its own start begins anew from nothing.
                let given_up = unclean.any_before(index);
                if (*from < known || to < from) && !given_up {
                    let what =
                        format!("the mark of node {node} was {known}, then {from}, then {to}");
                    broken(what, before);
                }
                marks.insert(*node, (*to, index));
            }
            _ => {}
        }
        if let Event::ProcessStarted { node, .. } | Event::ProcessEnded { node } = event {
            marks.remove(node);
        }
    }
}
