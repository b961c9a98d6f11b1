//! The batches of one partition on their way to the server: which may be sent next, what an answer
//! means, what is sent again. A pure state machine; it knows no socket, clock or codec.
//!
//! A lane hands out its batches oldest first, at most `window` beyond the oldest one that is not
//! acknowledged. When a batch is refused in a way that is worth another try, the lane *settles*: it
//! hands out nothing until everything it sent has been answered. Only then, and after a pause, it
//! starts another pass with the oldest batch that is not acknowledged. So at any time each batch has
//! at most one attempt on the current stream, an answer needs no attempt number, and a server that
//! refused batch k sees k again before anything that followed it.
//!
//! ```text
//!            refused, worth a retry          all answered
//!   Sending ───────────────────────► Settling ──────────► Paused(until)
//!      ▲  ▲                                                   │
//!      │  └───────────────── until has come ──────────────────┘
//!      └── stream lost (from any state; a pause goes on) : every unanswered batch counts as not sent
//! ```
//!
//! It does not know *why* something was refused: the caller sorts answers into [`Answer`].

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::backoff::Backoff;

/// Batches of one lane, oldest first. `B` is what is sent, `A` what a success brings back.
#[derive(Debug)]
pub(crate) struct Lane<B, A, E> {
    /// Invariant: the front is not `Acked`, or will be taken by `pop_acked` before the next event.
    entries: VecDeque<Entry<B, A>>,
    /// Serial of the front entry. Serials grow by one per batch and never repeat.
    front_serial: u64,
    /// Invariant: `next ≤ entries.len()`; nothing at or after `next` is `Sent`.
    next: usize,
    /// Invariant: how many entries are `Sent`.
    awaited: usize,
    window: usize,
    pass: Pass,
    backoff: Backoff,
    /// Why the present pass was given up, for the error of a deadline.
    last_error: Option<E>,
}

#[derive(Debug)]
struct Entry<B, A> {
    batch: B,
    state: State<A>,
}

#[derive(Debug)]
enum State<A> {
    /// Not sent, or sent on a stream that is gone, or refused and to be sent again.
    Waiting,
    /// On the current stream, unanswered. `as_front`: nothing older was unacknowledged then.
    Sent { as_front: bool },
    /// Acknowledged, but an older one is not yet.
    Acked(A),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    Sending,
    /// Hand out nothing until `awaited` is zero; then pause at least this long.
    Settling {
        at_least: Duration,
    },
    Paused {
        until: Instant,
    },
}

/// An answer to one batch.
#[derive(Debug, Clone)]
pub(crate) enum Answer<A, E> {
    /// It is in the log.
    Acked(A),
    /// Worth another try, after at least this long.
    Retriable(E, Duration),
    /// The server has not seen what comes before it. Follows from the refusal of an older batch, or
    /// else says that acknowledged batches are gone.
    Gap(E),
    /// Trying again cannot help.
    Fatal(E),
}

/// What an answer did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<E> {
    /// Taken in. Look at `pop_acked` and `take` again.
    Taken,
    /// It belongs to nothing that is awaited; nothing changed.
    Stale,
    /// The lane cannot go on. The caller ends it with `drain`.
    Failed(E),
}

impl<B, A, E: Clone> Lane<B, A, E> {
    /// A lane that keeps at most `window` batches on the wire.
    pub(crate) fn new(window: usize, seed: u64) -> Self {
        assert!(window > 0, "a lane without a window would never send");
        Self {
            entries: VecDeque::new(),
            front_serial: 0,
            next: 0,
            awaited: 0,
            window,
            pass: Pass::Sending,
            backoff: Backoff::new(seed),
            last_error: None,
        }
    }

    /// Adds the newest batch and returns its serial.
    pub(crate) fn push(&mut self, batch: B) -> u64 {
        let serial = self.front_serial + self.entries.len() as u64;
        self.entries.push_back(Entry { batch, state: State::Waiting });
        serial
    }

    /// Whether nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Batches on the current stream that are not answered.
    pub(crate) fn awaited(&self) -> usize {
        self.awaited
    }

    /// The oldest batch that is not acknowledged.
    pub(crate) fn front(&self) -> Option<&B> {
        self.entries.front().map(|entry| &entry.batch)
    }

    /// The batch of this serial, if its answer is awaited.
    pub(crate) fn sent(&self, serial: u64) -> Option<&B> {
        let index = usize::try_from(serial.checked_sub(self.front_serial)?).ok()?;
        let entry = self.entries.get(index)?;
        matches!(entry.state, State::Sent { .. }).then_some(&entry.batch)
    }

