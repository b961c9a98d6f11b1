//! "It is time to stop": said once, on any thread, and heard by any number of tasks on all of them.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;

/// Who says it. Dropping says it too, so that nobody waits for what cannot come.
pub(crate) struct Stop(async_channel::Sender<Infallible>);

/// Where it is heard.
#[derive(Clone)]
pub(crate) struct StopSignal(async_channel::Receiver<Infallible>);

impl Stop {
    /// A pair of both sides.
    pub(crate) fn new() -> (Self, StopSignal) {
        // Nothing is ever sent: closing the channel is the message.
        let (sender, receiver) = async_channel::bounded(1);
        (Self(sender), StopSignal(receiver))
    }

    /// Says it.
    pub(crate) fn stop(&self) {
        self.0.close();
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.stop();
    }
}

impl StopSignal {
    /// Whether it was said.
    pub(crate) fn is_stopped(&self) -> bool {
        self.0.is_closed()
    }

    /// Completes when it is said.
    pub(crate) fn stopped(&self) -> Stopped {
        Stopped(Box::pin(self.0.clone()))
    }
}

/// Waits for a [`Stop`].
pub(crate) struct Stopped(Pin<Box<async_channel::Receiver<Infallible>>>);

impl Future for Stopped {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll_next(cx).map(|_| ())
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stop").field(&self.0.is_closed()).finish()
    }
}

impl fmt::Debug for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StopSignal").field(&self.is_stopped()).finish()
    }
}

impl fmt::Debug for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stopped").field(&self.0.is_closed()).finish()
    }
}
