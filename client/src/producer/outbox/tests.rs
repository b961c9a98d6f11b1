//! The outbox by itself: what is ready when, what answers and lost streams do, and what is left of it
//! all in the end. Time is whatever a test says.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    task::{Wake, Waker},
    time::Duration,
};

use forebay_format::TimestampMs;
use tonic::Code;

use super::*;
use crate::{producer::BatchAck, refusal::Refusal, wire::AckFields};

const P0: PartitionIndex = PartitionIndex::new(0);
/// A refusal that is not worth another try.
const FATAL: &str = "CORRUPT";
const LINGER: Duration = Duration::from_hours(1);

fn outbox(partitions: usize, options: ProducerOptions) -> Outbox {
    let mut outbox = Outbox::new(options, None);
    outbox.grow(partitions);
    outbox
}

/// All partitions on one session, and batches that may go at once.
fn eager(partitions: usize) -> (Outbox, usize) {
    let options = ProducerOptions { linger: Duration::ZERO, ..ProducerOptions::default() };
    placed(outbox(partitions, options), partitions)
}

fn placed(mut outbox: Outbox, partitions: usize) -> (Outbox, usize) {
    let session = outbox.add_session();
    for at in 0..partitions {
        outbox.assign(at, session);
    }
    (outbox, session)
}

fn accept(outbox: &mut Outbox, record: Record<'_>) -> Ticket {
    try_accept(outbox, record).expect("accepted").ticket
}

fn try_accept(outbox: &mut Outbox, record: Record<'_>) -> Result<Placed, SendError> {
    outbox.accept(&record, &record.input(TimestampMs::ZERO))
}

/// Partition and serial of the next batch of a session.
fn take(outbox: &mut Outbox, session: usize, now: Instant) -> Option<(u32, u64)> {
    outbox.take(session, now).map(|(partition, serial, _)| (partition.get(), serial))
}

fn answer(
    outbox: &mut Outbox,
    (partition, request_id): (u32, u64),
    outcome: Result<u32, &str>,
    now: Instant,
) {
    let outcome = match outcome {
        Ok(record_count) => Ok(AckFields { record_count, ..AckFields::default() }),
        Err(reason) => Err(Refusal {
            code: Code::Aborted,
            reason: reason.to_owned(),
            retry_after: (reason != FATAL).then_some(Duration::from_secs(1)),
            ..Refusal::unavailable(String::new())
        }),
    };
    let partition = PartitionIndex::new(partition);
    outbox.answer(Produced { request_id, partition, outcome }, now);
}

