//! I9: one committing leader per epoch. A process that was started again is another leader: it has
//! forgotten what it had not yet synced.

use std::collections::BTreeMap;

use forebay_format::{Epoch, NodeId};

use crate::history::{Event, History};
use crate::violation::{Invariant, Violation};

pub(crate) fn check(history: &History, found: &mut Vec<Violation>) {
    let mut starts: BTreeMap<NodeId, u64> = BTreeMap::new();
    let mut leaders: BTreeMap<Epoch, (NodeId, u64, usize)> = BTreeMap::new();
    for (index, _, event) in history.iter() {
        match event {
            Event::ProcessStarted { node, .. } => *starts.entry(*node).or_default() += 1,
            Event::LeaderCommitted { node, epoch } => {
                let run = starts.get(node).copied().unwrap_or_default();
                let (leader, its_run, before) =
                    *leaders.entry(*epoch).or_insert((*node, run, index));
                if (leader, its_run) != (*node, run) {
                    let what = format!(
                        "node {leader} (run {its_run}) and node {node} (run {run}) both committed in epoch {epoch}"
                    );
                    found.push(Violation::new(Invariant::I9, what, history, [before, index]));
                }
            }
            _ => {}
        }
    }
}
