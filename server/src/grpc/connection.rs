//! What one connection may have under way, over all its streams.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::status::Refusal;

/// What all streams of a connection use together.
#[derive(Debug)]
pub(crate) struct ConnectionUse {
    pub(crate) in_flight: InFlightBytes,
    pub(crate) unfinished: Rc<Cell<usize>>,
}

impl ConnectionUse {
    pub(crate) fn new(in_flight_max: usize) -> Self {
        Self { in_flight: InFlightBytes::new(in_flight_max), unfinished: Rc::default() }
    }
}

/// Bytes of batches that were taken from a connection and not answered. A stream that finds no room queues
/// until others are answered, and is not read from meanwhile. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct InFlightBytes(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    used: Cell<usize>,
    /// Streams that queue, by ticket: as many as a connection may have, at most.
    queue: RefCell<VecDeque<(u64, Option<Waker>)>>,
    tickets: Cell<u64>,
}

impl InFlightBytes {
    pub(crate) fn new(limit: usize) -> Self {
        let (used, tickets) = (Cell::new(0), Cell::new(0));
        Self(Rc::new(Inner { limit, used, queue: RefCell::default(), tickets }))
    }

    /// Takes room for a batch, if there is any and nobody queues for it: a stream of large batches would
    /// never see as much as it needs beside streams of small ones.
    #[inline]
    pub(crate) fn try_take(&self, bytes: usize) -> bool {
        self.0.queue.borrow().is_empty() && self.0.take(bytes)
    }

    /// Queues for room.
    pub(crate) fn queue(&self) -> InFlightTurn {
        let ticket = self.0.tickets.get();
        self.0.tickets.set(ticket + 1);
        self.0.queue.borrow_mut().push_back((ticket, None));
        InFlightTurn { bytes: self.clone(), ticket }
    }

    /// Gives room back.
    pub(crate) fn give_back(&self, bytes: usize) {
        let used = self.0.used.get();
        assert!(bytes <= used, "more is given back than was taken");
        self.0.used.set(used - bytes);
        if bytes > 0 {
            self.0.wake_first();
        }
    }
}

impl Inner {
    #[inline]
    fn take(&self, bytes: usize) -> bool {
        let used = self.used.get();
        // A single batch always fits, however low the limit.
        let fits = used == 0 || used + bytes <= self.limit;
        if fits {
            self.used.set(used + bytes);
        }
        fits
    }

    fn wake_first(&self) {
        if let Some((_, waker)) = self.queue.borrow_mut().front_mut()
            && let Some(waker) = waker.take()
        {
            waker.wake();
        }
    }
}

/// A place in the queue for room, until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlightTurn {
    bytes: InFlightBytes,
    ticket: u64,
}

impl InFlightTurn {
    /// Takes room when it is this one's turn and there is enough; otherwise woken then.
    pub(crate) fn poll(&self, bytes: usize, cx: &Context<'_>) -> Poll<()> {
        let inner = &self.bytes.0;
        let is_first = inner.queue.borrow().front().is_some_and(|(first, _)| *first == self.ticket);
        if is_first && inner.take(bytes) {
            return Poll::Ready(());
        }
        let mut queue = inner.queue.borrow_mut();
        if let Some((_, waker)) = queue.iter_mut().find(|(ticket, _)| *ticket == self.ticket) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for InFlightTurn {
    fn drop(&mut self) {
        let inner = &self.bytes.0;
        inner.queue.borrow_mut().retain(|(ticket, _)| *ticket != self.ticket);
        // There may be room for the next one too.
        inner.wake_first();
    }
}

/// Bytes of messages of one connection that have not arrived as a whole, over all its streams. They cannot
/// wait for each other, because what they wait for comes through the same connection.
const UNFINISHED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What one stream has of them.
#[derive(Debug)]
pub(crate) struct UnfinishedBytes {
    of_connection: Rc<Cell<usize>>,
    of_stream: usize,
}

impl UnfinishedBytes {
    pub(crate) fn new(of_connection: Rc<Cell<usize>>) -> Self {
        Self { of_connection, of_stream: 0 }
    }

    /// Says how many they are now.
    ///
    /// # Errors
    /// They are too many, together with those of the other streams.
    pub(crate) fn set(&mut self, bytes: usize) -> Result<(), Refusal> {
        let together = self.of_connection.get() - self.of_stream + bytes;
        self.of_connection.set(together);
        self.of_stream = bytes;
        if together > UNFINISHED_BYTES_MAX {
            return Err(Refusal::TooManyUnfinished { bytes: together, max: UNFINISHED_BYTES_MAX });
        }
        Ok(())
    }
}

impl Drop for UnfinishedBytes {
    fn drop(&mut self) {
        self.of_connection.set(self.of_connection.get() - self.of_stream);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[test]
    fn what_does_not_fit_waits_until_something_is_given_back() {
        let (waker, count) = counting_waker();
        let cx = Context::from_waker(&waker);
        let bytes = InFlightBytes::new(100);
        assert!(bytes.try_take(500), "a single batch always fits");
        assert!(!bytes.try_take(1));
        let turn = bytes.queue();
        assert!(turn.poll(1, &cx).is_pending());
        bytes.give_back(500);
        assert_eq!(count.load(Ordering::Relaxed), 1);
        assert!(turn.poll(60, &cx).is_ready());
        drop(turn);
        assert!(bytes.try_take(40) && !bytes.try_take(1));
    }

    #[test]
    fn small_batches_do_not_pass_a_large_one_that_waits() {
        let (waker, count) = counting_waker();
        let cx = Context::from_waker(&waker);
        let bytes = InFlightBytes::new(100);
        assert!(bytes.try_take(30) && bytes.try_take(30));
        let (large, small) = (bytes.queue(), bytes.queue());
        assert!(large.poll(80, &cx).is_pending() && small.poll(10, &cx).is_pending());
        assert!(!bytes.try_take(10), "there is room, and somebody else waits for it");
        bytes.give_back(60);
        assert!(small.poll(10, &cx).is_pending(), "it is not its turn");
        assert!(large.poll(80, &cx).is_ready());
        drop(large);
        assert_eq!(count.load(Ordering::Relaxed), 2);
        assert!(small.poll(10, &cx).is_ready());
        drop(small);
        assert!(bytes.try_take(10));
    }

    #[test]
    fn whoever_gives_up_lets_the_next_one_have_its_turn() {
        let (waker, count) = counting_waker();
        let cx = Context::from_waker(&waker);
        let bytes = InFlightBytes::new(100);
        assert!(bytes.try_take(50));
        let (large, small) = (bytes.queue(), bytes.queue());
        assert!(large.poll(80, &cx).is_pending() && small.poll(10, &cx).is_pending());
        drop(large);
        assert_eq!(count.load(Ordering::Relaxed), 1);
        assert!(small.poll(10, &cx).is_ready());
    }

    #[test]
    fn unfinished_bytes_of_all_streams_together_are_limited() {
        let connection = Rc::new(Cell::new(0));
        let mut one = UnfinishedBytes::new(connection.clone());
        let mut other = UnfinishedBytes::new(connection.clone());
        assert!(one.set(UNFINISHED_BYTES_MAX).is_ok());
        assert!(other.set(1).is_err());
        assert!(one.set(0).is_ok());
        assert!(other.set(1).is_ok());
        drop((one, other));
        assert_eq!(connection.get(), 0);
    }

    fn counting_waker() -> (Waker, Arc<AtomicUsize>) {
        struct Count(Arc<AtomicUsize>);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let count = Arc::new(AtomicUsize::new(0));
        (Arc::new(Count(count.clone())).into(), count)
    }
}
