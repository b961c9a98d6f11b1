//! How the answer to an append travels back: a queue for each stream of appends.
//!
//! The flush of one partition answers hundreds of batches at once, so answers are collected and
//! the stream is woken once for all of them.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use forebay_format::{Epoch, Offset, TimestampMs};
use smallvec::SmallVec;

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
    /// On how many replicas it is known to be on stable storage.
    pub durable_replicas: u32,
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
    /// Whether an answer was added since the reader was woken.
    unheard: Cell<bool>,
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

    /// Says that no more appends follow. The reader is done when the last answer has come.
    pub(crate) fn end(&self) {
        self.0.ended.set(true);
        self.wake();
    }

    /// Adds an answer without waking the reader. Returns whether it is the first since it was woken.
    pub(crate) fn push(&self, answer: Completed) -> bool {
        if !self.0.dropped.get() {
            self.0.answers.borrow_mut().push(answer);
        }
        !self.0.unheard.replace(true)
    }

    /// Adds answers to their queues, and then wakes the reader of each queue once.
    pub(crate) fn answer_all(answers: impl IntoIterator<Item = (Self, Completed)>) {
        let mut unheard: SmallVec<[Self; 8]> = SmallVec::new();
        for (queue, answer) in answers {
            if queue.push(answer) {
                unheard.push(queue);
            }
        }
        for queue in unheard {
            queue.wake();
        }
    }

    /// Wakes the reader, if it waits.
    pub(crate) fn wake(&self) {
        self.0.unheard.set(false);
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
    /// Answers, and wakes the reader of the queue.
    pub fn answer(self, outcome: Result<Appended, AppendError>) {
        self.queue.push(Completed { token: self.token, outcome });
        self.queue.wake();
    }

    /// Answers many. The reader of each queue is woken once, when all are there.
    pub fn answer_all(answers: impl IntoIterator<Item = (Self, Result<Appended, AppendError>)>) {
        CompletionQueue::answer_all(answers.into_iter().map(|(done, outcome)| {
            let Self { queue, token, .. } = done;
            (queue, Completed { token, outcome })
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn many_answers_wake_each_queue_once_and_the_next_ones_again() {
        let queues = [CompletionQueue::new(), CompletionQueue::new()];
        let counts = [Arc::new(Wakes::default()), Arc::new(Wakes::default())];
        for round in 1..3 {
            let mut answers = Vec::new();
            for (queue, count) in queues.iter().zip(&counts) {
                let waker = Waker::from(Arc::clone(count));
                let polled = queue.poll_drain(&mut Context::from_waker(&waker), &mut answers);
                assert!(polled.is_pending());
            }
            Completion::answer_all((0..6).map(|token| {
                let queue = queues[usize::from(token % 3 == 0)].clone();
                let done = Completion { queue, token, when: AckWhen::Durable };
                (done, Err(AppendError::Indeterminate))
            }));
            for (queue, count) in queues.iter().zip([4, 2]) {
                let mut context = Context::from_waker(Waker::noop());
                assert!(queue.poll_drain(&mut context, &mut answers).is_ready());
                assert_eq!(answers.drain(..).count(), count);
            }
            for count in &counts {
                assert_eq!(count.0.load(Ordering::Relaxed), round);
            }
        }
    }
}
