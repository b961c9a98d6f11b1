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

impl Lane {
    /// Where its count is.
    #[inline]
    fn index(self) -> usize {
        self.partition as usize * Concern::COUNT + self.concern.index()
    }
}

/// A batch whose deadline has passed, and the refusals that waited for nothing but its answer.
#[derive(Debug)]
pub(super) struct Expired<R> {
    pub(super) waiting: Waiting,
    pub(super) released: Vec<R>,
}

/// Refusals of one lane, each behind the batches that were there before it.
#[derive(Debug)]
struct Held<R> {
    /// A token and a refusal: the answers of all batches below the token come first. Tokens grow.
    refusals: VecDeque<(u64, R)>,
    /// No batch of the lane below this token waits. Only grows, so that no slot is looked at twice.
    none_before: u64,
}

#[derive(Debug, Clone, Copy)]
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
    /// By lane: batches that wait. No longer than the lanes that were used.
    waiting: Vec<u32>,
    /// Lanes that hold refusals back. Nearly always empty.
    held: HashMap<Lane, Held<R>>,
    /// Refusals in there.
    held_count: usize,
    /// No deadline is earlier than this one.
    earliest: Option<Instant>,
    bytes: usize,
}

impl<R> InFlight<R> {
    pub(super) fn new() -> Self {
        Self {
            first: 0,
            slots: VecDeque::new(),
            waiting: Vec::new(),
            held: HashMap::new(),
            held_count: 0,
            earliest: None,
            bytes: 0,
        }
    }

    /// Batches and refusals that take up memory here.
    pub(super) fn len(&self) -> usize {
        self.slots.len() + self.held_count
    }

