//! What the replicas of a shard count. Written by the shard, read by the control thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of commit latency, in microseconds. One more holds the rest.
pub(crate) const LATENCY_BOUNDS_US: [u64; 16] = [
    100, 200, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 3_000_000, 10_000_000,
];

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ReplicationMetrics {
    /// Elections that a replica of this shard began.
    pub(crate) elections: AtomicU64,
    /// Those of them that an operator ordered.
    pub(crate) unclean_elections: AtomicU64,
    /// Epochs in which a replica of this shard came to serve.
    pub(crate) elections_won: AtomicU64,
    /// Leaderships that were handed over as planned.
    pub(crate) transfers: AtomicU64,
    /// Changes of the in-sync sets of partitions that this shard leads.
    pub(crate) in_sync_changes: AtomicU64,
    /// Messages that met a fault on purpose.
    pub(crate) faults: AtomicU64,
    /// Streams to other nodes that broke.
    pub(crate) links_lost: AtomicU64,
    /// From the proposal of a batch to its answer, where that waited for a quorum at least.
    pub(crate) commit: Latencies,
}

/// How often a latency fell into which bucket, and their sum.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    buckets: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// The same at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LatencyCounts {
    /// By bucket, not summed up.
    pub(crate) buckets: [u64; LATENCY_BOUNDS_US.len() + 1],
    pub(crate) sum_us: u64,
}

impl Latencies {
    pub(crate) fn observe(&self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < us);
        add(&self.buckets[bucket], 1);
        add(&self.sum_us, us);
    }

    pub(crate) fn counts(&self) -> LatencyCounts {
        LatencyCounts {
            buckets: std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed)),
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }
}

/// Adds to a counter that only this thread writes.
pub(super) fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_falls_into_the_first_bucket_that_holds_it() {
        let latencies = Latencies::default();
        for us in [0, 100, 101, 10_000_000, 10_000_001] {
            latencies.observe(Duration::from_micros(us));
        }
        let LatencyCounts { buckets, sum_us } = latencies.counts();
        assert_eq!((buckets[0], buckets[1], buckets[15], buckets[16]), (2, 1, 1, 1));
        assert_eq!(sum_us, 20_000_202);
    }
}
