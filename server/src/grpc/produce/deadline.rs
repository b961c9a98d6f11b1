//! One timer for all deadlines of a stream.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::future::LocalBoxFuture;

use crate::net;

/// A timer that is moved only when an earlier deadline comes up: with equal timeouts it is set about once
/// in the length of a timeout, however many batches there are.
#[derive(Default)]
pub(super) struct Deadline {
    timer: Option<(Instant, LocalBoxFuture<'static, ()>)>,
}

impl Deadline {
    /// Ready when `earliest` has passed; otherwise woken then.
    pub(super) fn poll(
        &mut self,
        earliest: Option<Instant>,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(earliest) = earliest else { return Poll::Pending };
        if earliest <= now {
            return Poll::Ready(());
        }
        let late = self.timer.as_ref().is_none_or(|(set_to, _)| *set_to > earliest);
        if late {
            let timer = net::sleep(earliest.saturating_duration_since(now));
            self.timer = Some((earliest, Box::pin(timer)));
        }
        let Some((_, timer)) = &mut self.timer else { return Poll::Pending };
        if Pin::new(timer).poll(cx).is_ready() {
            // It was set for a batch that has its answer: look again, and set it for the next.
            self.timer = None;
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
