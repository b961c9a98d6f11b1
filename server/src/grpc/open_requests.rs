//! Requests that are being answered, for a node that waits until there are none.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Requests that a stopping node waits for. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenRequests(Rc<Count>);

#[derive(Debug, Default)]
struct Count {
    open: Cell<usize>,
    waiting: RefCell<Option<Waker>>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenRequest(Rc<Count>);

impl OpenRequests {
    /// Counts one more.
    pub(super) fn begin(&self) -> OpenRequest {
        self.0.open.set(self.0.open.get() + 1);
        OpenRequest(self.0.clone())
    }

    /// Returns when there are none. One task may wait.
    pub(crate) async fn none(&self) {
        poll_fn(|cx| {
            if self.0.open.get() == 0 {
                return Poll::Ready(());
            }
            *self.0.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        if self.0.open.get() == 0
            && let Some(waiting) = self.0.waiting.take()
        {
            waiting.wake();
        }
    }
}
