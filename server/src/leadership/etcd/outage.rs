//! Whether etcd can be reached: how long to wait before it is tried again, and what people are told. Said
//! once when an outage begins, and once when it is over.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use forebay_replication::health::{NodeHealth, reconnect_delay_ms};

use super::error::EtcdError;

/// One for all requests, so that a thousand that fail together are one outage.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// Members that failed one after the other since the last answer.
    failed: AtomicU32,
    told: AtomicBool,
}

impl Outage {
    /// A member has failed; there are so many.
    pub(super) fn failed(&self, error: &EtcdError, members: usize) {
        let failed = self.failed.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let all_tried = usize::try_from(failed).is_ok_and(|failed| failed >= members);
        if all_tried && !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "etcd cannot be reached; it is tried on and on");
        } else {
            tracing::debug!(%error, failed, "a member of etcd has failed");
        }
    }

    /// A member has answered.
    pub(super) fn answered(&self) {
        self.failed.store(0, Ordering::Relaxed);
        if self.told.swap(false, Ordering::Relaxed) {
            tracing::info!("etcd is reached again");
        }
    }

    /// How long to wait before the next try: not at all before each member was tried, then from 100 ms
    /// up to 10 s.
    pub(super) fn delay(&self, members: usize) -> Duration {
        let failed = self.failed.load(Ordering::Relaxed);
        let rounds = failed / u32::try_from(members).unwrap_or(u32::MAX).max(1);
        match rounds.checked_sub(1) {
            None => Duration::ZERO,
            Some(rounds) => wait(rounds),
        }
    }
}

/// How long to wait after so many failures before this one.
pub(super) fn wait(failures: u32) -> Duration {
    let mut noise = [0; 2];
    // Without randomness, nodes come back in step; nothing worse.
    getrandom::fill(&mut noise).ok();
    let jitter = u16::from_le_bytes(noise);
    Duration::from_millis(reconnect_delay_ms(failures, NodeHealth::Healthy, jitter))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error() -> EtcdError {
        EtcdError::Timeout { endpoint: "http://a:1".into(), timeout_ms: 1 }
    }

    #[test]
    fn next_member_is_tried_at_once_and_the_next_round_waits_longer_each_time() {
        let outage = Outage::default();
        outage.failed(&error(), 2);
        assert_eq!(outage.delay(2), Duration::ZERO);
        for _ in 0..40 {
            outage.failed(&error(), 2);
            let delay = outage.delay(2);
            assert!((100..=10_000).contains(&delay.as_millis()), "{delay:?}");
        }
        assert!(outage.delay(2) >= Duration::from_secs(5));
        outage.answered();
        assert_eq!(outage.delay(2), Duration::ZERO);
    }
}
