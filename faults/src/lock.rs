//! The one kind of lock in the rig.

use std::sync::PoisonError;

/// A lock for what many clients write down, each for a moment, and never across an await, which the closure
/// makes impossible. The order in which it is taken is the order of a history.
#[derive(Debug, Default)]
#[expect(
    clippy::disallowed_types,
    reason = "callbacks that must not wait write a history, and nothing else here is shared"
)]
pub(crate) struct Lock<T>(std::sync::Mutex<T>);

impl<T> Lock<T> {
    #[expect(clippy::disallowed_types, reason = "see the type")]
    pub(crate) fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        // A panic within the lock was a bug in our own code; what was written before it still happened.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
