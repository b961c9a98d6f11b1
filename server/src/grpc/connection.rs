//! What one connection may have under way, over all its streams.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

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