    /// The same, to be changed.
    pub(crate) fn sent_mut(&mut self, serial: u64) -> Option<&mut B> {
        let index = usize::try_from(serial.checked_sub(self.front_serial)?).ok()?;
        let entry = self.entries.get_mut(index)?;
        matches!(entry.state, State::Sent { .. }).then_some(&mut entry.batch)
    }

    /// Why the last pass was given up, if one was since the last success.
    pub(crate) fn last_error(&self) -> Option<&E> {
        self.last_error.as_ref()
    }

    /// When a paused lane goes on.
    pub(crate) fn paused_until(&self) -> Option<Instant> {
        match self.pass {
            Pass::Paused { until } => Some(until),
            Pass::Sending | Pass::Settling { .. } => None,
        }
    }

    /// Whether one more pushed batch could be sent at once.
    pub(crate) fn has_room(&self) -> bool {
        self.pass == Pass::Sending && self.entries.len() < self.window
    }

    /// Whether `take` has something now.
    pub(crate) fn can_take(&self, now: Instant) -> bool {
        match self.pass {
            Pass::Settling { .. } => false,
            Pass::Paused { until } if now < until => false,
            // A pass that begins again begins with the front.
            Pass::Paused { .. } => !self.entries.is_empty(),
            Pass::Sending => self.next_unsent().is_some(),
        }
    }

    /// The next batch to send, with its serial. It counts as sent from now on.
    pub(crate) fn take(&mut self, now: Instant) -> Option<(u64, &mut B)> {
        if let Pass::Paused { until } = self.pass
            && now >= until
        {
            self.pass = Pass::Sending;
            self.next = 0;
        }
        if self.pass != Pass::Sending {
            return None;
        }
        let index = self.next_unsent()?;
        self.next = index + 1;
        self.awaited += 1;
        let entry = &mut self.entries[index];
        entry.state = State::Sent { as_front: index == 0 };
        Some((self.front_serial + index as u64, &mut entry.batch))
    }

    fn next_unsent(&self) -> Option<usize> {
        let end = self.entries.len().min(self.window);
        (self.next..end).find(|&at| matches!(self.entries[at].state, State::Waiting))
    }

    /// Takes in an answer that came on the current stream.
    pub(crate) fn answer(&mut self, serial: u64, answer: Answer<A, E>) -> Step<E> {
        let Some(index) = serial
            .checked_sub(self.front_serial)
            .and_then(|index| usize::try_from(index).ok())
            .filter(|&index| index < self.entries.len())
        else {
            return Step::Stale;
        };
        let State::Sent { as_front } = self.entries[index].state else {
            return Step::Stale;
        };
        self.awaited -= 1;
        self.entries[index].state = State::Waiting;
        match answer {
            Answer::Acked(ack) => {
                self.entries[index].state = State::Acked(ack);
                self.backoff.succeeded();
            }
            Answer::Retriable(error, at_least) => self.settle(error, at_least),
            // Everything older was acknowledged when this was sent, so the server has lost some of it.
            Answer::Gap(error) if as_front => return Step::Failed(error),
            Answer::Gap(error) => self.settle(error, Duration::ZERO),
            Answer::Fatal(error) => return Step::Failed(error),
        }
        Step::Taken
    }

    fn settle(&mut self, error: E, pause: Duration) {
        match self.pass {
            // The cause is the first refusal; what follows from it would only hide it.
            Pass::Settling { at_least } => {
                self.pass = Pass::Settling { at_least: at_least.max(pause) };
            }
            Pass::Sending | Pass::Paused { .. } => {
                self.last_error = Some(error);
                self.pass = Pass::Settling { at_least: pause };
            }
        }
    }

    /// Begins the pause of a lane that has settled. To be called after answers, with the time.
    pub(crate) fn pause_when_settled(&mut self, now: Instant) {
        if let Pass::Settling { at_least } = self.pass
            && self.awaited == 0
        {
            self.pass = Pass::Paused { until: now + self.backoff.next().max(at_least) };
        }
    }

    /// The oldest batch with its acknowledgement, once it has one. Batches come out in order.
    pub(crate) fn pop_acked(&mut self) -> Option<(u64, B, A)> {
        if !matches!(self.entries.front()?.state, State::Acked(_)) {
            return None;
        }
        let entry = self.entries.pop_front()?;
        let State::Acked(ack) = entry.state else { unreachable!("looked at before it was popped") };
        let serial = self.front_serial;
        self.front_serial += 1;
        self.next = self.next.saturating_sub(1);
        if matches!(self.pass, Pass::Sending) {
            self.last_error = None;
        }
        Some((serial, entry.batch, ack))
    }

    /// The stream is gone, and with it the answers: whatever was sent may or may not be in the log.
    pub(crate) fn disconnected(&mut self, now: Instant) {
        for entry in &mut self.entries {
            if matches!(entry.state, State::Sent { .. }) {
                entry.state = State::Waiting;
            }
        }
        self.awaited = 0;
        self.next = 0;
        self.pause_when_settled(now);
    }

