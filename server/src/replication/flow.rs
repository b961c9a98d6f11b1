//! How much one follower was sent of one partition and has not made durable yet (R14): so that a slow one
//! holds back nobody but itself, and its memory is bounded.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use forebay_format::Position;

use crate::net;

/// Bytes of one partition that may be on their way to one follower.
const IN_FLIGHT_BYTES: usize = 8 * 1024 * 1024;

/// Whoever waits goes on after this long: what was sent may have been lost without a word.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Flow(RefCell<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Where each run ended that was sent, and its bytes.
    sent: VecDeque<(Position, usize)>,
    bytes: usize,
    waiting: Option<Waker>,
}

impl Flow {
    /// Waits until more may be sent behind `after`. What was sent beyond it is sent again, and counts no more.
    pub(super) async fn room(&self, after: Position) {
        self.again(after);
        net::timeout(PATIENCE, poll_fn(|cx| self.poll_room(cx))).await;
    }

    /// What was sent beyond `after` is sent again.
    fn again(&self, after: Position) {
        self.0.borrow_mut().forget(|upto| upto > after);
    }

    fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut inner = self.0.borrow_mut();
        if inner.bytes < IN_FLIGHT_BYTES {
            return Poll::Ready(());
        }
        inner.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    /// A run was sent that ends at `upto`.
    pub(super) fn sent(&self, upto: Position, bytes: usize) {
        let mut inner = self.0.borrow_mut();
        inner.bytes += bytes;
        inner.sent.push_back((upto, bytes));
    }

    /// The follower has made everything up to here durable.
    pub(super) fn durable(&self, durable: Position) {
        self.0.borrow_mut().forget(|upto| upto <= durable);
    }

    /// The way to the follower broke.
    pub(super) fn lost(&self) {
        self.0.borrow_mut().forget(|_| true);
    }
}

impl Inner {
    fn forget(&mut self, which: impl Fn(Position) -> bool) {
        let bytes = &mut self.bytes;
        self.sent.retain(|(upto, run)| {
            let goes = which(*upto);
            if goes {
                *bytes -= run;
            }
            !goes
        });
        if *bytes < IN_FLIGHT_BYTES
            && let Some(waiting) = self.waiting.take()
        {
            waiting.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay_format::{Epoch, Offset};

    use super::*;
    use crate::replication::testing::Wakes;

    const HALF: usize = IN_FLIGHT_BYTES / 2;

    fn at(end: u64) -> Position {
        Position::new(Epoch::new(3), Offset::new(end))
    }

    #[test]
    fn a_follower_that_makes_nothing_durable_is_sent_only_so_much() {
        let (flow, wakes) = (Flow::default(), Wakes::new());
        assert!(flow.poll_room(&wakes.context()).is_ready());
        flow.sent(at(1), HALF);
        assert!(flow.poll_room(&wakes.context()).is_ready());
        flow.sent(at(2), HALF);
        assert!(flow.poll_room(&wakes.context()).is_pending());
        flow.durable(at(0));
        assert_eq!(wakes.count(), 0, "nothing has become durable");
        flow.durable(at(1));
        assert_eq!(wakes.count(), 1);
        assert!(flow.poll_room(&wakes.context()).is_ready());
        assert_eq!(flow.0.borrow().bytes, HALF);
        flow.durable(at(9));
        assert_eq!(flow.0.borrow().bytes, 0);
    }

    #[test]
    fn what_is_sent_again_counts_once() {
        let (flow, wakes) = (Flow::default(), Wakes::new());
        flow.sent(at(1), HALF);
        flow.sent(at(2), HALF);
        flow.again(at(1));
        assert!(flow.poll_room(&wakes.context()).is_ready());
        flow.sent(at(2), HALF);
        assert_eq!(flow.0.borrow().bytes, 2 * HALF);
    }

    #[test]
    fn a_run_of_an_epoch_that_was_cut_off_is_durable_with_any_later_position() {
        let flow = Flow::default();
        flow.sent(Position::new(Epoch::new(2), Offset::new(50)), HALF);
        flow.durable(at(1));
        assert_eq!(flow.0.borrow().bytes, 0);
    }

    #[test]
    fn with_the_way_goes_all_that_was_on_it() {
        let (flow, wakes) = (Flow::default(), Wakes::new());
        flow.sent(at(1), HALF);
        flow.sent(at(2), HALF);
        assert!(flow.poll_room(&wakes.context()).is_pending());
        flow.lost();
        assert_eq!((wakes.count(), flow.0.borrow().bytes), (1, 0));
        flow.durable(at(2));
        assert_eq!(flow.0.borrow().bytes, 0, "nothing goes twice");
    }
}
