//! What the services of a shard count.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one shard's services. Written by the shard, read by the control thread.
#[derive(Debug, Default)]
pub(crate) struct ServerMetrics {
    pub(crate) produce_streams: AtomicU64,
    pub(crate) consume_streams: AtomicU64,
    /// Batches that were refused or whose outcome is unknown.
    pub(crate) produce_errors: AtomicU64,
    /// Bytes of batches that consumers were sent.
    pub(crate) consumed_bytes: AtomicU64,
}

/// Adds to a counter that only this thread writes.
pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}
