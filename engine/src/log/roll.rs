//! Ending a segment and going on in the next one.

use std::rc::Rc;

use forebay_format::control::{CONTROL_BATCH_BYTES, Control};
use forebay_format::segment::FIRST_BATCH_POSITION;
use forebay_format::{ClientHeader, Epoch, FilePosition, SnapshotPoint, TimestampMs};

use super::LogContext;
use super::open::header_at;
use super::partition::{OpenLog, PartitionLog, Rolled};
use crate::runtime::spawn;
use crate::segment::ActiveSegment;

/// First allocation of a segment that follows one rolled by age, in bytes: the log is slow.
const SLOW_SEGMENT_BYTES: u64 = 64 << 10;

impl PartitionLog {
    /// Rolls a segment whose first batch is older than the topic allows, so that age can expire
    /// it.
    pub(crate) async fn roll_by_age(self: &Rc<Self>) {
        let age = self.settings.borrow().segment_age;
        let now = self.context.clock.now();
        let due = self.with_open(|open| {
            let first = open.active.index().borrow().base_time();
            let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            let old = first.is_some_and(|first| now.saturating_since(first) >= age_ms);
            let due = old
                && open.may_roll()
                && open.durable.end > open.active.header().base_offset
                && open.is_quiet();
            open.running.make_room |= due;
            if due {
                self.making_room.begin();
            }
            due
        });
        if !matches!(due, Ok(true)) {
            return;
        }
        let _task = self.begin_task();
        let at_hand = matches!(self.with_open(|open| open.spare.is_some()), Ok(true));
        let taken = if at_hand { Ok(()) } else { self.take_spare(SLOW_SEGMENT_BYTES).await };
        let taken_ok = taken.is_ok();
        self.end_making_room(taken);
        let rolled = self.with_open(|open| {
            // Whatever was appended meanwhile belongs to the old segment; rolling takes it along.
            // Unless reservations made meanwhile would not fit: then they are appended here first.
            let wanted = FIRST_BATCH_POSITION.get() + open.reserved_bytes;
            let fits = open.spare.as_ref().is_some_and(|spare| wanted <= spare.allocated_bytes);
            let rolls = taken_ok && fits;
            if rolls {
                open.roll(&self.context);
            }
            let starts = rolls && !open.running.flush;
            open.running.flush |= rolls;
            starts
        });
        if matches!(rolled, Ok(true)) {
            spawn(super::flush::run(Rc::clone(self)));
        }
        self.progress.raise();
        self.work.raise();
    }
}

impl OpenLog {
    /// The control batch that begins this node's epoch, before its first record.
    pub(super) fn start_epoch(&mut self, epoch: Epoch, time: TimestampMs) {
        let mut control = Control::EpochStart.encode(time);
        let client = ClientHeader::decode(&control).expect("what was encoded just now");
        let (header, _) = control.split_first_chunk_mut().expect("a batch begins with its header");
        let position = self.active_end();
        let stamped = self.stamp(header, client, self.next_fields(epoch, time), position);
        self.tail.write(&control);
        self.appended(&stamped, position);
    }

    pub(super) fn roll_if_full(
        &mut self,
        batch_bytes: u64,
        time: TimestampMs,
        context: &LogContext,
    ) {
        let with_control = batch_bytes + CONTROL_BATCH_BYTES as u64;
        let fits = self.tail.end() + with_control <= self.active.allocated_bytes();
        let indexed =
            self.active.index().borrow().has_room(self.state.end, self.active_end(), time);
        // The batch fits, or there is a next file: the reservation has seen to that. A full index
        // is noticed here only, so there may be no file yet; the next reservation gets one.
        self.index_full = !indexed && self.spare.is_none();
        if (!fits || !indexed) && self.may_roll() {
            self.roll(context);
        }
    }

    /// Ends the active segment here and goes on in the next, whose file is at hand. Does nothing
    /// without one: then the reservation has seen to it that the batch fits.
    pub(super) fn roll(&mut self, context: &LogContext) {
        let Some(spare) = self.spare.take() else { return };
        let header = header_at(&self.state, self.identity);
        let next = ActiveSegment::rolled(
            header,
            spare,
            Some(self.producer_snapshot()),
            context.index_interval_bytes,
        );
        let end = FilePosition::new(self.tail.end());
        let group = self.tail.take_and_restart(FIRST_BATCH_POSITION.get());
        let segment = std::mem::replace(&mut self.active, Rc::new(next));
        self.rolled.push_back(Rolled { segment, group, end, chain: self.chain() });
        self.synced = FIRST_BATCH_POSITION;
    }

    /// The producer table as of the appended end, encoded.
    pub(super) fn producer_snapshot(&self) -> Vec<u8> {
        let state = &self.state;
        let (base_offset, previous_header_crc) = (state.end, state.last_header_crc);
        state.producers.encode_snapshot(SnapshotPoint { base_offset, previous_header_crc })
    }

    /// Position up to which the active segment's file must reach for what is appended.
    pub(super) fn active_end(&self) -> FilePosition {
        FilePosition::new(self.tail.end())
    }
}
