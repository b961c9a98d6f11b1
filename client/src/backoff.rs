//! How long to wait before trying again: growing, capped and jittered. Pure; the caller owns the
//! clock and the waiting.

use std::time::Duration;

/// The first wait. Long enough that a thousand clients do not stop a server from starting.
const FIRST: Duration = Duration::from_millis(100);
/// Waits never grow beyond this.
const LONGEST: Duration = Duration::from_secs(10);
/// Doublings until [`LONGEST`] is reached for sure.
const DOUBLINGS_MAX: u32 = 8;

/// The waits of one thing that is tried again and again.
///
/// Invariant: `failures` counts failures since the last success.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    failures: u32,
    noise: u64,
}

impl Backoff {
    /// `seed` spreads the waits of different users of this type; any value will do.
    pub(crate) fn new(seed: u64) -> Self {
        // xorshift stays at zero for ever when it starts there.
        Self { failures: 0, noise: seed | 1 }
    }

    /// How long to wait after one more failure: between half and the whole of
    /// 100 ms · 2^failures, at most 10 s.
    pub(crate) fn next(&mut self) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.failures.min(DOUBLINGS_MAX)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let half = whole / 2;
        let spread = u64::try_from(half.as_nanos()).expect("five seconds in nanoseconds fit u64");
        half + Duration::from_nanos(self.random() % (spread + 1))
    }

    /// It worked: the next failure starts from the shortest wait.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    fn random(&mut self) -> u64 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        self.noise
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_cap_and_never_fall_below_half() {
        let mut backoff = Backoff::new(7);
        for failure in 0..40_u32 {
            let whole = FIRST.saturating_mul(1 << failure.min(DOUBLINGS_MAX)).min(LONGEST);
            let wait = backoff.next();
            assert!(wait >= whole / 2 && wait <= whole, "{failure}: {wait:?} of {whole:?}");
        }
    }

    #[test]
    fn success_starts_over() {
        let mut backoff = Backoff::new(0);
        for _ in 0..10 {
            backoff.next();
        }
        backoff.succeeded();
        assert!(backoff.next() <= FIRST);
    }

    #[test]
    fn different_seeds_do_not_wait_in_step() {
        assert_ne!(Backoff::new(2).next(), Backoff::new(90).next());
    }
}
