//! What one connection may have under way, over all its streams.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

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

/// Bytes of batches that were taken from a connection and not answered. A stream that finds no room waits
/// until others are answered, and is not read from meanwhile. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct InFlightBytes(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    used: Cell<usize>,
    waiting: RefCell<Vec<Waker>>,
}

impl InFlightBytes {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Rc::new(Inner { limit, used: Cell::new(0), waiting: RefCell::default() }))
    }

    /// Takes room for a batch, or leaves word to be woken when there is more.
    pub(crate) fn try_take(&self, bytes: usize, cx: &Context<'_>) -> bool {
        let used = self.0.used.get();
        // A single batch always fits, however low the limit.
        if used > 0 && used + bytes > self.0.limit {
            self.0.waiting.borrow_mut().push(cx.waker().clone());
            return false;
        }
        self.0.used.set(used + bytes);
        true
    }

    /// Gives room back.
    pub(crate) fn give_back(&self, bytes: usize) {
        let used = self.0.used.get();
        assert!(bytes <= used, "more is given back than was taken");
        self.0.used.set(used - bytes);
        if bytes > 0 && !self.0.waiting.borrow().is_empty() {
            self.0.waiting.take().into_iter().for_each(Waker::wake);
        }
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
    use super::*;

    #[test]
    fn what_does_not_fit_waits_until_something_is_given_back() {
        let (waker, count) = futures_test_waker();
        let cx = Context::from_waker(&waker);
        let bytes = InFlightBytes::new(100);
        assert!(bytes.try_take(500, &cx), "a single batch always fits");
        assert!(!bytes.try_take(1, &cx));
        bytes.give_back(500);
        assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert!(bytes.try_take(60, &cx) && bytes.try_take(40, &cx) && !bytes.try_take(1, &cx));
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

    fn futures_test_waker() -> (Waker, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
        struct Count(std::sync::Arc<std::sync::atomic::AtomicUsize>);
        impl std::task::Wake for Count {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        (std::sync::Arc::new(Count(count.clone())).into(), count)
    }
}