    /// Whether everything was answered.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.held_count == 0
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
        let lane = waiting.lane.index();
        if self.waiting.len() <= lane {
            self.waiting.resize(lane + 1, 0);
        }
        self.waiting[lane] += 1;
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
            Slot::Waiting(waiting) => {
                self.waiting[waiting.lane.index()] -= 1;
                (Some(waiting), waiting.bytes)
            }
            Slot::TimedOut { bytes } => (None, bytes),
            Slot::Done => unreachable!("a log answers an append once"),
        };
        self.bytes -= bytes;
        (waiting, bytes)
    }

    /// Batches whose deadline has passed, in the order they came in. They count as answered now.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Expired<R>> {
        let mut expired = Vec::new();
        let mut earliest: Option<Instant> = None;
        for at in 0..self.slots.len() {
            let Slot::Waiting(waiting) = self.slots[at] else { continue };
            if waiting.deadline > now {
                earliest = Some(earliest.map_or(waiting.deadline, |e| e.min(waiting.deadline)));
                continue;
            }
            self.slots[at] = Slot::TimedOut { bytes: waiting.bytes };
            self.waiting[waiting.lane.index()] -= 1;
            // Before the next batch expires: what stands between the two is answered between them.
            let released = self.release(waiting.lane);
            expired.push(Expired { waiting, released });
        }
        self.earliest = earliest;
        expired
    }

    /// Holds a refusal back while earlier batches of its lane wait; gives it back if there are none.
    pub(super) fn hold(&mut self, lane: Lane, refusal: R) -> Option<R> {
        if !self.is_waited_for(lane) {
            return Some(refusal);
        }
        let behind = self.first + self.slots.len() as u64;
        let none_before = self.first;
        let held = self
            .held
            .entry(lane)
            .or_insert_with(|| Held { refusals: VecDeque::new(), none_before });
        held.refusals.push_back((behind, refusal));
        self.held_count += 1;
        None
    }

    /// Refusals of a lane that nothing holds back any more, in order.
    pub(super) fn release(&mut self, lane: Lane) -> Vec<R> {
        if self.held_count == 0 {
            return Vec::new();
        }
        let lane_waits = self.is_waited_for(lane);
        let Some(held) = self.held.get_mut(&lane) else { return Vec::new() };
        if lane_waits {
            let slot = |token: u64| usize::try_from(token - self.first).expect("a slot's index");
            let waits =
                |slot: &Slot| matches!(slot, Slot::Waiting(waiting) if waiting.lane == lane);
            held.none_before = held.none_before.max(self.first);
            while !waits(&self.slots[slot(held.none_before)]) {
                held.none_before += 1;
            }
        } else {
            held.none_before = u64::MAX;
        }
        let free = held.refusals.partition_point(|(behind, _)| *behind <= held.none_before);
        let free: Vec<R> = held.refusals.drain(..free).map(|(_, refusal)| refusal).collect();
        if held.refusals.is_empty() {
            self.held.remove(&lane);
        }
        self.held_count -= free.len();
        free
    }

    /// Whether a batch of the partition waits for its answer.
    pub(super) fn waits_for(&self, partition: u32) -> bool {
        let first = partition as usize * Concern::COUNT;
        let lanes = self.waiting.iter().skip(first).take(Concern::COUNT);
        lanes.copied().any(|count| count > 0)
    }

    /// Whether a batch of the lane waits for its answer. What is refused may name any partition.
    fn is_waited_for(&self, lane: Lane) -> bool {
        self.waiting.get(lane.index()).is_some_and(|count| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

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
        let expired: Vec<u64> =
            in_flight.expire(now).iter().map(|e| e.waiting.request_id).collect();
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

    #[test]
    fn a_partition_is_waited_for_while_a_batch_of_it_has_no_answer() {
        let now = clock::monotonic();
        let mut in_flight: InFlight<()> = InFlight::new();
        let other = Lane { partition: 1, concern: Concern::Replicas(5) };
        let first = in_flight.push(Waiting { lane: other, ..waiting(1, 1, now) });
        let seen = |in_flight: &InFlight<()>| [0, 1, 2].map(|index| in_flight.waits_for(index));
        assert_eq!(seen(&in_flight), [false, true, false]);
        in_flight.complete(first);
        assert_eq!(seen(&in_flight), [false; 3]);
    }

    #[test]
    fn what_expires_together_is_answered_in_the_order_it_came_in() {
        let now = clock::monotonic();
        let mut in_flight = InFlight::new();
        in_flight.push(waiting(1, 0, now));
        assert_eq!(in_flight.hold(lane(0), 2), None);
        in_flight.push(waiting(3, 0, now));
        assert_eq!(in_flight.hold(lane(0), 4), None);
        let order: Vec<u64> = in_flight
            .expire(now)
            .into_iter()
            .flat_map(|expired| [vec![expired.waiting.request_id], expired.released].concat())
            .collect();
        assert_eq!(order, [1, 2, 3, 4]);
    }

    /// What the answers of a lane must look like, whatever the order of completions: those of the
    /// batches as they complete, and each refusal as soon as all batches before it are answered.
    #[derive(Default)]
    struct Twin {
        /// Of each lane: (id, a batch that waits).
        lanes: [Vec<(u64, bool)>; 3],
    }

    impl Twin {
        fn free(&mut self, lane: usize) -> Vec<u64> {
            let waits = self.lanes[lane].iter().position(|(_, batch)| *batch);
            let free = waits.unwrap_or(self.lanes[lane].len());
            self.lanes[lane].drain(..free).map(|(id, _)| id).collect()
        }
    }

    proptest! {
        #[test]
        fn refusals_are_released_as_a_simple_list_would_release_them(
            steps in proptest::collection::vec((0..3_u8, 0..3_u32, any::<usize>()), 1..200),
        ) {
            let now = clock::monotonic();
            let mut in_flight = InFlight::new();
            let mut twin = Twin::default();
            let mut open: Vec<(u64, u64, u32)> = Vec::new();
            for (id, (step, partition, choice)) in (0_u64..).zip(steps) {
                let at = partition as usize;
                match step {
                    0 => {
                        open.push((in_flight.push(waiting(id, partition, now)), id, partition));
                        twin.lanes[at].push((id, true));
                    }
                    1 => {
                        twin.lanes[at].push((id, false));
                        let found: Vec<u64> = in_flight.hold(lane(partition), id).into_iter().collect();
                        prop_assert_eq!(found, twin.free(at));
                    }
                    _ if open.is_empty() => {}
                    _ => {
                        let (token, id, partition) = open.remove(choice % open.len());
                        in_flight.complete(token);
                        let lane_of_it = &mut twin.lanes[partition as usize];
                        lane_of_it.retain(|(other, _)| *other != id);
                        let released = in_flight.release(lane(partition));
                        prop_assert_eq!(released, twin.free(partition as usize));
                    }
                }
                let held: usize =
                    twin.lanes.iter().flatten().filter(|(_, batch)| !batch).count();
                prop_assert!(in_flight.len() >= open.len() + held);
                prop_assert_eq!(in_flight.is_empty(), open.is_empty() && held == 0);
            }
        }
    }
}
