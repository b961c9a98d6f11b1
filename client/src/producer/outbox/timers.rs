//! Which times must be watched: for batches that linger, for pauses after refusals, for deadlines. A
//! timer is never taken back; one that means nothing any more does nothing.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, binary_heap::PeekMut},
    sync::Arc,
};

use tokio::time::Instant;

use super::Outbox;
use crate::producer::report::DeliveryFailure;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Timers(BinaryHeap<Reverse<Timer>>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Timer {
    at: Instant,
    partition: usize,
    kind: TimerKind,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TimerKind {
    /// The open batch of this number has waited long enough.
    Linger(u64),
    /// A pause after a refusal is over.
    Pause,
    /// The oldest batch may be too old.
    Deadline,
}

impl Timers {
    /// True when this timer is now the first.
    pub(super) fn arm(&mut self, at: Instant, partition: usize, kind: TimerKind) -> bool {
        let first = self.first().is_none_or(|first| at < first);
        self.0.push(Reverse(Timer { at, partition, kind }));
        first
    }

    /// When to look again.
    fn first(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse(timer)| timer.at)
    }

    /// The partition that the first timer is about, and its kind, when it is due.
    fn pop_due(&mut self, now: Instant) -> Option<(usize, TimerKind)> {
        let first = self.0.peek_mut().filter(|first| first.0.at <= now)?;
        let Reverse(timer) = PeekMut::pop(first);
        Some((timer.partition, timer.kind))
    }
}

impl Outbox {
    /// Does what is due, and returns when to come back.
    pub(in crate::producer) fn fire_timers(&mut self, now: Instant) -> Option<Instant> {
        while let Some((at, kind)) = self.timers.pop_due(now) {
            match kind {
                TimerKind::Linger(opening) => {
                    if self.partitions[at].make_due(Some(opening)) {
                        self.enqueue(at);
                    }
                }
                TimerKind::Pause => self.enqueue(at),
                TimerKind::Deadline => self.check_deadline(at, now),
            }
        }
        self.timers.first()
    }

    fn check_deadline(&mut self, at: usize, now: Instant) {
        let Some(waited) = self.options.delivery_deadline else { return };
        self.partitions[at].deadline_armed = false;
        let Some(accepted_at) = self.partitions[at].oldest_accepted_at() else { return };
        if accepted_at + waited <= now {
            let last = self.partitions[at].lane.last_error().cloned();
            self.fail(at, &Arc::new(DeliveryFailure::DeadlineExceeded { waited, last }));
        } else {
            self.arm_deadline(at);
        }
    }

    pub(super) fn arm_deadline(&mut self, at: usize) -> bool {
        let Some(deadline) = self.options.delivery_deadline else { return false };
        let partition = &mut self.partitions[at];
        let (false, Some(oldest)) = (partition.deadline_armed, partition.oldest_accepted_at())
        else {
            return false;
        };
        partition.deadline_armed = true;
        self.timers.arm(oldest + deadline, at, TimerKind::Deadline)
    }

    pub(super) fn arm_pause(&mut self, at: usize) -> bool {
        match self.partitions[at].lane.paused_until() {
            Some(until) => self.timers.arm(until, at, TimerKind::Pause),
            None => false,
        }
    }
}
