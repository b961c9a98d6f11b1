//! Work of which there is never more than one at a time, and for which several may wait.
//!
//! The work runs in a task of its own and those who asked wait, because any of them may go away at
//! any moment: a request is cancelled, a stream is not polled for want of credit. Who waits
//! remembers the number of the attempt, and learns from it whether that one, or a later one,
//! failed.

use std::cell::{Cell, RefCell};

use super::ReserveError;

/// The attempts at one kind of work.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    latest: Cell<u64>,
    /// The last attempt that failed, and why.
    failure: RefCell<Option<(u64, ReserveError)>>,
}

/// One attempt, or none that anybody waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Attempt(Option<u64>);

impl Attempts {
    /// Begins the next attempt.
    pub(super) fn begin(&self) -> Attempt {
        self.latest.set(self.latest.get() + 1);
        self.latest()
    }

    /// The attempt that is under way, for somebody who sees that one is.
    pub(super) fn latest(&self) -> Attempt {
        Attempt(Some(self.latest.get()))
    }

    /// Ends the attempt that is under way.
    pub(super) fn end(&self, outcome: Result<(), ReserveError>) {
        if let Err(error) = outcome {
            self.failure.replace(Some((self.latest.get(), error)));
        }
    }

    /// Why the attempt that was waited for failed, or a later one.
    pub(super) fn failure_of(&self, waited_for: Attempt) -> Option<ReserveError> {
        let waited_for = waited_for.0?;
        let failure = self.failure.borrow();
        failure.as_ref().filter(|(failed, _)| *failed >= waited_for).map(|(_, why)| why.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_hears_of_the_failure_of_that_attempt_or_a_later_one_and_of_none_before() {
        let attempts = Attempts::default();
        let first = attempts.begin();
        attempts.end(Err(ReserveError::Unknown));
        assert_eq!(attempts.failure_of(first), Some(ReserveError::Unknown));
        assert_eq!(attempts.failure_of(Attempt::default()), None);
        let second = attempts.begin();
        assert_eq!(attempts.failure_of(second), None);
        attempts.end(Ok(()));
        assert_eq!(attempts.failure_of(second), None);
        attempts.begin();
        attempts.end(Err(ReserveError::Stopping));
        assert_eq!(attempts.failure_of(second), Some(ReserveError::Stopping));
    }
}
