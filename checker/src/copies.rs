//! I1, at the moment of the answer: as many replicas as the write concern promises had synced the records,
//! each member of the in-sync set for `all`. Only where the observer sees the disks, and not of what lies below
//! the log start by then: a replica that came later has never had it.

use std::collections::BTreeSet;

use forebay_format::NodeId;

use crate::history::{History, Voter, WriteConcern};
use crate::states::{State, States, quorum};
use crate::violation::{Invariant, Violation};
use crate::writes::{Ack, Copies};

pub(crate) fn check(
    history: &History,
    ack: &Ack<'_>,
    states: &States<'_>,
    found: &mut Vec<Violation>,
) {
    let Some((copies, Copies { synced_on, synced_before })) = ack.copies else { return };
    if ack.base_offset < states.log_start_before(ack) {
        return;
    }
    let Some(last) = states.last_of(ack) else { return };
    // What was committed before the leader learnt of the last state needs no majority of later voters.
    let before = states
        .previous_of(ack)
        .map(|(state, learnt)| (state, if learnt { synced_before } else { synced_on }));
    let committed = states.was_committed(ack)
        || is_committed(&last, synced_on)
        || before.is_some_and(|(state, synced)| is_committed(&state, synced));
    let kept = match ack.produce.concern {
        WriteConcern::None => true,
        WriteConcern::Leader => synced_on.iter().any(|voter| voter.node == ack.by) || committed,
        WriteConcern::Quorum => committed,
        WriteConcern::All => {
            let voters = voters_in(&last, synced_on);
            committed && last.in_sync.iter().all(|node| voters.contains(node))
        }
        WriteConcern::Replicas(count) => {
            let enough = |(state, synced): (State<'_>, &[Voter])| {
                let held = voters_in(&state, synced).len() >= count as usize;
                held && (committed || (count as usize) < state.quorum())
            };
            (committed && synced_on.len() >= count as usize)
                || enough((last, synced_on))
                || before.is_some_and(enough)
        }
    };
    if !kept {
        let what = format!(
            "offset {} was acknowledged with {:?} by node {} in epoch {}, and of the voters only {:?} had synced it",
            ack.base_offset,
            ack.produce.concern,
            ack.by,
            ack.epoch,
            voters_in(&last, synced_on)
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
