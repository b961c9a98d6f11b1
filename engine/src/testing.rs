//! What the engine's own tests share.

use std::future::Future;

use glommio::{LocalExecutorBuilder, Placement};

/// Runs a future on an executor of its own.
pub(crate) fn on_executor<T>(future: impl Future<Output = T>) -> T {
    LocalExecutorBuilder::new(Placement::Unbound)
        .make()
        .expect("an executor can be made")
        .run(future)
}
