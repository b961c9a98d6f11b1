//! One partition's log: its states, and the marks that everything else hangs on.
//!
//! ```text
//!            first use                     idle, or the shard stops
//!  Closed ───────────────▶ Opening ─▶ Open ─────────────────────────▶ Closing ─▶ Closed
//!                             │        │ write or fsync failed
//!                   damaged   ▼        ▼
//!                           Failed ◀───┘            any ─ topic deleted ─▶ Removed
//! ```
//!
//! A closed log holds no descriptor, mapping or buffer; ten thousand of them cost their entries.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::time::Instant;

use forebay_format::{
    CleanEntry, Epoch, EpochTable, FilePosition, Offset, PartitionId, PartitionMeta, ProducerTable,
    SegmentIdentity, TimestampMs,
};

use super::acks::WaitingAcks;
use super::attempts::{Attempt, Attempts};
use super::cache::TailCache;
use super::tail::{GroupBuffer, TailBuffers};
use super::{LogContext, LogSettings, ReserveError};
use crate::clock::Clock;
use crate::io::{MemoryReservation, is_lost};
use crate::metrics::Counted;
use crate::runtime::{Signal, spawn};
use crate::segment::{ActiveSegment, Chain, SealedSegment, SegmentPath, SegmentsInUse, Spare};

/// What can be read of a partition, and what it takes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionStatus {
    /// First offset that can be read.
    pub earliest: Offset,
    /// Exclusive end of what can be read: the committed watermark.
    pub committed: Offset,
    /// Bytes of log on disk, headers included.
    pub size_bytes: u64,
    /// Segments, the active one included.
    pub segments: u64,
}

/// The log of one partition. Always in an `Rc`: its tasks hold it.
pub(crate) struct PartitionLog {
    pub(super) id: PartitionId,
    pub(super) path: SegmentPath,
    pub(super) context: Rc<LogContext>,
    pub(super) settings: RefCell<LogSettings>,
    /// The epoch that this node leads the partition in.
    pub(super) epoch: Cell<Epoch>,
    pub(super) state: RefCell<State>,
    /// Set when the topic was deleted: nothing new is admitted.
    pub(super) removing: Cell<bool>,
    /// When housekeeping last looked in while it was closed.
    pub(super) visited: Cell<Option<Instant>>,
    /// Append time of the last batch of the oldest segment, as the last close knew it.
    pub(super) oldest_append: Cell<Option<TimestampMs>>,
    /// Raised when the state, a mark or the room for appends has changed.
    pub(super) progress: Signal,
    /// Raised when there is something new to flush.
    pub(super) work: Signal,
    /// Opening it, while the state says so.
    pub(super) opening: Attempts,
    /// Which of its files are read.
    pub(super) in_use: SegmentsInUse,
    /// Getting it disk space, while `running.make_room` says so.
    pub(super) making_room: Attempts,
}

/// See the diagram of the module.
pub(super) enum State {
    /// Nothing in memory but what a clean close left to trust.
    Closed(Option<CleanEntry>),
    /// A task is opening it.
    Opening,
    /// In service.
    Open(Box<OpenLog>),
    /// A task is closing it.
    Closing,
    /// Out of service until an operator, or a restart, changes the cause.
    Failed(ReserveError),
    /// Its topic was deleted.
    Removed,
}

/// A log in service.
///
/// Invariant: `meta.log_start ≤ durable ≤ chain.next_offset`. On a single node, what is durable is
/// committed.
pub(super) struct OpenLog {
    pub(super) identity: SegmentIdentity,
    pub(super) meta: PartitionMeta,
    /// Whether directory, meta and first segment exist; they are made for the first append.
    pub(super) on_disk: bool,
    /// Sealed segments, oldest first, without gaps up to the oldest one in `rolled` or `active`.
    pub(super) sealed: VecDeque<Rc<SealedSegment>>,
    /// Full segments with bytes that no flush has taken yet.
    pub(super) rolled: VecDeque<Rolled>,
    pub(super) active: Rc<ActiveSegment>,
    pub(super) tail: TailBuffers,
    /// The appended end: what the next batch continues.
    pub(super) chain: Chain,
    /// Whether this epoch's control batch is in the log.
    pub(super) epoch_started: bool,
    /// Exclusive end of what is on stable storage.
    pub(super) durable: Offset,
    /// The same as a place: the segment and the position in it.
    pub(super) readable: ReadableEnd,
    /// Position in the active segment that is known to be synced.
    pub(super) synced: FilePosition,
    pub(super) epochs: EpochTable,
    pub(super) producers: ProducerTable,
    pub(super) written_acks: WaitingAcks,
    pub(super) durable_acks: WaitingAcks,
    pub(super) cache: TailCache,
    /// The file for the next segment.
    pub(super) spare: Option<Spare>,
    pub(super) index_interval_bytes: u64,
    /// Whether batches are appended that the active segment's index has no room for.
    pub(super) index_full: bool,
    /// The clean entry that this was opened by. As long as nothing changes it is good once more.
    pub(super) resumed: Option<CleanEntry>,
    /// Bytes of reservations that were not appended yet.
    pub(super) reserved_bytes: u64,
    pub(super) running: Running,
    /// Batches and records since the last flush, for the counters.
    pub(super) unflushed: Unflushed,
    pub(super) last_used: Instant,
    pub(super) _counted: Counted,
}

