//! Which session sends which partitions, and what is ready to be sent. A partition moves from one
//! session to another only when no answer is awaited: two streams never carry it at once.

use std::{collections::VecDeque, task::Waker};

use forebay_format::PartitionIndex;
use tokio::time::Instant;

use super::Outbox;
use crate::producer::partition::Sealed;

/// What one session has to do.
#[derive(Debug, Default)]
pub(super) struct SessionQueue {
    /// Partitions that may have something to send. Invariant: each at most once (`queued`).
    ready: VecDeque<usize>,
    /// Counts the session's streams; a stream of an older count is over.
    stream: u64,
    /// Whoever waits for something to send.
    waker: Option<Waker>,
}

impl Outbox {
    /// One more session.
    pub(in crate::producer) fn add_session(&mut self) -> usize {
        self.sessions.push(SessionQueue::default());
        self.sessions.len() - 1
    }

    /// Whether a session sends, or will send, this partition's batches.
    pub(in crate::producer) fn is_placed(&self, at: usize) -> bool {
        self.partitions[at].session.or(self.partitions[at].moving_to).is_some()
    }

    /// Gives a partition to a session, at once or when the answers it waits for have come.
    pub(in crate::producer) fn assign(&mut self, at: usize, session: usize) {
        let partition = &mut self.partitions[at];
        partition.moving_to = (partition.session != Some(session)).then_some(session);
        self.move_when_settled(at);
        // One that was to go away, and stays after all, was passed over meanwhile.
        self.enqueue(at);
    }

    pub(super) fn move_when_settled(&mut self, at: usize) {
        let partition = &mut self.partitions[at];
        if partition.lane.awaited() == 0
            && let Some(session) = partition.moving_to.take()
        {
            partition.session = Some(session);
            partition.queued = false;
            self.enqueue(at);
        }
    }

    /// A new stream of a session begins; the last one is over. Returns the stream's number.
    pub(in crate::producer) fn begin_stream(&mut self, session: usize) -> u64 {
        self.sessions[session].stream += 1;
        self.sessions[session].stream
    }

    /// The session's stream is gone: what was not answered will be sent again.
    pub(in crate::producer) fn end_stream(&mut self, session: usize, now: Instant) -> bool {
        self.stop_sending(session);
        let mut timer_changed = false;
        for at in 0..self.partitions.len() {
            if self.partitions[at].session == Some(session) {
                self.partitions[at].lane.disconnected(now);
                timer_changed |= self.arm_pause(at);
                self.move_when_settled(at);
                self.enqueue(at);
            }
        }
        timer_changed
    }

    /// The session's stream takes no more batches; answers may still come.
    pub(in crate::producer) fn stop_sending(&mut self, session: usize) {
        let queue = &mut self.sessions[session];
        queue.stream += 1;
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
    }

    /// Whether the session has anything to send. If not, `waker` is called when it has.
    pub(in crate::producer) fn poll_ready(
        &mut self,
        session: usize,
        waker: &Waker,
        now: Instant,
    ) -> bool {
        let partitions = &self.partitions;
        let queue = &mut self.sessions[session];
        let ready = queue
            .ready
            .iter()
            .any(|&at| partitions[at].session == Some(session) && partitions[at].can_take(now));
        if !ready {
            queue.waker = Some(waker.clone());
        }
        ready
    }

    /// Whether this is still the session's stream.
    pub(in crate::producer) fn is_current(&self, session: usize, stream: u64) -> bool {
        self.sessions[session].stream == stream && !self.abandoned
    }

    /// The next batch for the session's stream: partition, serial, batch.
    pub(in crate::producer) fn take(
        &mut self,
        session: usize,
        now: Instant,
    ) -> Option<(PartitionIndex, u64, &Sealed)> {
        let at = loop {
            let at = self.sessions[session].ready.pop_front()?;
            let partition = &mut self.partitions[at];
            if partition.session == Some(session) {
                partition.queued = false;
                if partition.can_take(now) {
                    break at;
                }
            }
        };
        // To the back of the queue, so that partitions take turns.
        self.partitions[at].queued = true;
        self.sessions[session].ready.push_back(at);
        let partition = &mut self.partitions[at];
        let index = partition.ticket(0).partition;
        let (serial, sealed) = partition.take(now).expect("can_take was asked");
        Some((index, serial, sealed))
    }

    /// Nothing to send: `waker` is called when there is.
    pub(in crate::producer) fn wait(&mut self, session: usize, waker: &Waker) {
        match &mut self.sessions[session].waker {
            Some(present) => present.clone_from(waker),
            empty => *empty = Some(waker.clone()),
        }
    }

    pub(super) fn enqueue(&mut self, at: usize) {
        let partition = &mut self.partitions[at];
        let Some(session) = partition.session else { return };
        let queue = &mut self.sessions[session];
        if !partition.queued {
            partition.queued = true;
            queue.ready.push_back(at);
        }
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
    }
}
