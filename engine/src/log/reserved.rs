//! Room for one append, from when it was found until the batch is in the log.

use std::rc::Rc;

use super::partition::PartitionLog;
use crate::io::MemoryReservation;

/// Room for one append in memory and on disk, given back on drop.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub(super) log: Rc<PartitionLog>,
    pub(super) bytes: u64,
    /// Which life of the log it is of: there is nothing to give back to another.
    pub(super) life: u64,
    pub(super) _memory: MemoryReservation,
}

impl Reserved {
    /// Whether the log that had the room is no more.
    pub(super) fn is_stale(&self) -> bool {
        self.life != self.log.rewritten.get()
    }

    /// The space was accounted for; only the memory is left to give back.
    pub(super) fn forget_space(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.bytes > 0 {
            if !self.is_stale() {
                self.log.if_open(|open| open.reserved_bytes -= self.bytes);
            }
            self.log.progress.raise();
        }
    }
}