    /// Ends the lane: everything it still held, oldest first.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = B> + '_ {
        self.front_serial += self.entries.len() as u64;
        self.next = 0;
        self.awaited = 0;
        self.entries.drain(..).map(|entry| entry.batch)
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    const DEDUPLICATED: u64 = 64;

    type TestLane = Lane<u64, u64, &'static str>;

    /// A partition of the server: batches are numbers, and so are their sequences and offsets.
    #[derive(Default)]
    struct Server {
        log: Vec<u64>,
        wire: VecDeque<(u64, u64)>,
        answers: VecDeque<(u64, Answer<u64, &'static str>)>,
    }

    #[derive(Debug, Clone, Copy)]
    enum Mood {
        Fine,
        DiskFull,
        Indeterminate,
    }

    impl Server {
        fn process(&mut self, mood: Mood) -> bool {
            let Some((serial, batch)) = self.wire.pop_front() else { return false };
            let end = self.log.len() as u64;
            let answer = match (batch.cmp(&end), mood) {
                (Ordering::Less, _) => {
                    assert!(end - batch <= DEDUPLICATED, "too old to be recognised");
                    Answer::Acked(batch)
                }
                (Ordering::Greater, _) => Answer::Gap("gap"),
                (Ordering::Equal, Mood::Fine) => {
                    self.log.push(batch);
                    Answer::Acked(batch)
                }
                (Ordering::Equal, Mood::DiskFull) => Answer::Retriable("disk full", Duration::ZERO),
                (Ordering::Equal, Mood::Indeterminate) => {
                    self.log.push(batch);
                    Answer::Retriable("indeterminate", Duration::ZERO)
                }
            };
            self.answers.push_back((serial, answer));
            true
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Push,
        Send,
        Process(Mood),
        Deliver,
        /// The server still works off so much of what it got, but nobody hears of it.
        Disconnect {
            processed: usize,
        },
        Time(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        let mood = prop_oneof![
            6 => Just(Mood::Fine),
            1 => Just(Mood::DiskFull),
            1 => Just(Mood::Indeterminate),
        ];
        prop_oneof![
            4 => Just(Event::Push),
            4 => Just(Event::Send),
            4 => mood.prop_map(Event::Process),
            4 => Just(Event::Deliver),
            1 => (0..80_usize).prop_map(|processed| Event::Disconnect { processed }),
            2 => (0..20_000_u64).prop_map(Event::Time),
        ]
    }

    struct World {
        lane: TestLane,
        server: Server,
        now: Instant,
        pushed: u64,
        delivered: Vec<u64>,
    }

    impl World {
        fn new(window: usize, start: Instant) -> Self {
            Self {
                lane: Lane::new(window, 11),
                server: Server::default(),
                now: start,
                pushed: 0,
                delivered: Vec::new(),
            }
        }

        fn apply(&mut self, event: Event) {
            match event {
                Event::Push => {
                    let serial = self.lane.push(self.pushed);
                    assert_eq!(serial, self.pushed);
                    self.pushed += 1;
                }
                Event::Send => {
                    let could = self.lane.can_take(self.now);
                    let taken = self.lane.take(self.now).map(|(serial, batch)| (serial, *batch));
                    assert_eq!(taken.is_some(), could, "can_take and take disagree");
                    self.server.wire.extend(taken);
                }
                Event::Process(mood) => {
                    self.server.process(mood);
                }
                Event::Deliver => self.deliver(),
                Event::Disconnect { processed } => {
                    for _ in 0..processed {
                        self.server.process(Mood::Fine);
                    }
                    self.server.wire.clear();
                    self.server.answers.clear();
                    self.lane.disconnected(self.now);
                }
                Event::Time(ms) => self.now += Duration::from_millis(ms),
            }
        }

        fn deliver(&mut self) {
            let Some((serial, answer)) = self.server.answers.pop_front() else { return };
            assert_eq!(self.lane.answer(serial, answer), Step::Taken);
            while let Some((serial, batch, offset)) = self.lane.pop_acked() {
                assert_eq!((serial, offset), (batch, batch));
                self.delivered.push(batch);
            }
            self.lane.pause_when_settled(self.now);
        }

        fn finish(&mut self) {
            for _ in 0..10_000 {
                self.apply(Event::Send);
                self.server.process(Mood::Fine);
                self.deliver();
                self.apply(Event::Time(100));
            }
            assert!(self.lane.is_empty(), "stuck: {:?}", self.lane);
        }
    }

    proptest! {
        #[test]
        fn whatever_fails_every_batch_is_in_the_log_once_and_acknowledged_in_order(
            window in 1..=64_usize,
            events in proptest::collection::vec(event(), 0..600),
        ) {
            let mut world = World::new(window, Instant::now());
            for event in events {
                world.apply(event);
                prop_assert!(world.lane.awaited() <= window);
                prop_assert_eq!(
                    world.lane.awaited(),
                    world.server.wire.len() + world.server.answers.len()
                );
            }
            world.finish();
            let all: Vec<u64> = (0..world.pushed).collect();
            prop_assert_eq!(&world.server.log, &all);
            prop_assert_eq!(&world.delivered, &all);
        }
    }

    fn lane_with(batches: u64) -> (TestLane, Instant) {
        let mut lane = Lane::new(16, 3);
        for batch in 0..batches {
            lane.push(batch);
        }
        (lane, Instant::now())
    }

    fn take_all(lane: &mut TestLane, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| lane.take(now).map(|(serial, _)| serial)).collect()
    }

