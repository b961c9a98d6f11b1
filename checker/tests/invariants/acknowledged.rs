//! I1: what was acknowledged is there at the end.

use forebay_checker::{AttemptId, Event, Invariant, Voter, WriteConcern};
use forebay_format::{Epoch, Offset};

use crate::story::{Story, log, log_from, node, record_of, replica, voters};

/// Who had synced what was acknowledged, all of it after the leader had learnt of the state.
fn copies(attempt: AttemptId, synced_on: Vec<Voter>) -> Event {
    Event::Copies { attempt, synced_on, synced_before: Vec::new() }
}

#[test]
fn acknowledged_record_that_is_gone_is_found_with_both_witnesses() {
    let mut story = Story::new();
    story.writes(&[5, 6], WriteConcern::Quorum, 0).ends_with(vec![replica(1, log(&[5]))]);
    assert_eq!(story.broken(), [Invariant::I1]);
    let told = story.told().join("\n");
    assert!(told.contains("Value(6) was acknowledged at offset 1 with Quorum"), "{told}");
    assert!(told.contains("20 ms") && told.contains("30 ms"), "{told}");
}

#[test]
fn acknowledged_record_that_is_there_is_fine() {
    let mut story = Story::new();
    story.writes(&[5, 6], WriteConcern::Quorum, 0).ends_with(vec![replica(1, log(&[5, 6]))]);
    assert_eq!(story.broken(), []);
}

#[test]
fn log_with_the_highest_mark_counts_at_the_end() {
    let mut story = Story::new();
    let (behind, ahead) = (replica(1, log(&[])), replica(2, log(&[5])));
    story.writes(&[5], WriteConcern::All, 0).ends_with(vec![behind, ahead]);
    assert_eq!(story.broken(), []);
}

#[test]
fn what_only_the_leader_acknowledged_survives_until_another_takes_over() {
    for concern in [WriteConcern::Leader, WriteConcern::Replicas(1)] {
        let mut same = Story::new();
        same.writes(&[5], concern, 0).leads(1, 2).ends_with(vec![replica(1, log(&[]))]);
        assert_eq!(same.broken(), [Invariant::I1], "{concern:?}");

        let mut other = Story::new();
        other.writes(&[5], concern, 0).leads(2, 2).ends_with(vec![replica(1, log(&[]))]);
        assert_eq!(other.broken(), [], "{concern:?}");

        let mut disk = Story::new();
        disk.writes(&[5], concern, 0).loses_disk(1, 11).ends_with(vec![replica(2, log(&[]))]);
        assert_eq!(disk.broken(), [], "{concern:?}");
    }
}

#[test]
fn zombie_answers_for_itself_only() {
    let mut story = Story::new();
    let attempt = story.sends(&[5], WriteConcern::Leader);
    story.leads(2, 2).acks_as(attempt, 0, 1, 1).ends_with(vec![replica(2, log(&[]))]);
    assert_eq!(story.broken(), []);
}

#[test]
fn replicas_from_the_quorum_on_survive_another_leader() {
    let mut story = Story::new();
    story.writes(&[5], WriteConcern::Replicas(2), 0).leads(2, 2);
    story.ends_with(vec![replica(2, log(&[]))]);
    assert_eq!(story.broken(), [Invariant::I1]);
}

#[test]
fn nothing_is_promised_without_a_write_concern() {
    let mut story = Story::new();
    story.writes(&[5], WriteConcern::None, 0).ends_with(vec![replica(1, log(&[]))]);
    assert_eq!(story.broken(), []);
}

#[test]
fn quorum_survives_a_minority_of_disks_and_not_a_majority() {
    let mut minority = Story::new();
    minority.writes(&[5], WriteConcern::Quorum, 0).loses_disk(1, 11);
    minority.ends_with(vec![replica(2, log(&[]))]);
    assert_eq!(minority.broken(), [Invariant::I1]);

    let mut majority = Story::new();
    majority.writes(&[5], WriteConcern::Quorum, 0).loses_disk(1, 11).loses_disk(2, 12);
    majority.ends_with(vec![replica(3, log(&[]))]);
    assert_eq!(majority.broken(), []);
}

#[test]
fn disks_lost_one_after_the_other_are_no_majority() {
    let mut story = Story::new();
    story.writes(&[5], WriteConcern::Quorum, 0).loses_disk(1, 11);
    story.then(Event::StateWritten {
        by: node(2),
        epoch: Epoch::new(2),
        leader: node(2),
        voters: voters(&[(1, 21), (2, 12), (3, 13)]),
        next_voters: None,
        in_sync: vec![node(2)],
    });
    story.loses_disk(2, 12).ends_with(vec![replica(3, log(&[]))]);
    assert_eq!(story.broken(), [Invariant::I1]);
}

