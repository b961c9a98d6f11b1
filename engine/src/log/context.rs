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
use crate::io::{BufferPool, free_bytes};
use crate::metrics::ShardMetrics;
use crate::runtime::Signal;
use crate::segment::{SegmentPath, SpareFiles};

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
            if let Some(log) = log.upgrade() {
                log.evict_oldest();
                return true;
            }
        }
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
