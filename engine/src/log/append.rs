//! Admission and append: from the bytes of a socket into the tail's buffers, in one pass.
//!
//! An append has two halves. *Reserving* may wait: for the log to be opened, for memory, for disk
//! space; a full disk is told here, before anything was appended. *Appending* never waits and
//! never fails: whatever becomes of the batch is told through its completion, in order.

use std::rc::Rc;

use bytes::Bytes;
use forebay_format::control::{CONTROL_BATCH_BYTES, Control};
use forebay_format::limits::{CLIENT_HEADER_BYTES, HEADER_BYTES};
use forebay_format::segment::FIRST_BATCH_POSITION;
use forebay_format::{
    Admission, BatchError, ClientHeader, Codec, EpochStart, FilePosition, LeaderFields, PayloadCrc,
    RecordCounter, SegmentHeader, SegmentSalt, SnapshotPoint, TimestampMs, stamp_leader,
    stamp_local,
};
use smallvec::SmallVec;

use super::acks::Placed;
use super::attempts::Attempt;
use super::partition::{NotOpen, OpenLog, PartitionLog, Reserved, Rolled};
use super::{AckWhen, AppendError, Completion, LogContext, LogSettings, ReserveError, flush};
use crate::io::BLOCK_BYTES;
use crate::runtime::spawn;
use crate::segment::{ActiveSegment, Chain};

/// Payload bytes that are summed and copied before the next are touched: they stay in the first
/// level cache from one to the other.
const PASS_BYTES: usize = 16 << 10;

/// What a reservation adds to a batch's length: an epoch's control batch and a partial block.
const RESERVE_EXTRA_BYTES: u64 = (CONTROL_BATCH_BYTES + BLOCK_BYTES) as u64;

/// First allocation of a new log, in bytes. It doubles from there up to a segment.
const FIRST_ALLOCATION_BYTES: u64 = 64 << 10;

/// A batch as it came from the client; nothing about it is trusted.
#[derive(Debug, Clone)]
pub struct IncomingBatch {
    /// The client's part of the header.
    pub header: [u8; CLIENT_HEADER_BYTES],
    /// The payload, in as many pieces as it arrived in.
    pub payload: SmallVec<[Bytes; 2]>,
}

impl IncomingBatch {
    /// Length in bytes as stored, header included.
    pub fn batch_bytes(&self) -> usize {
        HEADER_BYTES + self.payload.iter().map(Bytes::len).sum::<usize>()
    }
}

/// What an append has to wait for.
enum Missing {
    Open,
    Space,
    Memory,
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
        let room = self.with_open(|open| open.has_room(needed));
        match room {
            Ok(true) => {}
            Ok(false) => return Ok(Err(Missing::Space)),
            Err(NotOpen::Closed | NotOpen::Busy) => return Ok(Err(Missing::Open)),
            Err(NotOpen::Never(error)) => return Err(error),
        }
        let Some(memory) = self.context.pool.try_reserve(bytes) else {
            return Ok(Err(Missing::Memory));
        };
        self.if_open(|open| open.reserved_bytes += needed);
        Ok(Ok(Reserved { log: Rc::clone(self), bytes: needed, _memory: memory }))
    }

    /// Appends a batch. The outcome goes through `done`.
    pub(crate) fn append(
        self: &Rc<Self>,
        reserved: Reserved,
        batch: &IncomingBatch,
        done: Completion,
    ) {
        assert!(
            batch.batch_bytes() as u64 + RESERVE_EXTRA_BYTES <= reserved.bytes,
            "a batch is not larger than what was reserved for it"
        );
        let epoch = self.epoch.get();
        let settings = self.settings.borrow();
        let outcome = self.with_open(|open| {
            open.reserved_bytes -= reserved.bytes;
            let outcome = open.append(batch, epoch, &settings, &self.context);
            match done.when {
                AckWhen::AtOnce => done.clone().answer(outcome.map(|p| p.appended(false))),
                AckWhen::Written => open.written_acks.push(done.clone(), outcome),
                AckWhen::Durable => open.durable_acks.push(done.clone(), outcome),
            }
            !std::mem::replace(&mut open.running.flush, true)
        });
        drop(settings);
        match outcome {
            Ok(starts_flush) => {
                // Already given back above, with the state at hand.
                reserved.forget_space();
                if starts_flush {
                    spawn(flush::run(Rc::clone(self)));
                } else {
                    self.work.raise();
                }
            }
            Err(why) => {
                let refused = match why {
                    NotOpen::Never(error) => error,
                    NotOpen::Closed | NotOpen::Busy => ReserveError::Stopping,
                };
                done.answer(Err(refused.into()));
            }
        }
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
        self.making_room.end(made.map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                ReserveError::DiskFull { message: error.to_string() }
            }
            _ => ReserveError::Unavailable { message: error.to_string() },
        }));
        self.if_open(|open| open.running.make_room = false);
        self.progress.raise();
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
        self.context.check_disk_reserve(bytes).await?;
        let spare = self.context.spares.take(bytes).await?;
        let mut spare = Some(spare);
        self.if_open(|open| open.spare = spare.take());
        match spare {
            Some(unused) => self.context.spares.put_back(unused).await,
            None => Ok(()),
        }
    }
}

