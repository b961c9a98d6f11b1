//! The one kind of lock in the client.

use std::sync::PoisonError;

/// A lock for data that several threads touch for less than a batch takes to copy, and never across
/// an await, which the closure makes impossible.
#[derive(Debug, Default)]
#[expect(
    clippy::disallowed_types,
    reason = "records are accepted on any thread, for less than a task switch costs"
)]
pub(crate) struct Lock<T>(std::sync::Mutex<T>);

impl<T> Lock<T> {
    #[expect(clippy::disallowed_types, reason = "see the type")]
    pub(crate) fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    #[inline]
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        // A panic within the lock was a bug in our own code; what it left is still what was accepted.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