/// Which tasks of a log are running; never two of one kind.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Running {
    /// The flush.
    pub(super) flush: bool,
    /// One that gets disk space.
    pub(super) make_room: bool,
    /// One that removes expired segments.
    pub(super) retention: bool,
}

/// Up to where readers may go.
#[derive(Debug, Clone)]
pub(super) struct ReadableEnd {
    pub(super) segment: Rc<ActiveSegment>,
    pub(super) position: FilePosition,
}

/// A segment that is full in memory.
pub(super) struct Rolled {
    pub(super) segment: Rc<ActiveSegment>,
    pub(super) group: Vec<GroupBuffer>,
    /// Exclusive end of its last batch.
    pub(super) end: FilePosition,
    /// What the next segment continues.
    pub(super) chain: Chain,
}

/// Counts for the metrics, handed over once per flush.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unflushed {
    pub(super) batches: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// Room for one append in memory and on disk, given back on drop.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub(super) log: Rc<PartitionLog>,
    pub(super) bytes: u64,
    pub(super) _memory: MemoryReservation,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.log.if_open(|open| open.reserved_bytes -= self.bytes);
            self.log.progress.raise();
        }
    }
}

impl PartitionLog {
    /// A log that nobody has opened.
    pub(crate) fn new(
        id: PartitionId,
        context: Rc<LogContext>,
        settings: LogSettings,
        epoch: Epoch,
        clean: Option<CleanEntry>,
    ) -> Rc<Self> {
        Rc::new(Self {
            id,
            path: context.path_of(id),
            context,
            settings: RefCell::new(settings),
            epoch: Cell::new(epoch),
            state: RefCell::new(State::Closed(clean)),
            removing: Cell::new(false),
            visited: Cell::new(None),
            oldest_append: Cell::new(None),
            progress: Signal::default(),
            work: Signal::default(),
            opening: Attempts::default(),
            making_room: Attempts::default(),
            in_use: SegmentsInUse::default(),
        })
    }

    /// Replaces the settings; they hold from the next append on.
    pub(crate) fn set_settings(&self, settings: LogSettings) {
        *self.settings.borrow_mut() = settings;
    }

    /// Runs `f` on the open log, or says why it is not open.
    pub(super) fn with_open<T>(&self, f: impl FnOnce(&mut OpenLog) -> T) -> Result<T, NotOpen> {
        match &mut *self.state.borrow_mut() {
            State::Open(open) => Ok(f(open)),
            State::Closed(_) => Err(NotOpen::Closed),
            State::Opening | State::Closing => Err(NotOpen::Busy),
            State::Failed(error) => Err(NotOpen::Never(error.clone())),
            State::Removed => Err(NotOpen::Never(ReserveError::Unknown)),
        }
    }

    /// Runs `f` on the log if it is open; otherwise there is nothing to do.
    pub(super) fn if_open(&self, f: impl FnOnce(&mut OpenLog)) {
        self.with_open(f).ok();
    }

