//! How the answer to an append travels back: a queue for each stream of appends.
//!
//! The flush of one partition answers hundreds of batches at once, so answers are collected and
//! the stream is woken once for all of them.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use forebay_format::{Epoch, Offset, TimestampMs};

use super::{AckWhen, AppendError};

/// What became of one append.
#[derive(Debug, Clone)]
pub struct Completed {
    /// The number that the append was given.
    pub token: u64,
    /// Where it went, or why it did not.
    pub outcome: Result<Appended, AppendError>,
}

/// Where a batch was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Its records.
    pub record_count: u32,
    /// The leader's epoch that it was written in.
    pub epoch: Epoch,
    /// The leader's clock at that time.
    pub append_time: TimestampMs,
    /// Whether this replica holds it on stable storage now.
    pub durable: bool,
    /// Whether it had been appended before: a retry, not a second copy.
    pub duplicate: bool,
}

/// The answers for one stream of appends, in the order in which they became known. Clones share it.
#[derive(Clone, Default)]
pub struct CompletionQueue(Rc<Queue>);

#[derive(Default)]
struct Queue {
    answers: RefCell<Vec<Completed>>,
    waker: RefCell<Option<Waker>>,
    remote: RefCell<Vec<Option<Rc<dyn std::any::Any>>>>,
    dropped: Cell<bool>,
    ended: Cell<bool>,
}

impl CompletionQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves all answers behind those in `into`; pending while there are none. Ready without any
    /// once the queue has ended.
    pub fn poll_drain(&self, cx: &mut Context<'_>, into: &mut Vec<Completed>) -> Poll<()> {
        let mut answers = self.0.answers.borrow_mut();
        if answers.is_empty() {
            // Only this handle is left: nothing waits for an answer, and nothing will.
            if self.0.ended.get() && Rc::strong_count(&self.0) == 1 {
                return Poll::Ready(());
            }
            let mut waker = self.0.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        if into.is_empty() {
            std::mem::swap(&mut *answers, into);
        } else {
            into.append(&mut answers);
        }
        Poll::Ready(())
    }

    /// Says that nobody will read answers any more, so that none are kept.
    pub fn close(&self) {
        self.0.dropped.set(true);
        self.0.answers.borrow_mut().clear();
        self.0.remote.borrow_mut().clear();
    }

    /// The queue without keeping it alive.
    pub(crate) fn downgrade(&self) -> WeakQueue {
        WeakQueue(Rc::downgrade(&self.0))
    }

    /// Whether both are the same queue.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Says that no more appends follow. The reader is done when the last answer has come.
    pub(crate) fn end(&self) {
        self.0.ended.set(true);
        self.wake();
    }

    /// Adds an answer without waking the reader.
    pub(crate) fn push(&self, answer: Completed) {
        if !self.0.dropped.get() {
            self.0.answers.borrow_mut().push(answer);
        }
    }

    /// Wakes the reader, if it waits.
    pub(crate) fn wake(&self) {
        let waker = self.0.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What the shard keeps for this queue towards another shard, made on first use.
    pub(crate) fn remote<T: 'static>(&self, shard: usize, open: impl FnOnce() -> T) -> Rc<T> {
        let mut remote = self.0.remote.borrow_mut();
        if remote.len() <= shard {
            remote.resize_with(shard + 1, || None);
        }
        let known = remote[shard].get_or_insert_with(|| Rc::new(open()));
        let Ok(known) = Rc::clone(known).downcast::<T>() else {
            unreachable!("one type is kept here");
        };
        known
    }
}

impl fmt::Debug for CompletionQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompletionQueue")
            .field("answers", &self.0.answers.borrow().len())
            .finish_non_exhaustive()
    }
}

/// See [`CompletionQueue::downgrade`].
pub(crate) struct WeakQueue(Weak<Queue>);

impl WeakQueue {
    pub(crate) fn upgrade(&self) -> Option<CompletionQueue> {
        self.0.upgrade().map(CompletionQueue)
    }
}

/// Whom to tell, and when.
#[derive(Debug, Clone)]
pub struct Completion {
    /// Where the answer goes.
    pub queue: CompletionQueue,
    /// Given back with the answer.
    pub token: u64,
    /// What the answer waits for.
    pub when: AckWhen,
}

impl Completion {
    /// Answers.
    pub(crate) fn answer(self, outcome: Result<Appended, AppendError>) {
        self.queue.push(Completed { token: self.token, outcome });
        self.queue.wake();
    }
}
