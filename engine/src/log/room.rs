//! Room for appends: what is reserved in memory and on disk before a batch is taken.
//!
//! Space is got by one task at a time, ahead of what is appended, so that an append itself never
//! waits and never fails for want of it.

use std::rc::Rc;

use forebay_format::control::CONTROL_BATCH_BYTES;
use forebay_format::segment::FIRST_BATCH_POSITION;

use super::ReserveError;
use super::attempts::Attempt;
use super::partition::{NotOpen, OpenLog, PartitionLog};
use super::reserved::Reserved;
use crate::io::{BLOCK_BYTES, create_directories, is_full, replace_file};
use crate::runtime::spawn;
use crate::segment::ActiveSegment;

/// What a reservation adds to a batch's length: an epoch's control batch and a partial block.
pub(super) const RESERVE_EXTRA_BYTES: u64 = (CONTROL_BATCH_BYTES + BLOCK_BYTES) as u64;

/// First allocation of a new log, in bytes. It doubles from there up to a segment.
pub(super) const FIRST_ALLOCATION_BYTES: u64 = 64 << 10;

/// What an append has to wait for.
enum Missing {
    Open,
    Space,
    Memory,
    /// It is about to be cut.
    Quiet,
}

impl PartitionLog {
    /// Room for a batch of `bytes`, if it is there without waiting.
    pub(crate) fn try_reserve(self: &Rc<Self>, bytes: usize) -> Option<Reserved> {
        self.reserve_now(bytes).ok().and_then(Result::ok)
    }

    /// Room for a batch of `bytes`, header included. Waits for memory and for disk space. May be
    /// dropped: what it waits for goes on.
    ///
    /// # Errors
    /// See [`ReserveError`]; nothing was appended.
    pub(crate) async fn reserve(self: &Rc<Self>, bytes: usize) -> Result<Reserved, ReserveError> {
        let mut waited_for = Attempt::default();
        loop {
            let seen = self.progress.version();
            match self.reserve_now(bytes)? {
                Ok(reserved) => return Ok(reserved),
                Err(Missing::Open) => self.ensure_open().await?,
                Err(Missing::Space) => {
                    if let Some(error) = self.making_room.failure_of(waited_for) {
                        return Err(error);
                    }
                    waited_for = self.start_making_room(bytes);
                    self.progress.beyond(seen).await;
                }
                Err(Missing::Quiet) => self.progress.beyond(seen).await,
                Err(Missing::Memory) => {
                    if !self.context.evict_oldest() {
                        self.context.pool.released().await;
                    }
                }
            }
        }
    }

    fn reserve_now(
        self: &Rc<Self>,
        bytes: usize,
    ) -> Result<Result<Reserved, Missing>, ReserveError> {
        if self.context.stopping.get() {
            return Err(ReserveError::Stopping);
        }
        if self.removing.get() {
            return Err(ReserveError::Unknown);
        }
        let needed = bytes as u64 + RESERVE_EXTRA_BYTES;
        let room = self.with_open(|open| (!open.rewriting).then(|| open.has_room(needed)));
        match room {
            Ok(Some(true)) => {}
            Ok(Some(false)) => return Ok(Err(Missing::Space)),
            Ok(None) => return Ok(Err(Missing::Quiet)),
            Err(NotOpen::Closed | NotOpen::Busy) => return Ok(Err(Missing::Open)),
            Err(NotOpen::Never(error)) => return Err(error),
        }
        let Some(memory) = self.context.pool.try_reserve(bytes) else {
            return Ok(Err(Missing::Memory));
        };
        self.if_open(|open| open.reserved_bytes += needed);
        Ok(Ok(Reserved {
            log: Rc::clone(self),
            bytes: needed,
            life: self.rewritten.get(),
            _memory: memory,
        }))
    }

    /// Begins to get the log more disk space, in a task of its own, unless one is at it or there
    /// is something else to wait for. `progress` is raised when that has changed.
    fn start_making_room(self: &Rc<Self>, bytes: usize) -> Attempt {
        let needed = bytes as u64 + RESERVE_EXTRA_BYTES;
        let plan = self.with_open(|open| {
            if open.running.make_room {
                return Err(self.making_room.latest());
            }
            let plan = open.plan_room(needed, self.segment_bytes());
            open.running.make_room = !matches!(plan, Room::Wait);
            Ok(plan)
        });
        match plan {
            Err(_) => {
                // Closed in between: whoever waits looks again.
                self.progress.raise();
                Attempt::default()
            }
            Ok(Err(under_way)) => under_way,
            Ok(Ok(Room::Wait)) => Attempt::default(),
            Ok(Ok(room)) => {
                let attempt = self.making_room.begin();
                let log = Rc::clone(self);
                spawn(async move {
                    let _task = log.begin_task();
                    let made = log.make_room(room).await;
                    log.end_making_room(made);
                });
                attempt
            }
        }
    }

    async fn make_room(&self, room: Room) -> std::io::Result<()> {
        match room {
            Room::Wait => Ok(()),
            Room::First { bytes } => self.create_on_disk(bytes).await,
            Room::Extend { segment, bytes } => self.extend(&segment, bytes).await,
            Room::Spare { bytes } => self.take_spare(bytes).await,
        }
    }