/// What is reported: partition, and `None` for a success or whether a failure may be written.
fn reports(outbox: &mut Outbox) -> Vec<(u32, Option<bool>)> {
    let told = |report| match report {
        Ok(BatchAck { partition, .. }) => (partition.get(), None),
        Err(error) => {
            let DeliveryError { partition, may_be_written, .. } = error;
            (partition.get(), Some(may_be_written))
        }
    };
    outbox.take_reports().into_iter().map(told).collect()
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn partitions_take_turns() {
    // Each record fills a batch.
    let options = ProducerOptions { batch_bytes: 300, linger: LINGER, ..Default::default() };
    let (mut outbox, session) = placed(outbox(3, options), 3);
    let now = Instant::now();
    for partition in [2, 2, 0, 0, 1, 1] {
        accept(&mut outbox, Record::of(&[0; 200]).to(PartitionIndex::new(partition)));
    }
    let taken: Vec<_> = std::iter::from_fn(|| take(&mut outbox, session, now)).collect();
    assert_eq!(taken, [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]);
}

#[test]
fn a_partition_moves_only_when_no_answer_is_awaited() {
    let (mut outbox, from) = eager(1);
    let now = Instant::now();
    accept(&mut outbox, Record::of(b"a").to(P0));
    assert_eq!(take(&mut outbox, from, now), Some((0, 0)));
    let to = outbox.add_session();
    outbox.assign(0, to);
    accept(&mut outbox, Record::of(b"b").to(P0));
    assert_eq!((take(&mut outbox, from, now), take(&mut outbox, to, now)), (None, None));
    answer(&mut outbox, (0, 0), Ok(1), now);
    assert_eq!((take(&mut outbox, from, now), take(&mut outbox, to, now)), (None, Some((0, 1))));
}

#[test]
fn a_partition_that_was_to_move_and_stays_is_sent_on_by_its_session() {
    let (mut outbox, session) = eager(1);
    let now = Instant::now();
    accept(&mut outbox, Record::of(b"a").to(P0));
    assert_eq!(take(&mut outbox, session, now), Some((0, 0)));
    accept(&mut outbox, Record::of(b"b").to(P0));
    let other = outbox.add_session();
    outbox.assign(0, other);
    assert_eq!(take(&mut outbox, session, now), None, "it is passed over while it is to move");
    let body = Arc::new(Flag::default());
    outbox.wait(session, &Waker::from(Arc::clone(&body)));
    outbox.assign(0, session);
    assert!(body.0.load(Ordering::Relaxed), "nothing else would wake the stream");
    assert_eq!(take(&mut outbox, session, now), Some((0, 1)));
}

#[test]
fn what_a_lost_stream_carried_is_sent_again_and_wakes_both_ends() {
    let (mut outbox, session) = eager(1);
    let now = Instant::now();
    let stream = outbox.begin_stream(session);
    accept(&mut outbox, Record::of(b"a").to(P0));
    assert_eq!(take(&mut outbox, session, now), Some((0, 0)));
    let body = Arc::new(Flag::default());
    outbox.wait(session, &Waker::from(Arc::clone(&body)));
    outbox.end_stream(session, now);
    assert!(body.0.load(Ordering::Relaxed), "the body of the lost stream must hear of its end");
    assert!(!outbox.is_current(session, stream));
    assert!(outbox.poll_ready(session, Waker::noop(), now));
    assert_eq!(take(&mut outbox, session, now), Some((0, 0)));
}

#[test]
fn records_without_a_place_pass_over_partitions_that_failed() {
    let options = ProducerOptions { batch_bytes: 300, linger: LINGER, ..Default::default() };
    let (mut outbox, _) = placed(outbox(4, options), 4);
    let value = [0; 200];
    let mut places = Vec::new();
    outbox.fail(1, &Arc::new(DeliveryFailure::Closed));
    outbox.fail(2, &Arc::new(DeliveryFailure::Closed));
    for _ in 0..6 {
        places.push(accept(&mut outbox, Record::of(&value)).partition.get());
    }
    assert_eq!(places, [0, 3, 0, 3, 0, 3]);
    outbox.fail(3, &Arc::new(DeliveryFailure::Closed));
    outbox.fail(0, &Arc::new(DeliveryFailure::Closed));
    let error = try_accept(&mut outbox, Record::of(&value)).expect_err("none is left");
    assert!(matches!(error, SendError::PartitionFailed { .. }), "{error}");
}

#[test]
fn a_buffer_full_of_open_batches_is_sent_although_they_linger() {
    let options = ProducerOptions { linger: LINGER, buffer_bytes: 800, ..Default::default() };
    let (mut outbox, session) = placed(outbox(4, options), 4);
    let now = Instant::now();
    for partition in 0..4 {
        accept(&mut outbox, Record::of(&[0; 100]).to(PartitionIndex::new(partition)));
    }
    let error = try_accept(&mut outbox, Record::of(b"x")).expect_err("full");
    assert!(matches!(error, SendError::Full { .. }), "{error}");
    assert_eq!(take(&mut outbox, session, now), None);
    assert!(outbox.must_wait_for_room());
    assert_eq!(std::iter::from_fn(|| take(&mut outbox, session, now)).count(), 4);
}

#[test]
fn a_batch_lingers_until_its_time_and_no_longer() {
    let options = ProducerOptions { linger: LINGER, ..Default::default() };
    let (mut outbox, session) = placed(outbox(1, options), 1);
    let now = Instant::now();
    accept(&mut outbox, Record::of(b"x"));
    let due = outbox.fire_timers(now).expect("a timer");
    assert!(due >= now + LINGER && take(&mut outbox, session, now).is_none());
    assert_eq!(outbox.fire_timers(due), None);
    assert_eq!(take(&mut outbox, session, due), Some((0, 0)));
    // The timer of a batch that is gone says nothing to the next one.
    answer(&mut outbox, (0, 0), Ok(1), due);
    accept(&mut outbox, Record::of(b"y"));
    outbox.make_due(0);
    assert_eq!(take(&mut outbox, session, due), Some((0, 1)));
    accept(&mut outbox, Record::of(b"z"));
    assert_eq!(outbox.fire_timers(now + LINGER / 2), outbox.fire_timers(now));
    assert_eq!(take(&mut outbox, session, now), None);
}

#[test]
fn a_deadline_fails_what_was_accepted_too_long_ago_and_nothing_else() {
    let deadline = Duration::from_mins(1);
    let options = ProducerOptions { delivery_deadline: Some(deadline), ..Default::default() };
    let (mut outbox, session) = placed(outbox(2, options), 2);
    let now = Instant::now();
    accept(&mut outbox, Record::of(b"sent").to(P0));
    outbox.make_all_due();
    assert!(take(&mut outbox, session, now).is_some());
    accept(&mut outbox, Record::of(b"kept").to(PartitionIndex::new(1)));
    outbox.fire_timers(now + deadline / 2);
    assert_eq!(reports(&mut outbox), []);
    outbox.fire_timers(Instant::now() + deadline);
    // The first was on its way, the second had not left.
    assert_eq!(reports(&mut outbox), [(0, Some(true)), (1, Some(false))]);
    assert_eq!(outbox.buffered_bytes(), 0);
}

#[test]
fn a_failure_says_whether_the_batch_may_be_written_all_the_same() {
    let now = Instant::now();
    let later = now + Duration::from_mins(1);
    // How the first attempt ended, and whether it may have been written.
    for (first, may_be_written) in [
        (Some("DISK_FULL"), false),
        (Some(reason::INDETERMINATE), true),
        // Its stream broke.
        (None, true),
    ] {
        let (mut outbox, session) = eager(1);
        accept(&mut outbox, Record::of(b"refused").to(P0));
        assert_eq!(take(&mut outbox, session, now), Some((0, 0)));
        accept(&mut outbox, Record::of(b"never sent").to(P0));
        match first {
            Some(reason) => answer(&mut outbox, (0, 0), Err(reason), now),
            None => drop(outbox.end_stream(session, now)),
        }
        assert_eq!(take(&mut outbox, session, later), Some((0, 0)));
        answer(&mut outbox, (0, 0), Err(FATAL), later);
        assert_eq!(reports(&mut outbox), [(0, Some(may_be_written)), (0, Some(false))]);
    }
}

#[test]
fn a_producer_that_is_gone_holds_nothing_and_sends_nothing() {
    let (mut outbox, session) = eager(2);
    let now = Instant::now();
    let stream = outbox.begin_stream(session);
    accept(&mut outbox, Record::of(b"sent").to(P0));
    assert!(take(&mut outbox, session, now).is_some());
    accept(&mut outbox, Record::of(b"kept").to(PartitionIndex::new(1)));
    let body = Arc::new(Flag::default());
    outbox.wait(session, &Waker::from(Arc::clone(&body)));
    outbox.abandon();
    assert!(body.0.load(Ordering::Relaxed), "the body of its stream must end");
    assert_eq!((outbox.buffered_bytes(), outbox.has_reports()), (0, false));
    assert!(!outbox.is_current(session, stream));
    // A task that has not heard of it yet may still begin another stream.
    let late = outbox.begin_stream(session);
    assert!(!outbox.is_current(session, late));
}
