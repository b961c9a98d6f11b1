//! What is still to happen: one queue, in the order of time. What happens at one moment is in an
//! order that the dice choose, because nothing orders it in the real world.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::random::Random;

/// The queue, and the time that it has reached.
#[derive(Debug)]
pub(crate) struct Schedule<T> {
    now_ms: u64,
    /// Entries that were ever added: the last resort of the order, so that no two are equal.
    added: u64,
    queue: BinaryHeap<Reverse<Entry<T>>>,
}

#[derive(Debug)]
struct Entry<T> {
    at_ms: u64,
    tie: u64,
    number: u64,
    what: T,
}

impl<T> Entry<T> {
    const fn key(&self) -> (u64, u64, u64) {
        (self.at_ms, self.tie, self.number)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl<T> Schedule<T> {
    pub(crate) const fn new() -> Self {
        Self { now_ms: 0, added: 0, queue: BinaryHeap::new() }
    }

    pub(crate) const fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Adds what happens `delay_ms` from now.
    pub(crate) fn after(&mut self, delay_ms: u64, what: T, random: &mut Random) {
        self.added += 1;
        let (at_ms, tie, number) = (self.now_ms + delay_ms, random.next_u64(), self.added);
        self.queue.push(Reverse(Entry { at_ms, tie, number, what }));
    }

    /// Takes what happens next, and moves the time there.
    pub(crate) fn next(&mut self) -> Option<T> {
        let Reverse(entry) = self.queue.pop()?;
        self.now_ms = entry.at_ms;
        Some(entry.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_decides_and_never_goes_back() {
        let mut random = Random::new(1);
        let mut schedule = Schedule::new();
        for delay_ms in [5, 1, 9, 1] {
            schedule.after(delay_ms, delay_ms, &mut random);
        }
        let mut seen = Vec::new();
        while let Some(what) = schedule.next() {
            assert_eq!(schedule.now_ms(), what);
            seen.push(what);
        }
        assert_eq!(seen, [1, 1, 5, 9]);
    }

    #[test]
    fn one_moment_has_no_order_of_its_own() {
        let order_of = |seed| {
            let mut random = Random::new(seed);
            let mut schedule = Schedule::new();
            for number in 0..8 {
                schedule.after(1, number, &mut random);
            }
            std::iter::from_fn(move || schedule.next()).collect::<Vec<_>>()
        };
        assert_eq!(order_of(1), order_of(1));
        assert_ne!(order_of(1), order_of(2));
    }
}