    #[test]
    fn a_full_disk_is_retried_from_the_batch_that_was_refused_first() {
        let (mut lane, now) = lane_with(4);
        assert_eq!(take_all(&mut lane, now), [0, 1, 2, 3]);
        lane.answer(0, Answer::Acked(0));
        assert!(lane.pop_acked().is_some());
        lane.answer(1, Answer::Retriable("disk full", Duration::from_secs(1)));
        assert_eq!(take_all(&mut lane, now), [] as [u64; 0], "it waits for the answers to 2 and 3");
        lane.answer(2, Answer::Gap("gap"));
        lane.answer(3, Answer::Gap("gap"));
        lane.pause_when_settled(now);
        assert_eq!(lane.last_error(), Some(&"disk full"), "the cause, not what followed from it");
        assert_eq!(take_all(&mut lane, now + Duration::from_millis(999)), [] as [u64; 0]);
        assert_eq!(take_all(&mut lane, now + Duration::from_secs(1)), [1, 2, 3]);
    }

    #[test]
    fn what_was_acknowledged_behind_a_failed_batch_is_not_sent_again() {
        let (mut lane, now) = lane_with(3);
        take_all(&mut lane, now);
        lane.answer(0, Answer::Retriable("indeterminate", Duration::ZERO));
        lane.answer(1, Answer::Acked(1));
        lane.answer(2, Answer::Acked(2));
        assert!(lane.pop_acked().is_none(), "the first is not known to be in the log");
        lane.pause_when_settled(now);
        assert_eq!(take_all(&mut lane, now + Duration::from_secs(1)), [0]);
        lane.answer(0, Answer::Acked(0));
        let acked: Vec<u64> =
            std::iter::from_fn(|| lane.pop_acked().map(|(serial, ..)| serial)).collect();
        assert_eq!(acked, [0, 1, 2]);
    }

    #[test]
    fn an_answer_from_a_stream_that_is_gone_changes_nothing() {
        let (mut lane, now) = lane_with(1);
        take_all(&mut lane, now);
        lane.disconnected(now);
        assert_eq!(lane.answer(0, Answer::Fatal("late")), Step::Stale);
        assert_eq!(take_all(&mut lane, now), [0]);
    }

    #[test]
    fn a_gap_before_the_oldest_batch_means_that_acknowledged_ones_are_lost() {
        let (mut lane, now) = lane_with(2);
        take_all(&mut lane, now);
        lane.answer(0, Answer::Acked(0));
        assert!(lane.pop_acked().is_some());
        lane.disconnected(now);
        assert_eq!(take_all(&mut lane, now), [1]);
        assert_eq!(lane.answer(1, Answer::Gap("gap")), Step::Failed("gap"));
    }

    #[test]
    fn a_pause_outlives_the_stream() {
        let (mut lane, now) = lane_with(2);
        take_all(&mut lane, now);
        lane.answer(0, Answer::Retriable("overloaded", Duration::from_secs(5)));
        lane.disconnected(now);
        assert!(!lane.can_take(now + Duration::from_secs(4)));
        assert_eq!(take_all(&mut lane, now + Duration::from_secs(5)), [0, 1]);
    }

    #[test]
    fn no_more_than_the_window_is_out() {
        let mut lane = TestLane::new(2, 1);
        let now = Instant::now();
        for batch in 0..5 {
            lane.push(batch);
        }
        assert_eq!(take_all(&mut lane, now), [0, 1]);
        lane.answer(1, Answer::Acked(1));
        assert_eq!(take_all(&mut lane, now), [] as [u64; 0], "the window starts at the oldest");
        lane.answer(0, Answer::Acked(0));
        while lane.pop_acked().is_some() {}
        assert_eq!(take_all(&mut lane, now), [2, 3]);
    }
}
