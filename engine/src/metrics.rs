//! What a shard counts. Plain atomics: read by another thread, added to by one.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows, or a level that is set.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Its value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, more: u64) {
        // One thread writes, so a load and a store do; they cost no bus lock.
        self.0.store(self.get() + more, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, level: u64) {
        self.0.store(level, Ordering::Relaxed);
    }
}

/// One of the things that a level counts, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted {
    metrics: std::sync::Arc<ShardMetrics>,
    level: fn(&ShardMetrics) -> &Count,
}

impl Counted {
    pub(crate) fn new(
        metrics: &std::sync::Arc<ShardMetrics>,
        level: fn(&ShardMetrics) -> &Count,
    ) -> Self {
        level(metrics).add(1);
        Self { metrics: std::sync::Arc::clone(metrics), level }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let count = (self.level)(&self.metrics);
        count.set(count.get().saturating_sub(1));
    }
}

/// Counters of one shard since it started.
#[derive(Debug, Default)]
pub struct ShardMetrics {
    /// Batches made durable.
    pub appended_batches: Count,
    /// Records made durable.
    pub appended_records: Count,
    /// Bytes of batches made durable, headers included.
    pub appended_bytes: Count,
    /// Groups flushed.
    pub flushes: Count,
    /// Nanoseconds spent waiting for writes.
    pub write_nanoseconds: Count,
    /// Nanoseconds spent waiting for fdatasync.
    pub sync_nanoseconds: Count,
    /// Bytes that readers got from memory.
    pub cache_read_bytes: Count,
    /// Bytes that readers got from the disk.
    pub disk_read_bytes: Count,
    /// Bytes of buffers in use; a level.
    pub buffer_bytes: Count,
    /// Logs that are open; a level.
    pub open_partitions: Count,
    /// Segments removed by retention.
    pub retired_segments: Count,
    /// Partitions found damaged.
    pub quarantined_partitions: Count,
}