#[test]
fn majority_that_is_lost_before_the_answer_excuses_nothing() {
    let mut story = Story::new();
    story.loses_disk(1, 11).loses_disk(2, 12).writes(&[5], WriteConcern::Quorum, 0);
    story.ends_with(vec![replica(3, log(&[]))]);
    assert_eq!(story.broken(), [Invariant::I1]);
}

#[test]
fn what_retention_removed_is_not_lost() {
    let mut story = Story::new();
    story.writes(&[5, 6], WriteConcern::Quorum, 0);
    story.ends_with(vec![replica(1, log_from(1, vec![record_of(1, 1, 6)]))]);
    assert_eq!(story.broken(), []);
    let mut story = Story::new();
    story.writes(&[5, 6], WriteConcern::Quorum, 0).ends_with(vec![replica(1, log_from(1, vec![]))]);
    assert_eq!(story.broken(), [Invariant::I1]);
}

#[test]
fn log_start_past_everything_committed_is_found() {
    let told = |log_start| {
        let mut story = Story::new();
        let records = vec![record_of(1, 0, 5), record_of(1, 1, 6)];
        let (from, to) = (Offset::ZERO, Offset::new(2));
        story.then(Event::Committed { node: node(1), from, to, records });
        story.then(Event::LogStartMoved { node: node(1), to: Offset::new(log_start) });
        story.broken()
    };
    assert_eq!(told(2), []);
    assert_eq!(told(3), [Invariant::I1]);
}

#[test]
fn unclean_election_excuses_only_what_it_announced_and_came_before() {
    let election = |lost_from| Event::UncleanElection {
        epoch: Epoch::new(2),
        lost_from: Offset::new(lost_from),
    };
    let mut announced = Story::new();
    announced.writes(&[5, 6], WriteConcern::Quorum, 0).then(election(1));
    announced.ends_with(vec![replica(1, log(&[5]))]);
    assert_eq!(announced.broken(), []);

    let mut more = Story::new();
    more.writes(&[5, 6], WriteConcern::Quorum, 0).then(election(1));
    more.ends_with(vec![replica(1, log(&[]))]);
    assert_eq!(more.broken(), [Invariant::I1]);

    let mut old_leader = Story::new();
    old_leader.then(election(1)).writes(&[5, 6], WriteConcern::Quorum, 0);
    old_leader.ends_with(vec![replica(1, log(&[5]))]);
    assert_eq!(old_leader.broken(), [], "nobody has told it");

    let mut later = Story::new();
    later.then(election(1)).leads(1, 2);
    let attempt = later.sends(&[5, 6], WriteConcern::Quorum);
    later.acks_as(attempt, 0, 1, 2).ends_with(vec![replica(1, log(&[5]))]);
    assert_eq!(later.broken(), [Invariant::I1]);
}

#[test]
fn answer_before_as_many_as_promised_have_synced_is_found() {
    let cases: [(WriteConcern, &[u32], bool); 10] = [
        (WriteConcern::None, &[], true),
        (WriteConcern::Leader, &[1], true),
        (WriteConcern::Leader, &[2], false),
        (WriteConcern::Leader, &[2, 3], true),
        (WriteConcern::Quorum, &[2, 3], true),
        (WriteConcern::Quorum, &[1, 4], false),
        (WriteConcern::All, &[1, 2, 3], true),
        (WriteConcern::All, &[1, 2], false),
        (WriteConcern::Replicas(2), &[1, 2], true),
        (WriteConcern::Replicas(3), &[1, 2], false),
    ];
    for (concern, nodes, fine) in cases {
        let mut story = Story::new();
        let attempt = story.sends(&[5], concern);
        let synced_on = nodes.iter().map(|number| (*number, 10 + u128::from(*number)));
        let synced_on = voters(&synced_on.collect::<Vec<_>>());
        story.acks(attempt, 0).then(copies(attempt, synced_on));
        let expected: &[Invariant] = if fine { &[] } else { &[Invariant::I1] };
        assert_eq!(story.broken(), expected, "{concern:?} on {nodes:?}");
    }
}

