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
    CleanEntry, FilePosition, LogState, Offset, PartitionId, PartitionMeta, Position,
    SegmentIdentity, TimestampMs,
};

use super::acks::WaitingAcks;
use super::attempts::{Attempt, Attempts};
use super::cache::TailCache;
use super::committed::CommittedMark;
use super::line::Line;
use super::meta_writer::MetaWriter;
use super::sequencer::Decider;
use super::tail::{GroupBuffer, TailBuffers};
use super::{LogContext, LogSettings, ReserveError};
use crate::clock::Clock;
use crate::metrics::Counted;
use crate::runtime::Signal;
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
    /// Who decides what is appended.
    pub(super) decider: Decider,
    /// What the sequencer has said is committed; kept while the log is cut or begun anew.
    pub(super) committed: Cell<Option<Offset>>,
    /// How often the log was cut, begun anew or put aside: places in it are looked up again then.
    pub(super) rewritten: Cell<u64>,
    /// Base offset and end of the segment that was active when the log was closed to be cut.
    pub(super) written_end: Cell<Option<(Offset, FilePosition)>>,
    /// Tasks that may change the open log when they have waited for the disk.
    pub(super) tasks: Cell<usize>,
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
    /// Whether the tail ends with a batch that the sequencer is being asked about.
    pub(super) proposing: Cell<bool>,
    /// Stamped batches on their way into the log.
    pub(super) line: Line,
    /// What the sequencer has the replica remember.
    pub(super) meta_writer: MetaWriter,
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
/// Invariant: `committed ≤ durable ≤ state.position()`. Without a sequencer, what is durable is
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
    /// What all that was appended adds up to; its log start is kept in `meta`.
    pub(super) state: LogState,
    /// End of what is on stable storage.
    pub(super) durable: Position,
    /// Where there is a sequencer: what it says is committed.
    pub(super) committed: Option<CommittedMark>,
    /// The same as a place: the segment and the position in it.
    pub(super) readable: ReadableEnd,
    /// Position in the active segment that is known to be synced.
    pub(super) synced: FilePosition,
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
    /// Whether it is about to be cut or begun anew, once it is quiet: nothing more is admitted.
    pub(super) rewriting: bool,
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

/// See [`PartitionLog::begin_task`].
pub(super) struct LogTask(Rc<PartitionLog>);

impl Drop for LogTask {
    fn drop(&mut self) {
        self.0.tasks.set(self.0.tasks.get() - 1);
        if !self.0.is_open() {
            self.0.progress.raise();
        }
    }
}

impl PartitionLog {
    /// A log that nobody has opened.
    pub(crate) fn new(
        id: PartitionId,
        context: Rc<LogContext>,
        settings: LogSettings,
        decider: Decider,
        clean: Option<CleanEntry>,
    ) -> Rc<Self> {
        Rc::new(Self {
            id,
            path: context.path_of(id),
            context,
            settings: RefCell::new(settings),
            decider,
            committed: Cell::new(None),
            rewritten: Cell::new(0),
            written_end: Cell::new(None),
            tasks: Cell::new(0),
            state: RefCell::new(State::Closed(clean)),
            removing: Cell::new(false),
            visited: Cell::new(None),
            oldest_append: Cell::new(None),
            progress: Signal::default(),
            work: Signal::default(),
            opening: Attempts::default(),
            making_room: Attempts::default(),
            in_use: SegmentsInUse::default(),
            proposing: Cell::new(false),
            line: Line::default(),
            meta_writer: MetaWriter::default(),
        })
    }

    /// Whether a sequencer decides about it.
    pub(crate) fn is_replica(&self) -> bool {
        self.decider.is_replica()
    }

    /// Replaces the settings; they hold from the next append on.
    pub(crate) fn set_settings(&self, settings: LogSettings) {
        *self.settings.borrow_mut() = settings;
    }

    /// Says, for as long as the result lives, that a task may change the open log.
    pub(super) fn begin_task(self: &Rc<Self>) -> LogTask {
        self.tasks.set(self.tasks.get() + 1);
        LogTask(Rc::clone(self))
    }

    /// Whether the log is in service.
    pub(super) fn is_open(&self) -> bool {
        matches!(&*self.state.borrow(), State::Open(_))
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
                    if !self.decider.may_open() {
                        let message = "the replica has not been opened yet".to_owned();
                        return Err(ReserveError::Unavailable { message });
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
            State::Closed(Some(entry)) => Some((entry.log_start, entry.committed)),
            _ => None,
        }
    }

    /// Gives the memory of its oldest cached buffer back. Returns whether there was one.
    pub(super) fn evict_oldest(&self) -> bool {
        matches!(self.with_open(|open| open.cache.evict_oldest()), Ok(true))
    }

    /// Whether somebody waits until nothing is in flight.
    pub(super) fn quiet_is_awaited(&self) -> bool {
        let rewriting = self.with_open(|open| open.rewriting);
        self.context.stopping.get() || self.removing.get() || matches!(rewriting, Ok(true))
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
            earliest: self.log_start(),
            committed: self.committed(),
            size_bytes: sealed + rolled + active,
            segments: self.sealed.len() as u64 + self.rolled.len() as u64 + u64::from(self.on_disk),
        }
    }

    /// What the next batch continues.
    pub(super) fn chain(&self) -> Chain {
        Chain::of(&self.state)
    }

    /// Exclusive end of what readers may see.
    pub(super) fn committed(&self) -> Offset {
        let told = self.committed.as_ref().map(CommittedMark::told);
        told.map_or(self.durable.end, |told| told.min(self.durable.end))
    }

    /// First offset that readers may see. The meta's can be higher, in a log that began anew.
    pub(super) fn log_start(&self) -> Offset {
        self.meta.log_start.min(self.committed())
    }

    /// Moves the durable mark and the readable end.
    pub(super) fn set_durable(&mut self, upto: Position, readable: ReadableEnd) {
        assert!(self.durable <= upto, "the durable mark never goes back");
        assert!(upto <= self.state.position(), "what is durable was appended");
        self.durable = upto;
        self.readable = readable;
    }

    /// Whether nothing is in flight: no flush, no reservation, no answer that waits, no cut.
    pub(super) fn is_quiet(&self) -> bool {
        !self.rewriting && self.has_settled()
    }

    /// The same for the one who is about to cut it.
    pub(super) fn has_settled(&self) -> bool {
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
