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

/// Does this on another thread. Dropping the future leaves it alone.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let under_way = UNDER_WAY.with(Rc::clone);
    under_way.count.update(|count| count + 1);
    run_to_end(async move {
        let done = glommio::executor().spawn_blocking(work).await;
        under_way.count.update(|count| count - 1);
        under_way.ended.raise();
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