#[test]
fn what_was_committed_before_the_voters_changed_stays_committed() {
    let told = |committed_before: bool| {
        let mut story = Story::new();
        let attempt = story.sends(&[5], WriteConcern::Quorum);
        if committed_before {
            let (from, to) = (Offset::ZERO, Offset::new(1));
            let records = vec![record_of(1, 0, 5)];
            story.then(Event::Committed { node: node(1), from, to, records });
        }
        story.then(Event::StateWritten {
            by: node(1),
            epoch: Epoch::new(1),
            leader: node(1),
            voters: voters(&[(3, 13), (4, 14), (5, 15)]),
            next_voters: None,
            in_sync: vec![],
        });
        story.then(Event::StateLearnt { node: node(1) }).acks(attempt, 0);
        story.then(copies(attempt, voters(&[(1, 11), (2, 12)])));
        story.broken()
    };
    assert_eq!(told(true), []);
    assert_eq!(told(false), [Invariant::I1]);
}

#[test]
fn majority_of_the_voters_before_counts_if_it_was_there_when_the_leader_learnt_of_others() {
    let told = |before: &[(u32, u128)]| {
        let mut story = Story::new();
        story.then(Event::StateWritten {
            by: node(1),
            epoch: Epoch::new(1),
            leader: node(1),
            voters: voters(&[(1, 11), (2, 12), (3, 13)]),
            next_voters: Some(voters(&[(1, 11), (4, 14), (5, 15)])),
            in_sync: vec![node(1), node(2), node(3)],
        });
        story.then(Event::StateLearnt { node: node(1) });
        let attempt = story.sends(&[5], WriteConcern::All);
        let (synced_on, synced_before) = (voters(&[(1, 11), (2, 12), (3, 13)]), voters(before));
        story.acks(attempt, 0).then(Event::Copies { attempt, synced_on, synced_before });
        story.broken()
    };
    assert_eq!(told(&[(2, 12), (3, 13)]), []);
    assert_eq!(told(&[(2, 12)]), [Invariant::I1]);
}

#[test]
fn replica_of_a_lost_disk_does_not_count_for_the_one_that_came_after_it() {
    let told = |replica| {
        let mut story = Story::new();
        let attempt = story.sends(&[5], WriteConcern::Quorum);
        let synced_on = voters(&[(1, 11), (2, replica)]);
        story.acks(attempt, 0).then(copies(attempt, synced_on));
        story.broken()
    };
    assert_eq!(told(12), []);
    assert_eq!(told(22), [Invariant::I1]);
}

#[test]
fn change_of_members_needs_both_majorities() {
    let both = |learnt: bool, nodes: &[u32]| {
        let mut story = Story::new();
        story.then(Event::StateWritten {
            by: node(1),
            epoch: Epoch::new(1),
            leader: node(1),
            voters: voters(&[(1, 11), (2, 12), (3, 13)]),
            next_voters: Some(voters(&[(3, 13), (4, 14), (5, 15)])),
            in_sync: vec![node(1)],
        });
        if learnt {
            story.then(Event::StateLearnt { node: node(1) });
        }
        let attempt = story.sends(&[5], WriteConcern::Quorum);
        let synced_on = nodes.iter().map(|number| (*number, 10 + u128::from(*number)));
        let synced_on = voters(&synced_on.collect::<Vec<_>>());
        story.acks(attempt, 0).then(copies(attempt, synced_on));
        story.broken()
    };
    assert_eq!(both(true, &[1, 3, 4]), []);
    assert_eq!(both(true, &[1, 2, 3]), [Invariant::I1]);
    assert_eq!(both(true, &[3, 4, 5]), [Invariant::I1]);
    assert_eq!(both(false, &[1, 2, 3]), [], "a leader that does not know yet");
    assert_eq!(both(false, &[3, 4, 5]), [Invariant::I1]);
}

/// A retry may be answered when its original is below the log start already, and who came after that has never
/// had it.
#[test]
fn copies_of_what_lies_below_the_log_start_are_not_asked_for() {
    let told = |log_start| {
        let mut story = Story::new();
        let (from, to) = (Offset::ZERO, Offset::new(1));
        let records = vec![record_of(1, 0, 5)];
        story.then(Event::Committed { node: node(1), from, to, records });
        let to = Offset::new(log_start);
        story.then(Event::LogStartMoved { node: node(1), to });
        let attempt = story.sends(&[5], WriteConcern::Replicas(2));
        let synced_on = voters(&[(1, 11)]);
        story.acks(attempt, 0).then(copies(attempt, synced_on));
        story.broken()
    };
    assert_eq!(told(1), []);
    assert_eq!(told(0), [Invariant::I1]);
}
