//! What the logs of one shard share.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use forebay_format::{ClusterId, PartitionId};

use super::{FsyncPolicy, PartitionLog};
use crate::clock::Clock;
use crate::io::{BufferPool, free_bytes, is_full};
use crate::metrics::ShardMetrics;
use crate::runtime::Signal;
use crate::segment::{SegmentPath, Spare, SpareFiles};

/// Handed to every log of a shard.
#[derive(Debug)]
pub(crate) struct LogContext {
    /// The data directory.
    pub(crate) data: PathBuf,
    /// Whose data it is.
    pub(crate) cluster: ClusterId,
    /// When bytes are synced.
    pub(crate) fsync: FsyncPolicy,
    /// Distance of index entries in bytes.
    pub(crate) index_interval_bytes: u64,
    /// Free bytes that the disk keeps; below, appends that need more space are refused.
    pub(crate) disk_reserve_bytes: u64,
    /// Where time comes from.
    pub(crate) clock: Clock,
    /// The shard's buffers.
    pub(crate) pool: BufferPool,
    /// The budget for what readers keep between two runs. Who finds no room in it reads again.
    pub(crate) read_ahead: BufferPool,
    /// The shard's spare files.
    pub(crate) spares: SpareFiles,
    /// What the shard counts.
    pub(crate) metrics: Arc<ShardMetrics>,
    /// Set once the shard admits no more work.
    pub(crate) stopping: Cell<bool>,
    /// Why the process must end: a write or an fsync failed.
    pub(crate) fatal: RefCell<Option<String>>,
    /// Raised when `fatal` is set.
    pub(crate) fatal_raised: Signal,
    /// One entry for each cached buffer of any log, oldest first.
    pub(crate) cache_order: RefCell<VecDeque<Weak<PartitionLog>>>,
}

impl LogContext {
    /// The directory of a partition.
    pub(crate) fn path_of(&self, id: PartitionId) -> SegmentPath {
        let topic = self.data.join(id.topic.to_string());
        SegmentPath::new(topic.join(id.partition.to_string()))
    }

    /// Gives the memory of the oldest cached buffer back. Returns whether there was one.
    pub(crate) fn evict_oldest(&self) -> bool {
        loop {
            let Some(log) = self.cache_order.borrow_mut().pop_front() else { return false };
            if log.upgrade().is_some_and(|log| log.evict_oldest()) {
                return true;
            }
        }
    }

    /// Forgets the buffers of a log that is no longer open, so that no entry outlives its buffer.
    pub(crate) fn forget_cached(&self, log: &PartitionLog) {
        let mut order = self.cache_order.borrow_mut();
        order.retain(|entry| !std::ptr::eq(entry.as_ptr(), log));
    }

    /// Remembers `buffers` newly cached buffers of `log`, for eviction in order.
    pub(crate) fn cached(&self, log: &Rc<PartitionLog>, buffers: usize) {
        let weak = Rc::downgrade(log);
        self.cache_order.borrow_mut().extend(std::iter::repeat_n(weak, buffers));
        self.pool.wake_waiting();
    }

    /// When what is written now has to be synced at the latest.
    pub(crate) fn next_sync(&self) -> Instant {
        match self.fsync {
            FsyncPolicy::Batch => Clock::monotonic(),
            FsyncPolicy::Interval(interval) => Clock::monotonic() + interval,
        }
    }

    /// A file for a segment of `bytes`: a retired one of about that size if there is one. Others
    /// are given up before the disk counts as full.
    ///
    /// # Errors
    /// `StorageFull` when the disk would have less than its reserve.
    pub(crate) async fn take_spare(&self, bytes: u64) -> io::Result<Spare> {
        loop {
            let missing = self.spares.missing_bytes(bytes);
            if missing == 0 {
                return self.spares.take(bytes).await;
            }
            let Err(full) = self.check_disk_reserve(missing).await else {
                return self.spares.take(bytes).await;
            };
            if !is_full(&full) || !self.spares.give_up_one().await? {
                return Err(full);
            }
        }
    }

    /// Takes a segment's file out of its log, which nobody reads: kept for reuse, unless the disk
    /// is short of space. Its old name is gone, durably, on return.
    pub(crate) async fn retire(&self, log: PathBuf, file_bytes: u64) -> io::Result<()> {
        let keep = self.check_disk_reserve(0).await.is_ok();
        self.spares.retire(log, file_bytes, keep).await
    }

    /// Checks that the disk can give `bytes` more and keep its reserve.
    ///
    /// # Errors
    /// `StorageFull`, with the figures.
    pub(crate) async fn check_disk_reserve(&self, bytes: u64) -> io::Result<()> {
        let free = free_bytes(self.data.clone()).await?;
        let reserve = self.disk_reserve_bytes;
        if free >= bytes.saturating_add(reserve) {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!("{free} bytes are free, {bytes} are needed and {reserve} are kept in reserve"),
        ))
    }

    /// Ends the process's service: the disk did not keep what it was given.
    pub(crate) fn fail(&self, message: String) {
        tracing::error!(error = %message, "the disk failed; this node stops serving");
        self.fatal.borrow_mut().get_or_insert(message);
        self.fatal_raised.raise();
    }
}
