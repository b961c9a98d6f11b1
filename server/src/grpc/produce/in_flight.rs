//! The batches of one stream that were handed to their logs and have no answer yet.
//!
//! A batch's token counts the stream's batches, so that finding one is an index into a ring. Refusals
//! that never reached a log wait here for the answers of the batches before them, because answers keep
//! their order for each partition and write concern.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::concern::Concern;

/// What a batch is answered in the order of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Lane {
    pub(super) partition: u32,
    pub(super) concern: Concern,
}

/// A batch that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) request_id: u64,
    pub(super) lane: Lane,
    pub(super) bytes: usize,
    pub(super) deadline: Instant,
}

#[derive(Debug)]
enum Slot {
    Waiting(Waiting),
    /// Answered as indeterminate; the log's own answer is still to come, and goes nowhere.
    TimedOut {
        bytes: usize,
    },
    /// Answered.
    Done,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct InFlight<R> {
    /// Token of the first slot.
    first: u64,
    /// Invariant: the first one, if any, is not `Done`.
    slots: VecDeque<Slot>,
    /// Lanes that hold refusals back. Nearly always empty.
    held: HashMap<Lane, VecDeque<(u64, R)>>,
    /// No deadline is earlier than this one.
    earliest: Option<Instant>,
    bytes: usize,
}

impl<R> InFlight<R> {
    pub(super) fn new() -> Self {
        Self { first: 0, slots: VecDeque::new(), held: HashMap::new(), earliest: None, bytes: 0 }
    }

    /// Batches and refusals that take up memory here.
    pub(super) fn len(&self) -> usize {
        self.slots.len() + self.held.values().map(VecDeque::len).sum::<usize>()
    }

    /// Whether everything was answered.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.held.is_empty()
    }

    /// Bytes of batches whose log has not answered.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// No batch expires before this.
    pub(super) fn earliest_deadline(&self) -> Option<Instant> {
        self.earliest
    }

    /// Adds a batch; the result is its token.
    pub(super) fn push(&mut self, waiting: Waiting) -> u64 {
        self.bytes += waiting.bytes;
        self.earliest = Some(self.earliest.map_or(waiting.deadline, |e| e.min(waiting.deadline)));
        self.slots.push_back(Slot::Waiting(waiting));
        self.first + self.slots.len() as u64 - 1
    }

    /// Takes a batch out whose log has answered; nothing, if it was answered before. The bytes are
    /// those that it no longer takes up.
    pub(super) fn complete(&mut self, token: u64) -> (Option<Waiting>, usize) {
        let at = usize::try_from(token - self.first).expect("a slot's index");
        let slot = std::mem::replace(&mut self.slots[at], Slot::Done);
        while matches!(self.slots.front(), Some(Slot::Done)) {
            self.slots.pop_front();
            self.first += 1;
        }
        let (waiting, bytes) = match slot {
            Slot::Waiting(waiting) => (Some(waiting), waiting.bytes),
            Slot::TimedOut { bytes } => (None, bytes),
            Slot::Done => unreachable!("a log answers an append once"),
        };
        self.bytes -= bytes;
        (waiting, bytes)
    }

