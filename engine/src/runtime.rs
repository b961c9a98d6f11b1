//! What the engine needs of its executor besides files: tasks, timers, and a wake-up between tasks
//! of one core. The only place besides `io` that names glommio.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Starts a task on this executor that runs to its end by itself. It is polled once before this
/// returns, so nothing that it borrows may be borrowed here.
pub(crate) fn spawn(task: impl Future<Output = ()> + 'static) {
    glommio::spawn_local(task).detach();
}

/// A task whose result is waited for.
pub(crate) type Task<T> = glommio::Task<T>;

/// Starts a task whose result is waited for. Dropping the handle cancels the task.
pub(crate) fn start<T: 'static>(task: impl Future<Output = T> + 'static) -> Task<T> {
    glommio::spawn_local(task)
}

/// Starts a task that runs to its end by itself, and waits for its result. Dropping the wait leaves the
/// task alone.
pub(crate) fn run_to_end<T: 'static>(
    task: impl Future<Output = T> + 'static,
) -> impl Future<Output = T> + 'static {
    let handle = glommio::spawn_local(task).detach();
    async move { handle.await.expect("a detached task is not cancelled") }
}

/// Waits. Dropping the future ends the wait.
pub(crate) async fn sleep(duration: Duration) {
    glommio::timer::sleep(duration).await;
}

/// Lets other tasks run when this one has used up its share.
pub(crate) async fn yield_if_needed() {
    glommio::yield_if_needed().await;
}

/// "Something changed", said by one task of a core and heard by others of the same core.
///
/// Each raise moves a version on, so a task that looks at the version, then at the state, and then
/// waits for a later version cannot miss a change in between.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    version: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Signal {
    /// The version to wait beyond. Take it before looking at the state.
    pub(crate) fn version(&self) -> u64 {
        self.version.get()
    }

    /// Wakes all who wait.
    pub(crate) fn raise(&self) {
        self.version.set(self.version.get() + 1);
        if !self.waiting.borrow().is_empty() {
            for waker in self.waiting.take() {
                waker.wake();
            }
        }
    }

    /// Returns once the version is beyond `seen`.
    pub(crate) async fn beyond(&self, seen: u64) {
        std::future::poll_fn(|cx| {
            if self.version.get() > seen {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// Lets one task of a core at a time do something that takes long.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    taken: Cell<bool>,
    given_back: Signal,
}

/// The turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct TurnTaken<'a>(&'a Turn);

impl Turn {
    /// Waits for the turn.
    pub(crate) async fn take(&self) -> TurnTaken<'_> {
        loop {
            let seen = self.given_back.version();
            if !self.taken.replace(true) {
                return TurnTaken(self);
            }
            self.given_back.beyond(seen).await;
        }
    }
}

impl Drop for TurnTaken<'_> {
    fn drop(&mut self) {
        self.0.taken.set(false);
        self.0.given_back.raise();
    }
}

/// Runs a future on an executor of its own.
#[cfg(test)]
pub(crate) fn on_executor<T>(future: impl Future<Output = T>) -> T {
    use glommio::{LocalExecutorBuilder, Placement};
    let executor = LocalExecutorBuilder::new(Placement::Unbound).make();
    executor.expect("an executor can be made").run(future)
}
