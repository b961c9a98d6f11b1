//! Which steps of a stream run: a few that read at a time, each partition in its turn, and any number
//! that wait. What a step does is its own affair.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::future::{AbortHandle, Abortable, LocalBoxFuture};
use futures_util::stream::FuturesUnordered;

/// Steps of one stream that read at a time.
const READING_MAX: usize = 4;

/// A step under way. Aborted when the client seeks.
type Running<S> = Abortable<LocalBoxFuture<'static, S>>;

/// The steps of a stream, at most one for each partition: `Q` is one that has not begun, `S` what becomes
/// of it.
pub(super) struct Turns<Q, S> {
    reading: FuturesUnordered<Running<S>>,
    waiting: FuturesUnordered<Running<S>>,
    /// To be let read, by partition.
    queue: VecDeque<(u32, Q)>,
    /// What stops the present step of each partition.
    running: HashMap<u32, AbortHandle>,
    /// Which of the two was asked first last time.
    waiting_first: bool,
}

impl<Q, S> Default for Turns<Q, S> {
    fn default() -> Self {
        Self {
            reading: FuturesUnordered::new(),
            waiting: FuturesUnordered::new(),
            queue: VecDeque::new(),
            running: HashMap::new(),
            waiting_first: false,
        }
    }
}

impl<Q, S: 'static> Turns<Q, S> {
    /// Forgets whatever step a partition has.
    pub(super) fn stop(&mut self, partition: u32) {
        if let Some(running) = self.running.remove(&partition) {
            running.abort();
        }
        self.queue.retain(|(queued, _)| *queued != partition);
    }

    /// Lets a partition read after all others that want to.
    pub(super) fn read_last(&mut self, partition: u32, step: Q) {
        self.queue.push_back((partition, step));
    }

    /// Lets a partition read before all others.
    pub(super) fn read_next(&mut self, partition: u32, step: Q) {
        self.queue.push_front((partition, step));
    }

    /// Whether no other partition wants to read.
    pub(super) fn nobody_queues(&self) -> bool {
        self.queue.is_empty()
    }

    /// Begins a step that waits.
    pub(super) fn wait(&mut self, partition: u32, step: LocalBoxFuture<'static, S>) {
        let running = begin(&mut self.running, partition, step);
        self.waiting.push(running);
    }

    /// The next step that has come to its end. Those whose turn it is are begun by `start`.
    pub(super) fn poll(
        &mut self,
        mut start: impl FnMut(Q) -> LocalBoxFuture<'static, S>,
        cx: &mut Context<'_>,
    ) -> Poll<S> {
        self.waiting_first = !self.waiting_first;
        loop {
            while self.reading.len() < READING_MAX
                && let Some((partition, step)) = self.queue.pop_front()
            {
                let running = begin(&mut self.running, partition, start(step));
                self.reading.push(running);
            }
            let (first, second) = if self.waiting_first {
                (&mut self.waiting, &mut self.reading)
            } else {
                (&mut self.reading, &mut self.waiting)
            };
            if let ready @ Poll::Ready(_) = poll_one(first, cx) {
                return ready;
            }
            if let ready @ Poll::Ready(_) = poll_one(second, cx) {
                return ready;
            }
            // Steps that were stopped are found out here only, and nobody else wakes those in their place.
            if self.reading.len() == READING_MAX || self.queue.is_empty() {
                return Poll::Pending;
            }
        }
    }
}

fn begin<S>(
    running: &mut HashMap<u32, AbortHandle>,
    partition: u32,
    step: LocalBoxFuture<'static, S>,
) -> Running<S> {
    let (handle, registration) = AbortHandle::new_pair();
    running.insert(partition, handle);
    Abortable::new(step, registration)
}

/// The next of these that has ended and was not stopped.
fn poll_one<S>(steps: &mut FuturesUnordered<Running<S>>, cx: &mut Context<'_>) -> Poll<S> {
    loop {
        match Pin::new(&mut *steps).poll_next(cx) {
            Poll::Ready(Some(Ok(step))) => return Poll::Ready(step),
            Poll::Ready(Some(Err(_aborted))) => {}
            Poll::Ready(None) | Poll::Pending => return Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::task::Waker;

    use super::*;

    /// Steps that end at once with their number, and such that never do.
    #[derive(Clone, Copy)]
    enum Step {
        Ends(u32),
        Hangs,
    }

    fn start(step: Step) -> LocalBoxFuture<'static, u32> {
        match step {
            Step::Ends(number) => Box::pin(ready(number)),
            Step::Hangs => Box::pin(pending()),
        }
    }

    fn poll(turns: &mut Turns<Step, u32>) -> Poll<u32> {
        turns.poll(start, &mut Context::from_waker(Waker::noop()))
    }

    fn hanging() -> Turns<Step, u32> {
        let mut turns = Turns::default();
        for partition in 0..READING_MAX {
            turns.read_last(u32::try_from(partition).expect("few"), Step::Hangs);
        }
        assert!(poll(&mut turns).is_pending());
        turns
    }

    #[test]
    fn only_a_few_read_at_a_time_and_the_others_keep_their_order() {
        let mut turns = hanging();
        turns.read_last(10, Step::Ends(10));
        turns.read_last(11, Step::Ends(11));
        turns.read_next(12, Step::Ends(12));
        assert!(poll(&mut turns).is_pending());
        assert!(!turns.nobody_queues());
        turns.stop(0);
        let order = [poll(&mut turns), poll(&mut turns), poll(&mut turns)];
        assert_eq!(order, [12, 10, 11].map(Poll::Ready));
    }

    #[test]
    fn steps_in_the_place_of_those_that_were_stopped_begin_at_once() {
        let mut turns = hanging();
        // The client seeks in all partitions that are being read.
        for partition in 0..READING_MAX {
            let partition = u32::try_from(partition).expect("few");
            turns.stop(partition);
            turns.read_last(partition, Step::Ends(partition));
        }
        // Nobody is going to wake the task again, so this poll must find them.
        assert_eq!(poll(&mut turns), Poll::Ready(0));
    }

    #[test]
    fn a_partition_that_was_stopped_says_nothing_more() {
        let mut turns = Turns::default();
        turns.wait(1, Box::pin(ready(1)));
        turns.read_last(2, Step::Ends(2));
        turns.stop(1);
        turns.stop(2);
        assert!(poll(&mut turns).is_pending());
    }
}