    /// Batches whose deadline has passed, in the order they came in. They count as answered now.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Waiting> {
        let mut expired = Vec::new();
        let mut earliest: Option<Instant> = None;
        for slot in &mut self.slots {
            let Slot::Waiting(waiting) = slot else { continue };
            if waiting.deadline <= now {
                expired.push(*waiting);
                *slot = Slot::TimedOut { bytes: waiting.bytes };
            } else {
                earliest = Some(earliest.map_or(waiting.deadline, |e| e.min(waiting.deadline)));
            }
        }
        self.earliest = earliest;
        expired
    }

    /// Holds a refusal back while earlier batches of its lane wait; gives it back if there are none.
    pub(super) fn hold(&mut self, lane: Lane, refusal: R) -> Option<R> {
        let before = |slot: &Slot| matches!(slot, Slot::Waiting(waiting) if waiting.lane == lane);
        match self.slots.iter().rposition(before) {
            None if !self.held.contains_key(&lane) => Some(refusal),
            last => {
                // Behind the last batch that waits, or behind the refusals that wait already.
                let behind = last.map_or(0, |at| self.first + at as u64 + 1);
                self.held.entry(lane).or_default().push_back((behind, refusal));
                None
            }
        }
    }

    /// Refusals of a lane that nothing holds back any more, in order.
    pub(super) fn release(&mut self, lane: Lane) -> Vec<R> {
        if self.held.is_empty() {
            return Vec::new();
        }
        let Some(held) = self.held.get_mut(&lane) else { return Vec::new() };
        let waiting = |slot: &Slot| matches!(slot, Slot::Waiting(waiting) if waiting.lane == lane);
        let first_waiting = self.slots.iter().position(waiting).map(|at| self.first + at as u64);
        let mut free = Vec::new();
        while held.front().is_some_and(|(behind, _)| first_waiting.is_none_or(|f| *behind <= f)) {
            free.extend(held.pop_front().map(|(_, refusal)| refusal));
        }
        if held.is_empty() {
            self.held.remove(&lane);
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    fn lane(partition: u32) -> Lane {
        Lane { partition, concern: Concern::Durable }
    }

    fn waiting(request_id: u64, partition: u32, deadline: Instant) -> Waiting {
        Waiting { request_id, lane: lane(partition), bytes: 10, deadline }
    }

    #[test]
    fn tokens_find_their_batches_in_any_order() {
        let now = clock::monotonic();
        let mut in_flight: InFlight<()> = InFlight::new();
        let tokens: Vec<u64> = (0..4).map(|id| in_flight.push(waiting(id, 0, now))).collect();
        assert_eq!(in_flight.bytes(), 40);
        for id in [2_u64, 0, 3, 1] {
            let index = usize::try_from(id).expect("small");
            let (found, bytes) = in_flight.complete(tokens[index]);
            assert_eq!((found.map(|w| w.request_id), bytes), (Some(id), 10));
        }
        assert!(in_flight.is_empty());
        assert_eq!(in_flight.push(waiting(9, 0, now)), 4);
    }

    #[test]
    fn an_expired_batch_is_answered_once_and_keeps_its_bytes_until_the_log_answers() {
        let now = clock::monotonic();
        let later = now + Duration::from_secs(1);
        let mut in_flight: InFlight<()> = InFlight::new();
        let first = in_flight.push(waiting(1, 0, now));
        in_flight.push(waiting(2, 0, later));
        assert_eq!(in_flight.earliest_deadline(), Some(now));
        let expired: Vec<u64> = in_flight.expire(now).iter().map(|w| w.request_id).collect();
        assert_eq!(expired, [1]);
        assert_eq!(in_flight.earliest_deadline(), Some(later));
        assert_eq!(in_flight.bytes(), 20);
        assert_eq!(in_flight.complete(first), (None, 10));
        assert_eq!(in_flight.bytes(), 10);
    }

    #[test]
    fn a_refusal_waits_for_the_batches_before_it_in_its_lane_only() {
        let now = clock::monotonic();
        let mut in_flight = InFlight::new();
        assert_eq!(in_flight.hold(lane(0), "at once"), Some("at once"));
        let first = in_flight.push(waiting(1, 0, now));
        assert_eq!(in_flight.hold(lane(1), "other lane"), Some("other lane"));
        assert_eq!(in_flight.hold(lane(0), "refused"), None);
        let second = in_flight.push(waiting(2, 0, now));
        assert_eq!(in_flight.hold(lane(0), "refused later"), None);
        assert!(in_flight.release(lane(0)).is_empty());
        in_flight.complete(first);
        assert_eq!(in_flight.release(lane(0)), ["refused"]);
        in_flight.complete(second);
        assert_eq!(in_flight.release(lane(0)), ["refused later"]);
        assert!(in_flight.is_empty());
    }
}
