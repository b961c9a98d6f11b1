//! Work that blocks, on the executor's own threads for it, and when none is under way.
//!
//! Those threads panic when they have an answer for an executor that is gone. So what was begun runs to its end whoever
//! waits for it, and a shard that stops waits for all of it.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use crate::runtime::{Signal, run_to_end};

/// What is under way on one executor.
#[derive(Default)]
struct UnderWay {
    count: Cell<usize>,
    ended: Signal,
}

thread_local! {
    // An executor is a thread's only one.
    static UNDER_WAY: Rc<UnderWay> = Rc::default();
}

/// Counts one piece of work for as long as it lives. Also when the work panics: a shard that stops must not wait
/// for it for ever.
struct Counted(Rc<UnderWay>);

impl Counted {
    fn begin() -> Self {
        let under_way = UNDER_WAY.with(Rc::clone);
        under_way.count.update(|count| count + 1);
        Self(under_way)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count.update(|count| count - 1);
        self.0.ended.raise();
    }
}

/// Does this on another thread. Dropping the future leaves it alone.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let counted = Counted::begin();
    run_to_end(async move {
        let done = glommio::executor().spawn_blocking(work).await;
        drop(counted);
        done
    })
    .await
}

/// Waits until nothing is under way on this executor.
pub(crate) async fn nothing_blocks() {
    let under_way = UNDER_WAY.with(Rc::clone);
    loop {
        let seen = under_way.ended.version();
        if under_way.count.get() == 0 {
            return;
        }
        under_way.ended.beyond(seen).await;
    }
}
