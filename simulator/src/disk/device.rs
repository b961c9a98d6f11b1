//! What was ordered of a disk, and how much of it is stable.

use std::collections::VecDeque;

use forebay_format::{Offset, PartitionMeta, ReplicaId};
use forebay_replication::metadata::PartitionState;
use forebay_replication::{BatchMeta, LogEvent, LogState, Position};

use super::stored_log::StoredLog;
use crate::random::Random;

/// An order to the appender.
#[derive(Debug, Clone)]
pub(crate) enum LogOrder {
    Append(BatchMeta),
    Cut(Position),
    Reset(Box<LogState>),
}

/// The disk of one node.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    stable_meta: Option<PartitionMeta>,
    /// The copy of the partition's state that is kept.
    pub(crate) kept_state: Option<Box<PartitionState>>,
    stable_log: StoredLog,
    /// The log as its process sees it: stable, with every order carried out.
    seen_log: StoredLog,
    /// Invariant: `stable_log` and these, in order, give `seen_log`.
    log_orders: VecDeque<LogOrder>,
    /// How many of them the flush that is under way covers; 0 when none is.
    flushing: usize,
    meta_orders: VecDeque<(u64, PartitionMeta)>,
    /// A bit of what is stable has flipped; the next recovery will notice.
    pub(crate) damaged: bool,
    /// Nothing works until it is replaced.
    pub(crate) dead: bool,
    /// It has lost, behind its replica's back, what that replica had acknowledged.
    pub(crate) was_set_back: bool,
}

impl Disk {
    /// The log as the process sees it.
    pub(crate) const fn log(&self) -> &StoredLog {
        &self.seen_log
    }

    /// The log as a crash would certainly leave it.
    pub(crate) const fn stable_log(&self) -> &StoredLog {
        &self.stable_log
    }

    pub(crate) const fn meta(&self) -> Option<&PartitionMeta> {
        self.stable_meta.as_ref()
    }

    /// The replica that lies here, if any.
    pub(crate) fn replica(&self) -> Option<ReplicaId> {
        self.stable_meta.as_ref().map(|meta| meta.replica)
    }

    /// Begins a new replica on an empty disk.
    pub(crate) fn format(&mut self, replica: ReplicaId) {
        *self = Self { stable_meta: Some(PartitionMeta::new(replica)), ..Self::default() };
    }

    pub(crate) fn order(&mut self, order: LogOrder) {
        carry_out(&mut self.seen_log, order.clone());
        self.log_orders.push_back(order);
    }

    pub(crate) fn order_meta(&mut self, number: u64, meta: PartitionMeta) {
        self.meta_orders.push_back((number, meta));
    }

    /// Whether something that was ordered of the log is not stable.
    pub(crate) fn log_waits(&self) -> bool {
        !self.log_orders.is_empty()
    }

    /// Whether a meta waits to be written.
    pub(crate) fn meta_waits(&self) -> bool {
        !self.meta_orders.is_empty()
    }

    /// Whole segments below this are not wanted any more. Needs no flush: that they are still there
    /// after a crash does no harm.
    pub(crate) fn trim(&mut self, log_start: Offset) {
        // What is stable keeps more for as long as orders wait that were given before.
        if self.log_orders.is_empty() {
            self.stable_log.trim(log_start);
            self.seen_log = self.stable_log.clone();
        }
    }

    /// Begins a flush when there is something to flush and none is under way. A cut and a reset are
    /// carried out alone.
    pub(crate) fn begin_flush(&mut self) -> bool {
        if self.flushing > 0 || self.log_orders.is_empty() || self.dead {
            return false;
        }
        let appends =
            self.log_orders.iter().take_while(|order| matches!(order, LogOrder::Append(_)));
        self.flushing = appends.count().max(1);
        true
    }

    /// The flush that was begun is done. Says what its process is told, and which batches it made stable.
    pub(crate) fn end_flush(&mut self) -> Option<(LogEvent, Vec<BatchMeta>)> {
        let mut last = None;
        let mut synced = Vec::new();
        for order in self.log_orders.drain(..self.flushing) {
            carry_out(&mut self.stable_log, order.clone());
            if let LogOrder::Append(batch) = order {
                synced.push(batch);
            } else {
                last = Some(order);
            }
        }
        if self.flushing == 0 {
            return None;
        }
        self.flushing = 0;
        let state = || Box::new(self.stable_log.state(self.log_start()));
        let event = match last {
            None => LogEvent::Durable(self.stable_log.position()),
            Some(LogOrder::Reset(_)) => LogEvent::ResetDone(state()),
            Some(_) => LogEvent::CutDone(state()),
        };
        Some((event, synced))
    }

