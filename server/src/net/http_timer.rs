//! glommio's timers as hyper wants them, for the keep-alive of connections.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
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
        Box::pin(LocalSleep(SendWrapper::new(Box::pin(sleep(duration)))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(clock::monotonic()))
    }

    fn now(&self) -> Instant {
        clock::monotonic()
    }
}

/// hyper asks for `Send`, and never sends it: connections stay on their executor.
struct LocalSleep(SendWrapper<LocalBoxFuture<'static, ()>>);

impl Future for LocalSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl Sleep for LocalSleep {}