    /// Has the log opened if it is closed, and waits for that. May be dropped: the opening goes
    /// on.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub(crate) async fn ensure_open(self: &Rc<Self>) -> Result<(), ReserveError> {
        let mut waited_for = Attempt::default();
        loop {
            let seen = self.progress.version();
            match self.with_open(|open| open.last_used = Clock::monotonic()) {
                Ok(()) => return Ok(()),
                Err(NotOpen::Never(error)) => return Err(error),
                Err(NotOpen::Busy) => waited_for = self.opening.latest(),
                Err(NotOpen::Closed) => {
                    if self.context.stopping.get() {
                        return Err(ReserveError::Stopping);
                    }
                    if let Some(error) = self.opening.failure_of(waited_for) {
                        return Err(error);
                    }
                    waited_for = self.start_opening();
                }
            }
            self.progress.beyond(seen).await;
        }
    }

    /// What can be read, and what it takes up. May be dropped.
    ///
    /// # Errors
    /// Why the log cannot be opened.
    pub(crate) async fn status(self: &Rc<Self>) -> Result<PartitionStatus, ReserveError> {
        loop {
            self.ensure_open().await?;
            if let Ok(status) = self.with_open(|open| open.status()) {
                return Ok(status);
            }
        }
    }

    /// Lets those who wait for something see that the shard stops.
    pub(crate) fn wake_readers(&self) {
        self.progress.raise();
    }

    /// Log start and end of a log that is closed, as its close left them.
    pub(super) fn closed_marks(&self) -> Option<(Offset, Offset)> {
        match &*self.state.borrow() {
            State::Closed(Some(entry)) => Some((entry.log_start, entry.end_offset)),
            _ => None,
        }
    }

    /// Gives the memory of its oldest cached buffer back. Returns whether there was one.
    pub(super) fn evict_oldest(&self) -> bool {
        matches!(self.with_open(|open| open.cache.evict_oldest()), Ok(true))
    }

    /// Takes the log out of service for good, and ends the process's service.
    pub(super) fn poison(&self, what: &std::io::Error) {
        if matches!(&*self.state.borrow(), State::Removed) {
            // Its files were taken away under the write, on purpose.
            return;
        }
        let message = format!("{}: {what}", self.path.directory().display());
        self.end_service(ReserveError::Unavailable { message: message.clone() });
        self.context.fail(message);
    }

    /// As [`PartitionLog::poison`], if the error says that writes were lost; others are left to
    /// the caller.
    pub(super) fn poison_if_lost(&self, error: &std::io::Error) {
        if is_lost(error) {
            self.poison(error);
        }
    }

    /// Takes a damaged log out of service. Nothing on disk is changed.
    pub(super) fn quarantine(&self, error: ReserveError) {
        tracing::error!(partition = %self.id, %error, "the partition is out of service");
        if self.end_service(error) {
            self.context.metrics.quarantined_partitions.add(1);
        }
    }

    /// Answers and lets go of everything. `false` when damage has ended the service already: that
    /// cause is kept.
    fn end_service(&self, error: ReserveError) -> bool {
        if matches!(&*self.state.borrow(), State::Failed(ReserveError::Corrupt(_)) | State::Removed)
        {
            return false;
        }
        let before = self.state.replace(State::Failed(error));
        if let State::Open(mut open) = before {
            open.written_acks.fail_all();
            open.durable_acks.fail_all();
            self.let_go(&mut open);
        }
        self.progress.raise();
        true
    }

    /// Gives back what an open log holds of what the shard's logs share.
    pub(super) fn let_go(&self, open: &mut OpenLog) {
        if !open.cache.is_empty() {
            self.context.forget_cached(self);
        }
        if let Some(spare) = open.spare.take() {
            let context = Rc::clone(&self.context);
            spawn(async move {
                if let Err(error) = context.spares.put_back(spare).await {
                    tracing::warn!(%error, "an unused spare file could not be removed");
                }
            });
        }
    }
}

/// Why [`PartitionLog::with_open`] found no open log.
#[derive(Debug)]
pub(super) enum NotOpen {
    Closed,
    Busy,
    Never(ReserveError),
}

impl OpenLog {
    pub(super) fn status(&self) -> PartitionStatus {
        let sealed: u64 = self.sealed.iter().map(|segment| segment.file_bytes).sum();
        let rolled: u64 = self.rolled.iter().map(|rolled| rolled.end.get()).sum();
        let active = if self.on_disk { self.tail.end() } else { 0 };
        PartitionStatus {
            earliest: self.meta.log_start,
            committed: self.durable,
            size_bytes: sealed + rolled + active,
            segments: self.sealed.len() as u64 + self.rolled.len() as u64 + u64::from(self.on_disk),
        }
    }

    /// Moves the durable mark and the readable end.
    pub(super) fn set_durable(&mut self, upto: Offset, readable: ReadableEnd) {
        assert!(self.durable <= upto, "the durable mark never goes back");
        assert!(upto <= self.chain.next_offset, "what is durable was appended");
        self.durable = upto;
        self.readable = readable;
    }

    /// Whether nothing is in flight: no flush, no reservation, no answer that waits.
    pub(super) fn is_quiet(&self) -> bool {
        !(self.running.flush || self.running.make_room || self.running.retention)
            && self.reserved_bytes == 0
            && !self.tail.is_dirty()
            && self.rolled.is_empty()
            && self.written_acks.is_empty()
            && self.durable_acks.is_empty()
            && self.sealed.iter().all(|segment| segment.is_finished())
    }
}

impl fmt::Debug for PartitionLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionLog").field("id", &self.id).finish_non_exhaustive()
    }
}