    /// The oldest meta that waits is stable. Says its number.
    pub(crate) fn end_meta(&mut self) -> Option<u64> {
        let (number, meta) = self.meta_orders.pop_front()?;
        self.stable_meta = Some(meta);
        Some(number)
    }

    /// Power is lost: any prefix of what was ordered is stable, the rest never was.
    pub(crate) fn crash(&mut self, random: &mut Random) {
        let kept = random.place(self.log_orders.len() + 1);
        for order in self.log_orders.drain(..).take(kept) {
            carry_out(&mut self.stable_log, order);
        }
        let kept = random.place(self.meta_orders.len() + 1);
        if let Some((_, meta)) = self.meta_orders.drain(..).take(kept).next_back() {
            self.stable_meta = Some(meta);
        }
        self.flushing = 0;
        self.seen_log = self.stable_log.clone();
    }

    /// The log is an older one, and nobody was told.
    pub(crate) fn set_back(&mut self) {
        if let Some(middle) = self.stable_log.batches().get(self.stable_log.batches().len() / 2) {
            self.stable_log.cut(middle.position());
            self.seen_log = self.stable_log.clone();
            self.was_set_back = true;
        }
    }

    /// Everything is gone.
    pub(crate) fn wipe(&mut self) {
        *self = Self::default();
    }

    /// What a recovery finds of the log.
    pub(crate) fn recovered_log(&self) -> LogState {
        self.stable_log.state(self.log_start())
    }

    fn log_start(&self) -> Offset {
        self.stable_meta.as_ref().map_or_else(Default::default, |meta| meta.log_start)
    }
}

fn carry_out(log: &mut StoredLog, order: LogOrder) {
    match order {
        LogOrder::Append(batch) => log.append(batch),
        LogOrder::Cut(at) => log.cut(at),
        LogOrder::Reset(state) => *log = StoredLog::beginning_with(*state),
    }
}

#[cfg(test)]
mod tests {
    use forebay_format::{Epoch, LeaderFields, TimestampMs};
    use forebay_replication::batch::epoch_start;

    use super::*;

    /// A batch that starts this epoch.
    fn start_of(epoch: u64) -> BatchMeta {
        let fields = LeaderFields {
            base_offset: Offset::ZERO,
            epoch: Epoch::new(epoch),
            append_time: TimestampMs::new(0),
            previous_header_crc: 0,
        };
        BatchMeta::stamp(epoch_start(TimestampMs::new(0)), fields)
    }

    fn disk_with(epochs: std::ops::RangeInclusive<u64>) -> Disk {
        let mut disk = Disk::default();
        disk.format(ReplicaId::from_u128(1));
        for epoch in epochs {
            disk.order(LogOrder::Append(start_of(epoch)));
        }
        disk
    }

    fn at(epoch: u64) -> Position {
        Position::new(Epoch::new(epoch), Offset::ZERO)
    }

    #[test]
    fn flush_covers_what_was_ordered_before_it_began() {
        let mut disk = disk_with(1..=2);
        assert!(disk.begin_flush());
        disk.order(LogOrder::Append(start_of(3)));
        assert!(!disk.begin_flush(), "one is under way");
        let (event, synced) = disk.end_flush().expect("a flush was under way");
        assert_eq!(event, LogEvent::Durable(at(2)));
        assert_eq!(synced.len(), 2);
        assert_eq!((disk.log().position(), disk.stable_log().position()), (at(3), at(2)));
    }

    #[test]
    fn crash_keeps_what_is_stable_and_any_prefix_of_the_rest() {
        let mut kept = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let mut disk = disk_with(1..=1);
            assert!(disk.begin_flush());
            assert!(disk.end_flush().is_some());
            for epoch in 2..=4 {
                disk.order(LogOrder::Append(start_of(epoch)));
            }
            assert!(disk.begin_flush());
            disk.crash(&mut Random::new(seed));
            assert!(disk.end_flush().is_none(), "the flush died with the process");
            assert_eq!(disk.log().position(), disk.stable_log().position());
            kept.insert(disk.log().position().epoch.get());
        }
        assert_eq!(kept.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn cut_waits_for_the_appends_before_it_and_is_flushed_alone() {
        let mut disk = disk_with(1..=3);
        disk.order(LogOrder::Cut(at(1)));
        disk.order(LogOrder::Append(start_of(5)));
        let mut flush = || {
            assert!(disk.begin_flush());
            disk.end_flush().map(|(event, _)| event)
        };
        assert_eq!(flush(), Some(LogEvent::Durable(at(3))));
        let Some(LogEvent::CutDone(state)) = flush() else { panic!("the cut") };
        assert_eq!(state.position(), at(1));
        assert_eq!(flush(), Some(LogEvent::Durable(at(5))));
    }
}
