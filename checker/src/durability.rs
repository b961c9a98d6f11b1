//! I1: no acknowledged record is lost, as far as its write concern promised.
//!
//! | write concern | the record is there at the end, unless |
//! | --- | --- |
//! | none | (nothing is promised) |
//! | leader, n < quorum | another node took over in a later epoch, or the disk of the one that answered was lost |
//! | quorum, all, n ≥ quorum | more than a minority of the voters had lost their disks at one time since |
//!
//! And in any case, unless it lies below the log start, or an unclean election gave it up. Where the
//! observer sees the disks, the answer itself is judged too: see `copies`.

use std::collections::{BTreeMap, BTreeSet};

use forebay_format::{NodeId, Offset, ReplicaId};

use crate::copies;
use crate::history::{Event, History, Record, Voter, WriteConcern};
use crate::states::{States, quorum};
use crate::unclean::UncleanRanges;
use crate::violation::{Invariant, Violation};
use crate::writes::{Ack, Writes};

pub(crate) fn check(
    history: &History,
    writes: &Writes<'_>,
    unclean: &UncleanRanges,
    found: &mut Vec<Violation>,
) {
    let states = States::of(history);
    for ack in &writes.acks {
        copies::check(history, ack, &states, found);
    }
    let faults = Faults::of(history, &states);
    check_log_starts(history, found);
    let Some((end, survivor)) = history.final_log() else { return };
    let kept: BTreeMap<Offset, &Record> =
        survivor.log.records.iter().map(|record| (record.offset, record)).collect();
    for ack in &writes.acks {
        if faults.excuse(ack) {
            continue;
        }
        for (offset, value) in ack.records() {
            let given_up =
                offset < survivor.log.log_start || unclean.cover_since(ack.epoch, offset);
            let is = kept.get(&offset).map(|record| record.value);
            if given_up || is == Some(value) {
                continue;
            }
            let what = format!(
                "{value:?} was acknowledged at offset {offset} with {:?}; at the end there is {is:?}",
                ack.produce.concern
            );
            found.push(Violation::new(Invariant::I1, what, history, [ack.index, end]));
        }
    }
}

/// Retention takes only what is committed: what it took was promised until then.
fn check_log_starts(history: &History, found: &mut Vec<Violation>) {
    let mut committed = (Offset::ZERO, 0);
    for (index, _, event) in history.iter() {
        match event {
            Event::Committed { to, .. } => committed = committed.max((*to, index)),
            Event::LogStartMoved { node, to } if *to > committed.0 => {
                let (mark, before) = committed;
                let what = format!("the log of node {node} starts at {to}, past the mark {mark}");
                found.push(Violation::new(Invariant::I1, what, history, [before, index]));
            }
            _ => {}
        }
    }
}

/// What happened to leadership and to disks, as far as it excuses a loss.
#[derive(Debug)]
struct Faults<'a> {
    states: &'a States<'a>,
    /// Every lost disk, with its place in the history.
    disks: Vec<(usize, NodeId)>,
    /// Places where more than a minority of the voters was without the disk it voted with.
    majority_lost: Vec<usize>,
}

impl<'a> Faults<'a> {
    fn of(history: &History, states: &'a States<'a>) -> Self {
        let mut faults = Self { states, disks: Vec::new(), majority_lost: Vec::new() };
        let mut lost: BTreeSet<ReplicaId> = BTreeSet::new();
        for (index, _, event) in history.iter() {
            match event {
                Event::StateWritten { .. } => {}
                Event::DiskLost { node, replica } => {
                    lost.insert(*replica);
                    faults.disks.push((index, *node));
                }
                _ => continue,
            }
            let too_many = |voters: &[Voter]| {
                let gone = voters.iter().filter(|voter| lost.contains(&voter.replica)).count();
                gone > voters.len().saturating_sub(quorum(voters))
            };
            let Some(state) = states.at(index) else { continue };
            if too_many(state.voters) || state.next_voters.is_some_and(too_many) {
                faults.majority_lost.push(index);
            }
        }
        faults
    }

    /// Whether what happened since is more than the write concern of `ack` promises to survive.
    fn excuse(&self, ack: &Ack<'_>) -> bool {
        let of_leader_alone = match ack.produce.concern {
            WriteConcern::None => return true,
            WriteConcern::Leader => true,
            WriteConcern::Replicas(count) => {
                let needed = self.states.last_of(ack).map_or(0, |state| state.quorum());
                (count as usize) < needed
            }
            WriteConcern::Quorum | WriteConcern::All => false,
        };
        if of_leader_alone {
            let disk = |(index, node): &(usize, NodeId)| *index > ack.index && *node == ack.by;
            self.states.has_rival_of(ack) || self.disks.iter().any(disk)
        } else {
            self.majority_lost.iter().any(|index| *index > ack.index)
        }
    }
}