impl Reserved {
    /// The space was accounted for; only the memory is left to give back.
    fn forget_space(mut self) {
        self.bytes = 0;
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
        here || self
            .spare
            .as_ref()
            .is_some_and(|spare| FIRST_BATCH_POSITION.get() + wanted <= spare.allocated_bytes)
    }

    fn plan_room(&self, needed: u64, segment_bytes: u64) -> Room {
        let wanted = self.reserved_bytes + needed;
        let wanted_end = self.tail.end() + wanted;
        if !self.on_disk {
            let bytes = (FIRST_BATCH_POSITION.get() + wanted).max(FIRST_ALLOCATION_BYTES);
            return Room::First { bytes: bytes.next_multiple_of(BLOCK_BYTES as u64) };
        }
        // A segment gets its full length before the next is thought of; so no empty one ever rolls.
        if self.active.allocated_bytes() < segment_bytes {
            if self.active.file().is_none() {
                // The flush is about to make it, with all the space it was promised.
                return Room::Wait;
            }
            let bytes = (self.active.allocated_bytes() * 2).max(wanted_end).min(segment_bytes);
            let bytes = bytes.next_multiple_of(BLOCK_BYTES as u64);
            return Room::Extend { segment: Rc::clone(&self.active), bytes };
        }
        if self.spare.is_some() {
            // More is reserved than one segment holds: it has to be appended first.
            return Room::Wait;
        }
        let bytes = segment_bytes.max(FIRST_BATCH_POSITION.get() + wanted);
        Room::Spare { bytes: bytes.next_multiple_of(BLOCK_BYTES as u64) }
    }

    fn append(
        &mut self,
        batch: &IncomingBatch,
        epoch: forebay_format::Epoch,
        settings: &LogSettings,
        context: &LogContext,
    ) -> Result<Placed, AppendError> {
        let client = check(batch, settings)?;
        match self.producers.check(&client)? {
            Admission::Append => {}
            Admission::Duplicate(first) => {
                return Ok(Placed {
                    base_offset: first.base_offset,
                    record_count: client.record_count,
                    epoch: first.epoch,
                    append_time: first.append_time,
                    duplicate: true,
                });
            }
        }
        let time = self.chain.append_time.max(context.clock.now());
        self.roll_if_full(client.batch_bytes() as u64, time, context);
        if !self.epoch_started {
            self.start_epoch(epoch, time);
        }
        let base_offset = self.chain.next_offset;
        let position = FilePosition::new(self.tail.end());
        let leader = self.copy(batch, &client, position, time)?;
        self.active.index().borrow_mut().note(base_offset, position, time);
        self.producers.record(&client, &leader);
        self.unflushed.batches += 1;
        self.unflushed.records += u64::from(client.record_count);
        self.unflushed.bytes += client.batch_bytes() as u64;
        Ok(Placed {
            base_offset,
            record_count: client.record_count,
            epoch,
            append_time: time,
            duplicate: false,
        })
    }

    /// Sums and copies in one pass. A batch that does not verify leaves the tail as it was.
    fn copy(
        &mut self,
        batch: &IncomingBatch,
        client: &ClientHeader,
        position: FilePosition,
        time: TimestampMs,
    ) -> Result<LeaderFields, BatchError> {
        let mut header = [0; HEADER_BYTES];
        header[..CLIENT_HEADER_BYTES].copy_from_slice(&batch.header);
        let (leader, next) = self.stamp(&mut header, client.record_count, position, time);
        self.tail.write(&header);
        let mut crc = PayloadCrc::start(&batch.header);
        let mut records = RecordCounter::new();
        for piece in &batch.payload {
            for bytes in piece.chunks(PASS_BYTES) {
                crc.update(bytes);
                if client.codec == Codec::None && !client.control {
                    records.update(bytes);
                }
                self.tail.write(bytes);
            }
        }
        let (found, expected) = (crc.finish(), client.payload_crc);
        let verified = if found != expected {
            Err(BatchError::PayloadCrc { found, expected })
        } else if client.codec == Codec::None && !client.control {
            records.finish(client.record_count)
        } else {
            Ok(())
        };
        match verified {
            Ok(()) => {
                self.chain = next;
                Ok(leader)
            }
            Err(error) => {
                self.tail.cut(position.get());
                Err(error)
            }
        }
    }

