//! I1, at the moment of the answer: as many replicas as the write concern promises had synced the records,
//! each member of the in-sync set for `all`. Only where the observer sees the disks.

use std::collections::BTreeSet;

use forebay_format::NodeId;

use crate::history::{History, Voter, WriteConcern};
use crate::states::{State, States, quorum};
use crate::violation::{Invariant, Violation};
use crate::writes::Ack;

pub(crate) fn check(
    history: &History,
    ack: &Ack<'_>,
    states: &States<'_>,
    found: &mut Vec<Violation>,
) {
    let Some((copies, synced)) = ack.copies else { return };
    let Some(last) = states.last_of(ack) else { return };
    let went_by = [Some(last), states.previous_of(ack)];
    let mut went_by = went_by.iter().flatten();
    let committed = states.was_committed(ack);
    let kept = match ack.produce.concern {
        WriteConcern::None => true,
        WriteConcern::Leader => {
            synced.iter().any(|voter| voter.node == ack.by)
                || went_by.any(|state| is_committed(state, synced))
        }
        WriteConcern::Quorum => committed || went_by.any(|state| is_committed(state, synced)),
        WriteConcern::All => {
            let voters = voters_in(&last, synced);
            (committed || went_by.any(|state| is_committed(state, synced)))
                && last.in_sync.iter().all(|node| voters.contains(node))
        }
        WriteConcern::Replicas(count) => {
            let count = count as usize;
            let enough = |state: &State<'_>| {
                let enough = count < state.quorum() || is_committed(state, synced);
                enough && voters_in(state, synced).len() >= count
            };
            (committed && synced.len() >= count) || went_by.any(enough)
        }
    };
    if !kept {
        let what = format!(
            "offset {} was acknowledged with {:?} by node {} in epoch {}, and of the voters only {:?} had synced it",
            ack.base_offset,
            ack.produce.concern,
            ack.by,
            ack.epoch,
            voters_in(&last, synced)
        );
        found.push(Violation::new(Invariant::I1, what, history, [ack.index, copies]));
    }
}

/// Whether a majority has it, of both sets while the members change.
fn is_committed(state: &State<'_>, synced: &[Voter]) -> bool {
    let has_majority = |voters: &[Voter]| {
        voters.iter().filter(|voter| synced.contains(voter)).count() >= quorum(voters)
    };
    has_majority(state.voters) && state.next_voters.is_none_or(has_majority)
}

/// The nodes that vote with a replica that has it.
fn voters_in(state: &State<'_>, synced: &[Voter]) -> BTreeSet<NodeId> {
    let voters = state.voters.iter().chain(state.next_voters.unwrap_or_default());
    voters.filter(|voter| synced.contains(voter)).map(|voter| voter.node).collect()
}
