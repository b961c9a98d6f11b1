//! I8 and I9: epochs, promises, marks and leaders.

use forebay_checker::{Event, Invariant};
use forebay_format::{Epoch, Offset, ReplicaId};

use crate::story::{Story, node};

fn promised(replica: u128, epoch: u64) -> Event {
    let (replica, epoch) = (ReplicaId::from_u128(replica), Epoch::new(epoch));
    Event::Promised { node: node(1), replica, epoch }
}

fn started(replica: u128, promised: u64) -> Event {
    let (replica, promised) = (ReplicaId::from_u128(replica), Epoch::new(promised));
    Event::ProcessStarted { node: node(1), replica, promised }
}

fn mark(from: u64, to: u64) -> Event {
    let (from, to) = (Offset::new(from), Offset::new(to));
    let records = (from.get()..to.get()).map(|offset| crate::story::record(offset, offset));
    Event::Committed { node: node(1), from, to, records: records.collect() }
}

fn committed(number: u32, epoch: u64) -> Event {
    Event::LeaderCommitted { node: node(number), epoch: Epoch::new(epoch) }
}

#[test]
fn epoch_never_falls_nor_changes_hands() {
    let mut falls = Story::new();
    falls.leads(2, 3).leads(3, 2);
    assert_eq!(falls.broken(), [Invariant::I8]);
    let mut shared = Story::new();
    shared.leads(2, 2).leads(3, 2);
    assert_eq!(shared.broken(), [Invariant::I8]);
    let mut fine = Story::new();
    fine.leads(2, 2).leads(2, 2).leads(3, 5);
    assert_eq!(fine.broken(), []);
}

#[test]
fn restored_store_may_hold_an_older_epoch() {
    let mut story = Story::new();
    story.leads(2, 3).then(Event::MetadataRestored).leads(3, 2);
    assert_eq!(story.broken(), []);
}

#[test]
fn promise_never_falls_not_even_over_a_restart() {
    let mut falls = Story::new();
    falls.then(promised(11, 4)).then(promised(11, 3));
    assert_eq!(falls.broken(), [Invariant::I8]);
    let mut forgotten = Story::new();
    forgotten.then(promised(11, 4)).then(started(11, 3));
    assert_eq!(forgotten.broken(), [Invariant::I8]);
}

#[test]
fn promise_of_a_lost_disk_binds_nobody_else() {
    let mut story = Story::new();
    story.then(promised(11, 4)).loses_disk(1, 11).then(started(21, 0)).then(promised(21, 4));
    assert_eq!(story.broken(), []);
}

#[test]
fn mark_never_falls_while_the_process_runs() {
    let mut falls = Story::new();
    falls.then(mark(0, 4)).then(mark(3, 4));
    assert_eq!(falls.broken(), [Invariant::I8]);
    let mut back = Story::new();
    back.then(mark(0, 4)).then(mark(4, 3));
    assert_eq!(back.broken(), [Invariant::I8]);
}

#[test]
fn mark_may_fall_over_a_restart_or_an_unclean_election() {
    let mut restart = Story::new();
    restart.then(mark(0, 4)).then(Event::ProcessEnded { node: node(1) });
    restart.then(started(11, 1)).then(mark(2, 4));
    assert_eq!(restart.broken(), []);
    let mut unclean = Story::new();
    unclean.then(mark(0, 4));
    unclean.then(Event::UncleanElection { epoch: Epoch::new(2), lost_from: Offset::new(3) });
    unclean.then(mark(4, 3));
    assert_eq!(unclean.broken(), []);
}

#[test]
fn two_leaders_of_one_epoch_are_found() {
    let mut two = Story::new();
    two.then(committed(1, 1)).then(committed(2, 1));
    assert_eq!(two.broken(), [Invariant::I9]);
    let mut one_each = Story::new();
    one_each.then(committed(1, 1)).then(committed(2, 2)).then(committed(1, 1));
    assert_eq!(one_each.broken(), []);
}

#[test]
fn process_that_was_started_again_is_another_leader() {
    let mut story = Story::new();
    story.then(started(11, 1)).then(committed(1, 1));
    story.then(started(11, 1)).then(committed(1, 1));
    assert_eq!(story.broken(), [Invariant::I9]);
}