    /// Fills in the leader's and this replica's fields; returns what the next batch continues.
    fn stamp(
        &self,
        header: &mut [u8; HEADER_BYTES],
        record_count: u32,
        position: FilePosition,
        time: TimestampMs,
    ) -> (LeaderFields, Chain) {
        let fields = LeaderFields {
            base_offset: self.chain.next_offset,
            epoch: self.epochs.latest().map_or(self.chain.epoch, |latest| latest.epoch),
            append_time: time,
            previous_header_crc: self.chain.header_crc,
        };
        let header_crc = stamp_leader(header, &fields);
        stamp_local(header, self.active.header().salt, position, self.synced);
        let next = Chain {
            next_offset: fields.base_offset + u64::from(record_count),
            header_crc,
            epoch: fields.epoch,
            append_time: time,
        };
        (fields, next)
    }

    /// The control batch that begins this node's epoch, before its first record.
    fn start_epoch(&mut self, epoch: forebay_format::Epoch, time: TimestampMs) {
        let start = self.chain.next_offset;
        let added = self.epochs.push(EpochStart { epoch, start });
        assert!(added, "a log is opened in a higher epoch than it was ever written in");
        let mut control = Control::EpochStart.encode(time);
        let (header, _) = control.split_first_chunk_mut().expect("a batch begins with its header");
        let position = FilePosition::new(self.tail.end());
        (_, self.chain) = self.stamp(header, 0, position, time);
        self.tail.write(&control);
        self.epoch_started = true;
    }

    fn roll_if_full(&mut self, batch_bytes: u64, time: TimestampMs, context: &LogContext) {
        let with_control = batch_bytes + CONTROL_BATCH_BYTES as u64;
        let fits = self.tail.end() + with_control <= self.active.allocated_bytes();
        let indexed = self.active.index().borrow().has_room(
            self.chain.next_offset,
            FilePosition::new(self.tail.end()),
            time,
        );
        if !fits || !indexed {
            self.roll(context);
        }
    }

    /// Ends the active segment here and goes on in the next, whose file is at hand. Does nothing
    /// without one: then the reservation has seen to it that the batch fits.
    pub(super) fn roll(&mut self, context: &LogContext) {
        let Some(spare) = self.spare.take() else { return };
        let header = SegmentHeader {
            identity: self.identity,
            base_offset: self.chain.next_offset,
            salt: SegmentSalt::random(),
            previous_append_time: self.chain.append_time,
            previous_header_crc: self.chain.header_crc,
            epochs: self.epochs.clone(),
        };
        self.producers.expire(self.chain.append_time.saturating_add(-PRODUCER_EXPIRY_MS));
        let next = ActiveSegment::rolled(
            header,
            spare,
            self.producer_snapshot(),
            context.index_interval_bytes,
        );
        let end = FilePosition::new(self.tail.end());
        let group = self.tail.take_and_restart(FIRST_BATCH_POSITION.get());
        let segment = std::mem::replace(&mut self.active, Rc::new(next));
        self.rolled.push_back(Rolled { segment, group, end, chain: self.chain });
        self.synced = FIRST_BATCH_POSITION;
    }

    /// The producer table as of the appended end, encoded; `None` when nobody is known.
    pub(super) fn producer_snapshot(&self) -> Option<Vec<u8>> {
        let (base_offset, previous_header_crc) = (self.chain.next_offset, self.chain.header_crc);
        let point = SnapshotPoint { base_offset, previous_header_crc };
        (!self.producers.is_empty()).then(|| self.producers.encode_snapshot(point))
    }
}

/// A producer that appended nothing for this long, in the leader's time, is forgotten.
const PRODUCER_EXPIRY_MS: i64 = 7 * 24 * 3600 * 1000;

/// Everything that can be said of a batch without reading its payload.
fn check(batch: &IncomingBatch, settings: &LogSettings) -> Result<ClientHeader, AppendError> {
    let client = ClientHeader::decode(&batch.header)?;
    if client.control {
        return Err(AppendError::Control);
    }
    let found = batch.batch_bytes();
    if found > settings.batch_bytes_max {
        return Err(AppendError::TooLarge { found, limit: settings.batch_bytes_max });
    }
    if client.batch_bytes() != found {
        return Err(BatchError::Length { found, expected: client.batch_bytes() }.into());
    }
    Ok(client)
}
