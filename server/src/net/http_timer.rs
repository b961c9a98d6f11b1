//! glommio's timers as hyper wants them, for the keep-alive of connections.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use hyper::rt::{Sleep, Timer};
use send_wrapper::SendWrapper;

use super::runtime::sleep;
use crate::clock;

/// Timers of this executor.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalTimer;

impl Timer for LocalTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(LocalSleep::new(Box::pin(sleep(duration))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(clock::monotonic()))
    }

    fn now(&self) -> Instant {
        clock::monotonic()
    }
}

/// hyper asks for `Send`, and never sends it: connections stay on their executor. It also asks again after the time
/// has come, which a future of ours does not stand.
struct LocalSleep(SendWrapper<Option<LocalBoxFuture<'static, ()>>>);

impl LocalSleep {
    fn new(sleep: LocalBoxFuture<'static, ()>) -> Self {
        Self(SendWrapper::new(Some(sleep)))
    }
}

impl Future for LocalSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = &mut *self.0 {
            ready!(sleep.as_mut().poll(cx));
            *self.0 = None;
        }
        Poll::Ready(())
    }
}

impl Sleep for LocalSleep {}

#[cfg(test)]
mod tests {
    use futures_util::task::noop_waker_ref;

    use super::*;

    #[test]
    fn time_that_has_come_may_be_asked_for_again() {
        let mut sleep = Box::pin(LocalSleep::new(Box::pin(async {})));
        let cx = &mut Context::from_waker(noop_waker_ref());
        for _ in 0..3 {
            assert!(sleep.as_mut().poll(cx).is_ready());
        }
    }
}
