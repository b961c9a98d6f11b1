//! I10: everything is caught up in bounded time once faults are healed.

use forebay_checker::{Event, FinalReplica, Invariant, WriteConcern};
use forebay_format::Offset;

use crate::story::{Story, log, log_from, record, replica};

/// Healed, one write acknowledged, and an end with these replicas.
fn ended(replicas: Vec<FinalReplica>) -> Vec<Invariant> {
    let mut story = Story::new();
    story.then(Event::Healed).writes(&[5], WriteConcern::Leader, 0).leads(2, 2).ends_with(replicas);
    story.broken()
}

#[test]
fn replicas_that_are_alike_have_caught_up() {
    assert_eq!(ended(vec![replica(1, log(&[5])), replica(2, log(&[5]))]), []);
}

#[test]
fn replica_that_lacks_something_is_found() {
    assert_eq!(ended(vec![replica(1, log(&[5])), replica(2, log(&[]))]), [Invariant::I10]);
    let uncommitted = FinalReplica { end: Offset::new(1), ..replica(2, log(&[])) };
    assert_eq!(ended(vec![replica(1, log(&[5])), uncommitted]), [Invariant::I10]);
    let old_start = replica(1, log(&[4, 5]));
    let new_start = replica(2, log_from(1, vec![record(1, 5)]));
    assert_eq!(ended(vec![old_start, new_start]), [Invariant::I10]);
}

#[test]
fn end_without_any_replica_is_found() {
    assert_eq!(ended(vec![]), [Invariant::I10]);
}

#[test]
fn writes_come_back_too() {
    let mut before = Story::new();
    before.writes(&[5], WriteConcern::Leader, 0).then(Event::Healed);
    before.ends_with(vec![replica(1, log(&[5]))]);
    assert_eq!(before.broken(), [Invariant::I10]);
}

#[test]
fn catching_up_has_a_bound() {
    let took = |events: u64| {
        let mut story = Story::new();
        story.then(Event::Healed).writes(&[5], WriteConcern::Quorum, 0);
        for _ in 0..events {
            story.consumes(vec![]);
        }
        story.ends_with(vec![replica(1, log(&[5]))]);
        story.broken()
    };
    // Every event of a story takes 10 ms, and the bound is 1000 ms.
    assert_eq!(took(97), []);
    assert_eq!(took(98), [Invariant::I10]);
}

#[test]
fn history_whose_faults_were_never_healed_is_not_judged() {
    let mut story = Story::new();
    story.ends_with(vec![replica(1, log(&[5])), replica(2, log(&[]))]);
    assert_eq!(story.broken(), []);
}
