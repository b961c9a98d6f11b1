//! What comes from outside, from a peer or from the metadata store, is looked at here before anything
//! rests on it. Everything behind this may count on it without overflow.
//!
//! This is not about liars: replicas of one cluster trust each other. It is about a decoder or a store
//! that is wrong, which must not take a process down, nor make three of seven a majority.

use forebay_format::{BatchMeta, Epoch, LogState, NodeId, Offset, Position};

use crate::message::{LogReport, Message};
use crate::metadata::{Member, Observation, PartitionState};
use crate::quorum::VOTERS_MAX;

/// No epoch, offset or version comes so far by counting. One that is higher is wrong, and what is not higher
/// can be counted on from for ever.
const NUMBER_MAX: u64 = u64::MAX / 2;

/// Whether a message can be what a replica has sent. One that cannot counts as lost.
pub(crate) fn is_sound_message(message: &Message) -> bool {
    let epoch = message.epoch();
    let rest = match message {
        Message::Fence { state_version, .. } => *state_version <= NUMBER_MAX,
        Message::Fenced { report, .. } => is_sound_report(report),
        Message::Refused { promised, .. } => promised.get() <= NUMBER_MAX,
        Message::Fetch { after, .. } => is_sound_position(*after),
        Message::Fetched { after, batches, .. } => {
            is_sound_position(*after) && are_sound_batches(batches, epoch)
        }
        Message::Match { asked, common, .. } => {
            is_sound_position(*asked) && is_sound_position(*common)
        }
        Message::Start { asked, at, .. } => is_sound_position(*asked) && is_sound_log(at, epoch),
        Message::Append { after, batches, committed, log_start, state_version, .. } => {
            is_sound_position(*after)
                && are_sound_batches(batches, epoch)
                && is_sound_position(*committed)
                && is_sound_offset(*log_start)
                && *state_version <= NUMBER_MAX
        }
        Message::Appended { appended, durable, .. } => {
            is_sound_position(*appended) && is_sound_position(*durable)
        }
        Message::NotMatched { .. } => true,
    };
    epoch.get() <= NUMBER_MAX && rest
}

/// Whether metadata can be what a replica has written. Others are as good as not read.
pub(crate) fn is_sound_observation(observation: &Observation) -> bool {
    observation.state.as_ref().is_none_or(|state| is_sound_state(&state.value))
}

/// R12: whether every set of voters has at least one and at most five, each node once.
pub(crate) fn is_sound_state(state: &PartitionState) -> bool {
    let nodes = |set: &[Member]| set.iter().map(|member| member.node).collect::<Vec<_>>();
    is_sound_set(&nodes(&state.replicas))
        && state.next.as_deref().is_none_or(|next| is_sound_set(&nodes(next)))
        && state.target.as_deref().is_none_or(is_sound_set)
        && state.epoch.get() <= NUMBER_MAX
        && state.version <= NUMBER_MAX
}

/// R12: whether these nodes may be a set of voters.
pub(crate) fn is_sound_set(nodes: &[NodeId]) -> bool {
    (1..=VOTERS_MAX).contains(&nodes.len()) && are_distinct(nodes)
}

/// Whether each node is named once.
pub(crate) fn are_distinct(nodes: &[NodeId]) -> bool {
    nodes.iter().enumerate().all(|(at, node)| !nodes[..at].contains(node))
}

fn is_sound_offset(offset: Offset) -> bool {
    offset.get() <= NUMBER_MAX
}

fn is_sound_position(position: Position) -> bool {
    position.epoch.get() <= NUMBER_MAX && is_sound_offset(position.end)
}

/// Whether each batch may stand in a log of `epoch`. That one follows the other is asked where they are
/// appended (R9).
fn are_sound_batches(batches: &[BatchMeta], epoch: Epoch) -> bool {
    batches
        .iter()
        .all(|batch| batch.leader.epoch <= epoch && is_sound_offset(batch.leader.base_offset))
}

fn is_sound_log(log: &LogState, epoch: Epoch) -> bool {
    let epochs = log.epochs.latest();
    log.log_start <= log.end
        && is_sound_offset(log.end)
        && epochs.is_none_or(|last| last.epoch <= epoch && last.start <= log.end)
}

fn is_sound_report(report: &LogReport) -> bool {
    is_sound_position(report.position)
        && is_sound_offset(report.committed)
        && is_sound_offset(report.log_start)
        && report.state_version <= NUMBER_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voters_are_one_to_five_each_once() {
        for (nodes, sound) in [
            (&[][..], false),
            (&[1], true),
            (&[1, 2, 3, 4, 5], true),
            (&[1, 2, 3, 4, 5, 6, 7], false),
            (&[1, 2, 1], false),
        ] {
            let state = PartitionState::first(Member::of_nodes(nodes));
            assert_eq!(is_sound_state(&state), sound, "{nodes:?}");
            let state =
                PartitionState::first(Member::of_nodes(&[1])).with_next(Member::of_nodes(nodes));
            assert_eq!(is_sound_state(&state), sound, "next: {nodes:?}");
        }
    }

    #[test]
    fn numbers_that_cannot_be_counted_on_from_are_no_message() {
        let last = Epoch::new(u64::MAX);
        let fence =
            |epoch, state_version| Message::Fence { epoch, established: true, state_version };
        assert!(is_sound_message(&fence(Epoch::new(9), 9)));
        assert!(!is_sound_message(&fence(last, 9)));
        assert!(!is_sound_message(&fence(Epoch::new(9), u64::MAX)));
        let refused = Message::Refused { epoch: Epoch::new(9), promised: last };
        assert!(!is_sound_message(&refused));
    }
}