    /// Ends the attempt that is under way and wakes those who wait.
    pub(super) fn end_making_room(&self, made: std::io::Result<()>) {
        self.making_room.end(made.map_err(|error| self.refused(&error)));
        self.if_open(|open| open.running.make_room = false);
        self.progress.raise();
    }

    /// What an error of the system means for those who wait.
    pub(super) fn refused(&self, error: &std::io::Error) -> ReserveError {
        self.poison_if_lost(error);
        let message = error.to_string();
        if is_full(error) {
            ReserveError::DiskFull { message }
        } else {
            ReserveError::Unavailable { message }
        }
    }

    /// Makes directory, meta and first segment. All of it is on stable storage on return.
    pub(super) async fn create_on_disk(&self, bytes: u64) -> std::io::Result<()> {
        let Ok((meta, header)) = self.with_open(|open| (open.meta, open.active.header().clone()))
        else {
            return Ok(());
        };
        if !self.decider.is_replica() {
            // A replica's were made when it was opened, and the meta may be a newer one.
            create_directories(self.path.directory().to_owned()).await?;
            replace_file(self.path.meta(), meta.encode().to_vec()).await?;
        }
        let spare = self.context.take_spare(bytes).await?;
        let interval = self.context.index_interval_bytes;
        let segment = ActiveSegment::rolled(header, spare, None, interval);
        segment.create(&self.path, &self.context.pool).await?;
        let segment = Rc::new(segment);
        self.if_open(|open| {
            open.readable.segment = Rc::clone(&segment);
            open.active = segment;
            open.on_disk = true;
        });
        Ok(())
    }

    /// Length in bytes at which a segment rolls: a quarter of what is retained at most, so that
    /// retention has whole segments to remove.
    pub(super) fn segment_bytes(&self) -> u64 {
        let settings = self.settings.borrow();
        let quarter = settings.retention_bytes.map_or(u64::MAX, |bytes| bytes / 4);
        let smallest = settings.batch_bytes_max as u64 + 64 * 1024;
        settings.segment_bytes.min(quarter).max(smallest).next_multiple_of(BLOCK_BYTES as u64)
    }

    async fn extend(&self, segment: &ActiveSegment, bytes: u64) -> std::io::Result<()> {
        self.context.check_disk_reserve(bytes - segment.allocated_bytes()).await?;
        segment.extend(bytes).await
    }

    pub(super) async fn take_spare(&self, bytes: u64) -> std::io::Result<()> {
        let mut spare = Some(self.context.take_spare(bytes).await?);
        self.if_open(|open| open.spare = spare.take());
        match spare {
            Some(unused) => self.context.spares.put_back(unused).await,
            None => Ok(()),
        }
    }
}

/// How a log gets room for the next append.
enum Room {
    /// Something is under way that will change the answer.
    Wait,
    /// Nothing is on disk yet.
    First { bytes: u64 },
    /// The active segment may grow.
    Extend { segment: Rc<ActiveSegment>, bytes: u64 },
    /// The active segment is full; the next one needs a file.
    Spare { bytes: u64 },
}

impl OpenLog {
    /// Whether all that is reserved and `needed` bytes more fit, with a roll if need be.
    fn has_room(&self, needed: u64) -> bool {
        let wanted = self.reserved_bytes + needed;
        let here = self.tail.end() + wanted <= self.active.allocated_bytes();
        (here && !self.index_full)
            || self.may_roll()
                && self.spare.as_ref().is_some_and(|spare| {
                    FIRST_BATCH_POSITION.get() + wanted <= spare.allocated_bytes
                })
    }

    /// Whether the active segment has records: the next one must have another base offset.
    pub(super) fn may_roll(&self) -> bool {
        self.state.end > self.active.header().base_offset
    }

    fn plan_room(&self, needed: u64, segment_bytes: u64) -> Room {
        let wanted = self.reserved_bytes + needed;
        let wanted_end = self.tail.end() + wanted;
        if !self.on_disk {
            let bytes = (FIRST_BATCH_POSITION.get() + wanted).max(FIRST_ALLOCATION_BYTES);
            return Room::First { bytes: bytes.next_multiple_of(BLOCK_BYTES as u64) };
        }
        // A segment gets its full length before the next is thought of, and more while it has nothing but
        // control batches.
        let grows = self.active.allocated_bytes() < segment_bytes && !self.index_full;
        if grows || !self.may_roll() {
            if self.active.file().is_none() {
                // The flush is about to make it, with all the space it was promised.
                return Room::Wait;
            }
            let limit = if self.may_roll() { segment_bytes } else { segment_bytes.max(wanted_end) };
            let bytes = (self.active.allocated_bytes() * 2).max(wanted_end).min(limit);
            let bytes = bytes.next_multiple_of(BLOCK_BYTES as u64);
            return Room::Extend { segment: Rc::clone(&self.active), bytes };
        }
        if self.spare.is_some() {
            // More is reserved than one segment holds: it has to be appended first.
            return Room::Wait;
        }
        // Room for one batch at least; more reservations than fit have to be appended first.
        let bytes = segment_bytes.max(FIRST_BATCH_POSITION.get() + needed);
        Room::Spare { bytes: bytes.next_multiple_of(BLOCK_BYTES as u64) }
    }
}
