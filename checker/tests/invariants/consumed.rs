//! I5: what a consumer is given follows on what it was given before.

use forebay_checker::{Event, Invariant, Moved};
use forebay_format::{Epoch, Offset};

use crate::story::{CONSUMER, Story, log_from, node, record, record_of, replica};

fn started() -> Story {
    let mut story = Story::new();
    story.then(Event::ConsumerStarted { consumer: CONSUMER, at: Offset::new(2) });
    story.consumes(vec![record(2, 5), record(3, 6)]);
    story
}

fn moved(to: u64, why: Moved) -> Event {
    Event::ConsumerMoved { consumer: CONSUMER, to: Offset::new(to), why }
}

#[test]
fn records_that_follow_are_fine() {
    let mut story = started();
    story.consumes(vec![]).consumes(vec![record(4, 7)]);
    assert_eq!(story.broken(), []);
}

#[test]
fn record_that_is_skipped_or_told_again_is_found() {
    let mut skipped = started();
    skipped.consumes(vec![record(5, 7)]);
    assert_eq!(skipped.broken(), [Invariant::I5]);
    let mut again = started();
    again.consumes(vec![record(3, 6)]);
    assert_eq!(again.broken(), [Invariant::I5]);
}

#[test]
fn consumer_is_told_when_what_it_read_was_given_up() {
    let story = |told: bool| {
        let mut story = started();
        let lost_from = Offset::new(3);
        story.then(Event::UncleanElection { epoch: Epoch::new(2), lost_from });
        if told {
            story.then(moved(3, Moved::DataLost));
            story.consumes(vec![record_of(2, 3, 7)]);
        }
        story.consumes(vec![record_of(2, 4, 8)]);
        let log = vec![record(2, 5), record_of(2, 3, 7), record_of(2, 4, 8)];
        story.ends_with(vec![replica(2, log_from(2, log))]);
        story.broken()
    };
    assert_eq!(story(true), []);
    assert_eq!(story(false), [Invariant::I5]);
}

#[test]
fn consumer_that_begins_anew_may_read_again() {
    let mut story = started();
    story.then(Event::ConsumerStarted { consumer: CONSUMER, at: Offset::new(3) });
    story.consumes(vec![record(3, 6)]);
    assert_eq!(story.broken(), []);
}

#[test]
fn consumer_is_sent_on_to_the_log_start_and_not_past_it() {
    let story = |to| {
        let mut story = started();
        story.then(Event::Committed {
            node: node(1),
            from: Offset::new(6),
            to: Offset::new(6),
            records: vec![],
        });
        story.then(Event::LogStartMoved { node: node(1), to: Offset::new(6) });
        story.then(moved(to, Moved::ToLogStart));
        story.broken()
    };
    assert_eq!(story(6), []);
    assert_eq!(story(7), [Invariant::I5]);
    assert_eq!(story(3), [Invariant::I5], "never back");
}

#[test]
fn data_loss_needs_an_unclean_election_that_gave_it_up() {
    let mut without = started();
    without.then(moved(3, Moved::DataLost));
    assert_eq!(without.broken(), [Invariant::I5]);

    let story = |lost_from, to| {
        let mut story = started();
        let lost_from = Offset::new(lost_from);
        story.then(Event::UncleanElection { epoch: Epoch::new(2), lost_from });
        story.then(moved(to, Moved::DataLost));
        story.broken()
    };
    assert_eq!(story(3, 3), []);
    assert_eq!(story(4, 3), [Invariant::I5]);
    assert_eq!(story(3, 9), [Invariant::I5], "what comes next was not lost");
}
