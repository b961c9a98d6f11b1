//! I2, I3, I4, I6, I7: what logs and readers show.

use forebay_checker::{Event, Invariant, Outcome, WriteConcern};
use forebay_format::{Epoch, Offset};

use crate::story::{Story, log, log_from, node, record, record_of, replica};

#[test]
fn two_values_at_one_offset_are_found_wherever_they_show() {
    let mut read = Story::new();
    read.consumes(vec![record(0, 5)]).consumes(vec![record(0, 6)]);
    assert_eq!(read.broken(), [Invariant::I2]);

    let mut acked = Story::new();
    acked.writes(&[5], WriteConcern::Quorum, 0).consumes(vec![record(0, 6)]);
    assert_eq!(acked.broken(), [Invariant::I2]);

    let mut held = Story::new();
    held.consumes(vec![record(0, 5)]).shows(3, log(&[6]));
    assert_eq!(held.broken(), [Invariant::I2]);
}

#[test]
fn offset_of_a_leaders_own_answer_may_be_used_again() {
    let mut story = Story::new();
    story.writes(&[5], WriteConcern::Leader, 0).consumes(vec![record(0, 6)]);
    assert_eq!(story.broken(), []);
}

#[test]
fn same_value_from_everybody_is_fine() {
    let mut story = Story::new();
    story.writes(&[5], WriteConcern::Quorum, 0).consumes(vec![record(0, 5)]);
    story.shows(1, log(&[5])).shows(2, log(&[5]));
    assert_eq!(story.broken(), []);
}

#[test]
fn unclean_election_settles_an_offset_anew_but_only_from_its_range_on() {
    let story = |lost_from| {
        let mut story = Story::new();
        story.consumes(vec![record(0, 5)]);
        let lost_from = Offset::new(lost_from);
        story.then(Event::UncleanElection { epoch: Epoch::new(2), lost_from });
        story.shows(2, log_from(0, vec![record_of(2, 0, 6)]));
        story.broken()
    };
    assert_eq!(story(0), []);
    assert_eq!(story(1), [Invariant::I2]);
}

#[test]
fn one_value_of_two_epochs_is_two_histories() {
    let mut story = Story::new();
    story.shows(1, log(&[5])).shows(2, log_from(0, vec![record_of(2, 0, 5)]));
    assert_eq!(story.broken(), [Invariant::I7]);
    let mut same = Story::new();
    same.shows(1, log(&[5])).shows(2, log(&[5, 6]));
    assert_eq!(same.broken(), []);
}

#[test]
fn epochs_along_a_log_never_fall() {
    let mut falls = Story::new();
    falls.shows(1, log_from(0, vec![record_of(2, 0, 5), record_of(1, 1, 6)]));
    assert_eq!(falls.broken(), [Invariant::I7]);
    let mut grows = Story::new();
    grows.shows(1, log_from(0, vec![record_of(1, 0, 5), record_of(2, 1, 6)]));
    assert_eq!(grows.broken(), []);
}

#[test]
fn second_copy_of_an_idempotent_record_is_found() {
    let mut story = Story::new();
    story.sends_stamped(0, &[5]);
    story.consumes(vec![record(0, 5), record(1, 5)]);
    assert_eq!(story.broken(), [Invariant::I3]);
    let mut across = Story::new();
    across.sends_stamped(0, &[5]);
    across.consumes(vec![record(0, 5)]).shows(2, log(&[4, 5]));
    assert_eq!(across.broken(), [Invariant::I2, Invariant::I3]);
}

#[test]
fn second_copy_without_identity_is_allowed() {
    let mut story = Story::new();
    story.sends(&[5], WriteConcern::Quorum);
    story.sends(&[5], WriteConcern::Quorum);
    story.shows(1, log(&[5, 5]));
    assert_eq!(story.broken(), []);
}

#[test]
fn sequences_of_a_producer_stand_in_order() {
    let told = |values: &[u64]| {
        let mut story = Story::new();
        story.sends_stamped(0, &[5]);
        story.sends_stamped(1, &[6]);
        story.shows(1, log(values));
        story.broken()
    };
    assert_eq!(told(&[5, 9, 6]), []);
    assert_eq!(told(&[6, 9, 5]), [Invariant::I3]);
}

#[test]
fn copy_that_was_given_up_may_be_sent_again_but_not_stand_twice_in_one_log() {
    let given_up = |log_of_two| {
        let mut story = Story::new();
        story.sends_stamped(0, &[5]);
        story.consumes(vec![record(1, 5)]);
        let lost_from = Offset::new(0);
        story.then(Event::UncleanElection { epoch: Epoch::new(2), lost_from });
        story.shows(2, log_of_two);
        story.broken()
    };
    assert_eq!(given_up(log_from(0, vec![record_of(2, 0, 5)])), []);
    let twice = vec![record_of(2, 0, 5), record_of(2, 1, 5)];
    assert_eq!(given_up(log_from(0, twice)), [Invariant::I3]);
}

#[test]
fn hole_in_a_log_or_under_a_mark_is_found() {
    let mut hole = Story::new();
    let mut with_hole = log(&[5, 6]);
    with_hole.records[1].offset = Offset::new(2);
    with_hole.committed = Offset::new(3);
    hole.shows(1, with_hole);
    assert_eq!(hole.broken(), [Invariant::I4]);

    let mut short = Story::new();
    let mut end = replica(1, log(&[5]));
    end.log.committed = Offset::new(2);
    short.ends_with(vec![end]);
    assert_eq!(short.broken(), [Invariant::I4]);

    let committed = |to| {
        let mut story = Story::new();
        story.then(Event::Committed {
            node: node(1),
            from: Offset::new(3),
            to: Offset::new(to),
            records: vec![record(3, 5), record(4, 6)],
        });
        story.broken()
    };
    assert_eq!(committed(5), []);
    assert_eq!(committed(6), [Invariant::I4]);
}

#[test]
fn refused_value_that_shows_is_found() {
    let mut story = Story::new();
    let attempt = story.sends(&[5], WriteConcern::Quorum);
    story.refused(attempt).consumes(vec![record(0, 5)]);
    assert_eq!(story.broken(), [Invariant::I6]);
}

#[test]
fn value_with_one_attempt_that_was_not_refused_may_show() {
    for other in [Some(Outcome::Indeterminate), Some(Outcome::Unknown), None] {
        let mut story = Story::new();
        let first = story.sends(&[5], WriteConcern::Quorum);
        if let Some(outcome) = other {
            story.ends(first, outcome);
        }
        let second = story.sends(&[5], WriteConcern::Quorum);
        story.refused(second).consumes(vec![record(0, 5)]);
        assert_eq!(story.broken(), []);
    }
}
