//! Sending a follower, or a candidate, what it lacks: from memory while it is close behind, from the log
//! otherwise (R14).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use forebay_engine::{Stored, StoredReader};
use forebay_format::{NodeId, Position};
use forebay_replication::{Event, LogEvent, Message};

use super::driver::Driver;
use super::flow::Flow;
use super::window::Run;
use crate::net;

/// Bytes of batches in one message, if more than one batch has so many.
const LIVE_BYTES: usize = 256 * 1024;

/// The same for a replica that catches up: larger reads, fewer messages.
const CATCH_UP_BYTES: usize = 1024 * 1024;

/// How long a log that cannot be read is left alone.
const READ_RETRY: Duration = Duration::from_secs(1);

/// What is kept for those who are fed.
#[derive(Default)]
pub(super) struct Feeds {
    flows: RefCell<HashMap<NodeId, Rc<Flow>>>,
    /// Each keeps its place in the log.
    readers: RefCell<HashMap<NodeId, StoredReader>>,
    changes: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Feeds {
    /// What a node was sent and has not made durable.
    pub(super) fn flow(&self, node: NodeId) -> Rc<Flow> {
        Rc::clone(self.flows.borrow_mut().entry(node).or_default())
    }

    /// What is durable has moved, or the replica's part has changed: whoever waits looks again.
    pub(super) fn interrupt(&self) {
        self.changes.set(self.changes.get() + 1);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Waits for the next [`Feeds::interrupt`] since there had been `seen`.
    async fn beyond(&self, seen: u64) {
        poll_fn(|cx| {
            if self.changes.get() != seen {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// What follows a position.
enum Following {
    Run(Run),
    /// Nothing, so far.
    Nothing,
    /// It is not stored any more.
    Gone,
}

impl Driver {
    /// Sends batches that follow `after` in `envelope`, and says how far that went.
    pub(super) async fn feed(
        self: Rc<Self>,
        to: (NodeId, bool),
        after: Position,
        batches_max: usize,
        envelope: Message,
    ) {
        let (node, catching_up) = to;
        let Some(destination) = self.destination(node, catching_up) else {
            // Not known to the cluster at present.
            self.peer_lost(node);
            return;
        };
        let epoch = envelope.epoch();
        let (link, flow) = (self.surroundings.links.to(destination), self.feeds.flow(node));
        flow.room(after).await;
        link.room().await;
        let bytes_max = if catching_up { CATCH_UP_BYTES } else { LIVE_BYTES };
        let upto = loop {
            // Who asked for this does not lead any more, and expects no word of it.
            if self.with_replica(|replica| replica.promised() == epoch) != Some(true) {
                return;
            }
            let seen = self.feeds.changes.get();
            match self.following(node, after, (batches_max, bytes_max), &envelope).await {
                Following::Run(Run { batches, bytes, upto }) => {
                    flow.sent(upto, bytes);
                    self.send_with(to, &envelope, batches);
                    break upto;
                }
                Following::Gone => break after,
                Following::Nothing if matches!(envelope, Message::Fetched { .. }) => {
                    self.send_with(to, &envelope, super::link::Batches::new());
                    break after;
                }
                // What was appended is not durable here, and not in memory either: the first batch of
                // an epoch is not.
                Following::Nothing => self.feeds.beyond(seen).await,
            }
        };
        self.handle(Event::Log(LogEvent::Sent { to: node, after, upto }));
    }

    async fn following(
        &self,
        node: NodeId,
        after: Position,
        (batches_max, bytes_max): (usize, usize),
        envelope: &Message,
    ) -> Following {
        // Others may be given what is durable here only.
        if matches!(envelope, Message::Append { .. })
            && let Some(run) = self.window.borrow().after(after, batches_max, bytes_max)
        {
            return Following::Run(run);
        }
        let known = self.feeds.readers.borrow_mut().remove(&node);
        let mut reader = known.unwrap_or_else(|| self.log.reader());
        let read = reader.read_after(after, bytes_max).await;
        self.feeds.readers.borrow_mut().insert(node, reader);
        match read {
            Ok(Stored::Run(run)) => {
                let (bytes, upto) = (run.bytes, run.upto);
                Following::Run(Run { batches: run.slices, bytes, upto })
            }
            Ok(Stored::AtEnd) => Following::Nothing,
            Ok(Stored::Gone) => Following::Gone,
            Err(error) => {
                tracing::warn!(partition = %self.id, %node, %error, "batches for a follower cannot be read");
                net::sleep(READ_RETRY).await;
                Following::Gone
            }
        }
    }
}

impl fmt::Debug for Feeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feeds").field("flows", &self.flows.borrow().len()).finish_non_exhaustive()
    }
}
