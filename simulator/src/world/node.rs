//! A node: its disk and clocks, which outlive its process, and the process.

use std::collections::{BTreeMap, VecDeque};

use forebay_checker::Voter;
use forebay_format::NodeId;
use forebay_replication::lease::Lease;
use forebay_replication::metadata::Transaction;
use forebay_replication::{Config, Event, Instant, Marks, Part, Replica};

use super::witness::Witness;
use crate::disk::Disk;
use crate::etcd::LeaseId;
use crate::faults::FaultKind;
use crate::random::Random;

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) disk: Disk,
    pub(crate) clock: Clock,
    /// How often a process was started here.
    pub(crate) run: u64,
    pub(crate) process: Option<Process>,
    /// A start is under way, or comes of itself when a fault ends.
    pub(crate) start_pending: bool,
    pub(crate) troubles: Troubles,
}

/// What is wrong with a node at present. Each counts how many faults say so.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    pub(crate) messages_lost: u32,
    pub(crate) messages_delayed: u32,
    pub(crate) messages_doubled: u32,
    pub(crate) disk_slow: u32,
    pub(crate) store_unreachable: u32,
    pub(crate) watch_lags: u32,
    pub(crate) watch_broken: u32,
    pub(crate) transactions_unknown: u32,
}

impl Troubles {
    /// The count of those that this kind of fault brings about, if it is one that lasts.
    pub(crate) const fn of(&mut self, kind: FaultKind) -> Option<&mut u32> {
        Some(match kind {
            FaultKind::MessagesLost => &mut self.messages_lost,
            FaultKind::MessagesDelayed => &mut self.messages_delayed,
            FaultKind::MessagesDoubled => &mut self.messages_doubled,
            FaultKind::DiskSlow => &mut self.disk_slow,
            FaultKind::StoreUnreachable => &mut self.store_unreachable,
            FaultKind::WatchLags => &mut self.watch_lags,
            FaultKind::WatchCompacted => &mut self.watch_broken,
            FaultKind::TransactionsUnknown => &mut self.transactions_unknown,
            _ => return None,
        })
    }
}

/// A process that runs.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) replica: Replica,
    pub(crate) part: Part,
    pub(crate) marks: Marks,
    /// The number of the wake-up that counts.
    pub(crate) wake: u64,
    /// Whether the meta file is being written.
    pub(crate) meta_busy: bool,
    pub(crate) lease: HeldLease,
    /// When the last watch event arrives, as they keep their order.
    pub(crate) watch_ms: u64,
    /// The last transaction that was to enter replicas, which is sent again when its outcome is unknown.
    pub(crate) entering: Option<Transaction>,
    pub(super) witness: Witness,
    /// When a message of each other replica came last.
    pub(crate) heard: BTreeMap<NodeId, Instant>,
    /// What came while the process stood still. `None`: it runs.
    pub(crate) paused: Option<VecDeque<Event>>,
}

/// What a process knows of its lease.
#[derive(Debug)]
pub(crate) struct HeldLease {
    pub(crate) machine: Lease,
    pub(crate) lease: Option<LeaseId>,
    /// When one was asked for last.
    pub(crate) asked_at: Option<Instant>,
}

impl HeldLease {
    pub(crate) fn new(config: Config) -> Self {
        Self { machine: Lease::new(config, 1), lease: None, asked_at: None }
    }
}

/// The clocks of a node.
#[derive(Debug)]
pub(crate) struct Clock {
    /// What the clock that never goes back showed...
    shown_ms: u64,
    /// ...at this moment of the world.
    at_ms: u64,
    /// How many of its milliseconds go into 1000.
    rate: u64,
    /// How far the wall clock is ahead of the world.
    pub(crate) wall_ms: i64,
}

impl Clock {
    fn new(random: &mut Random) -> Self {
        let (shown_ms, rate) = (random.below(100_000), random.between(980, 1020));
        Self { shown_ms, at_ms: 0, rate, wall_ms: 0 }
    }

    /// What it shows at `now_ms` of the world.
    pub(crate) const fn instant(&self, now_ms: u64) -> Instant {
        Instant::from_ms(self.shown_ms + (now_ms - self.at_ms) * self.rate / 1000)
    }

    /// How long it takes until it shows `at`.
    pub(crate) const fn delay_until(&self, at: Instant, now_ms: u64) -> u64 {
        (at.ms_since(self.instant(now_ms)) * 1000).div_ceil(self.rate)
    }

    /// Jumps ahead.
    pub(crate) const fn jump(&mut self, by_ms: u64, now_ms: u64) {
        self.shown_ms = self.instant(now_ms).as_ms() + by_ms;
        self.at_ms = now_ms;
    }
}

impl Node {
    pub(crate) fn new(id: NodeId, random: &mut Random) -> Self {
        Self {
            id,
            disk: Disk::default(),
            clock: Clock::new(random),
            run: 0,
            process: None,
            start_pending: true,
            troubles: Troubles::default(),
        }
    }

    /// The replica on its disk, as the checker names it.
    pub(crate) fn voter(&self) -> Option<Voter> {
        Some(Voter { node: self.id, replica: self.disk.replica()? })
    }

    /// The process, when it is this run of it.
    pub(crate) fn process_of(&mut self, run: u64) -> Option<&mut Process> {
        if self.run == run { self.process.as_mut() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_never_goes_back_and_reaches_what_was_asked_for() {
        let mut clock = Clock::new(&mut Random::new(5));
        let mut last = clock.instant(0);
        for now_ms in (0..10_000).step_by(7) {
            if now_ms % 700 == 0 {
                clock.jump(50, now_ms);
            }
            let shows = clock.instant(now_ms);
            assert!(shows >= last, "{shows} after {last}");
            let wanted = shows.plus_ms(33);
            assert!(clock.instant(now_ms + clock.delay_until(wanted, now_ms)) >= wanted);
            last = shows;
        }
    }
}
