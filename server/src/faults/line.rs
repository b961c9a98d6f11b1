//! Messages that wait because of a fault, and those behind them: they leave in the order in which they came. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Effect;

/// Messages that may wait. Further ones are swallowed, as on a network that is stopped up.
pub(super) const LINE_MESSAGES_MAX: usize = 4096;

/// See the module.
#[derive(Debug)]
pub(crate) struct Line<T>(VecDeque<(T, Until)>);

/// What a message waits for, besides those before it.
#[derive(Debug, Clone, Copy)]
enum Until {
    Nothing,
    Time(Instant),
    /// The end of this fault.
    Fault(u64),
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Line<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a message that meets this effect. `false` when it is swallowed: by the fault, or because too
    /// many wait.
    pub(crate) fn push(&mut self, message: T, effect: Effect, now: Instant) -> bool {
        let until = match effect {
            Effect::Pass => Until::Nothing,
            Effect::Delay(by) => Until::Time(now + by),
            Effect::KeepBack(fault) => Until::Fault(fault),
            Effect::Drop => return false,
        };
        if self.0.len() >= LINE_MESSAGES_MAX {
            return false;
        }
        self.0.push_back((message, until));
        true
    }

    /// The next message that may go on. `keeps_back` says so of a fault.
    pub(crate) fn pop(&mut self, now: Instant, keeps_back: impl Fn(u64) -> bool) -> Option<T> {
        let waits = match self.0.front()?.1 {
            Until::Nothing => false,
            Until::Time(until) => now < until,
            Until::Fault(fault) => keeps_back(fault),
        };
        if waits { None } else { self.0.pop_front().map(|(message, _)| message) }
    }

    /// Swallows all of them: the stream that they were on is gone.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// How often a line that is not empty is looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn leave(line: &mut Line<u32>, now: Instant, keeps_back: bool) -> Vec<u32> {
        std::iter::from_fn(|| line.pop(now, |_| keeps_back)).collect()
    }

    #[test]
    fn messages_leave_in_their_order_whatever_each_waits_for() {
        let (mut line, start) = (Line::default(), crate::clock::monotonic());
        let after = |ms| start + Duration::from_millis(ms);
        let delay = |ms| Effect::Delay(Duration::from_millis(ms));
        assert!(line.push(1, Effect::Pass, start));
        assert!(line.push(2, delay(50), start));
        assert!(line.push(3, Effect::Pass, start));
        assert!(line.push(4, delay(20), start));
        assert!(line.push(5, Effect::KeepBack(7), start));
        assert!(line.push(6, Effect::Pass, start));
        assert!(!line.push(0, Effect::Drop, start));
        for (at, keeps_back, expected) in [
            (after(0), true, vec![1]),
            (after(49), true, vec![]),
            (after(50), true, vec![2, 3, 4]),
            (after(9999), true, vec![]),
            (after(9999), false, vec![5, 6]),
        ] {
            assert_eq!(leave(&mut line, at, keeps_back), expected);
        }
        assert!(line.is_empty());
    }

    #[test]
    fn line_that_nobody_takes_from_does_not_grow_for_ever() {
        let (mut line, now) = (Line::default(), crate::clock::monotonic());
        let taken = (0..2 * LINE_MESSAGES_MAX).filter(|_| line.push(0, Effect::KeepBack(1), now));
        assert_eq!(taken.count(), LINE_MESSAGES_MAX);
        line.clear();
        assert!(line.is_empty());
    }
}
