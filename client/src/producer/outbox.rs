//! Everything a producer has accepted and not yet reported: its partitions, which session sends
//! which of them, what is ready to be sent, and which times must be watched. No I/O; the callers
//! hold the lock, pass the time in, and carry out what is asked of them.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::Arc,
    task::Waker,
};

use forebay_format::{PartitionIndex, RecordInput};
use tokio::time::Instant;

use super::{
    PreparedBatch, ProducerOptions, Record, SendError, Ticket,
    partition::{Accepted, Identity, Partition, Sealed, Waiter},
    report::{DeliveryError, DeliveryFailure, DeliveryReport},
};
use crate::{partitioner::partition_of_key, refusal::reason, wire::Produced};

/// With more partitions than this, each gets smaller batches, so that half-filled ones of all
/// partitions together stay within the buffer.
const FULL_BATCHES_PER_BUFFER: usize = 2;
/// A sender lets other tasks run after so many bytes, so that batches reach the connection while they
/// are in the processor's cache.
const BYTES_PER_TURN: usize = 256 * 1024;
/// Batches are not made smaller than this.
const BATCH_BYTES_MIN: usize = 4 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Outbox {
    options: ProducerOptions,
    identity: Identity,
    partitions: Vec<Partition>,
    sessions: Vec<SessionQueue>,
    timers: BinaryHeap<Reverse<Timer>>,
    /// Batches accepted and not yet reported, in bytes.
    buffered_bytes: usize,
    batch_bytes: usize,
    /// Bytes accepted since senders last let others run.
    bytes_this_turn: usize,
    reports: VecDeque<DeliveryReport>,
    first_error: Option<DeliveryError>,
    /// Where records without partition and key go now.
    sticky: usize,
    closed: bool,
    /// The producer is gone: no stream is current any more.
    abandoned: bool,
}

/// What one session has to do.
#[derive(Debug, Default)]
struct SessionQueue {
    /// Partitions that may have something to send. Invariant: each at most once (`queued`).
    ready: VecDeque<usize>,
    /// Counts the session's streams; a stream of an older count is over.
    stream: u64,
    /// Whoever waits for something to send.
    waker: Option<Waker>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Timer {
    at: Instant,
    partition: usize,
    kind: TimerKind,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum TimerKind {
    /// The open batch of this number has waited long enough.
    Linger(u64),
    /// A pause after a refusal is over.
    Pause,
    /// The oldest batch may be too old.
    Deadline,
}

/// What a caller has to do after a record was accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) ticket: Ticket,
    /// The clock must look at the timers again.
    pub(super) timer_changed: bool,
    /// Enough became ready to let the connection have a turn.
    pub(super) yield_now: bool,
}

/// What a caller has to do after answers came.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Effects {
    /// The clock must look at the timers again.
    pub(super) timer_changed: bool,
    /// A partition does not seem to be where it was thought to be.
    pub(super) misplaced: bool,
}

impl std::ops::BitOrAssign for Effects {
    fn bitor_assign(&mut self, other: Self) {
        self.timer_changed |= other.timer_changed;
        self.misplaced |= other.misplaced;
    }
}

impl Outbox {
    pub(super) fn new(options: ProducerOptions, identity: Identity) -> Self {
        Self {
            batch_bytes: options.batch_bytes,
            options,
            identity,
            partitions: Vec::new(),
            sessions: Vec::new(),
            timers: BinaryHeap::new(),
            buffered_bytes: 0,
            bytes_this_turn: 0,
            reports: VecDeque::new(),
            first_error: None,
            sticky: 0,
            closed: false,
            abandoned: false,
        }
    }

    /// Makes room for partitions up to this number. There are never fewer again.
    pub(super) fn grow(&mut self, count: usize) {
        if self.partitions.is_empty() {
            let each = self.options.buffer_bytes / (FULL_BATCHES_PER_BUFFER * count.max(1));
            self.batch_bytes = self.options.batch_bytes.min(each.max(BATCH_BYTES_MIN));
        }
        for at in self.partitions.len()..count {
            let index = PartitionIndex::new(u32::try_from(at).expect("partitions are u32"));
            let (bytes, window) = (self.batch_bytes, self.options.in_flight);
            let mut partition = Partition::new(index, bytes, window, self.identity);
            let resume = self.options.resume.as_ref().filter(|_| self.options.idempotent);
            if let Some(next) = resume.and_then(|resume| resume.next_sequences.get(&index)) {
                partition.begin_at(*next);
            }
            self.partitions.push(partition);
        }
    }

    pub(super) fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.buffered_bytes
    }

    // ---- accepting ----

    /// Accepts a record.
    #[inline]
    pub(super) fn accept(
        &mut self,
        record: &Record<'_>,
        input: &RecordInput<'_>,
    ) -> Result<Placed, SendError> {
        let at = self.choose(record)?;
        self.check(at)?;
        let partition = &mut self.partitions[at];
        let accepted = match partition.accept(input) {
            Ok(accepted) => accepted,
            Err(error) => {
                // The open batch may have been closed to make room.
                self.enqueue(at);
                return Err(error.into());
            }
        };
        let ticket = partition.ticket(accepted.sequence);
        let yield_now = self.charge(accepted.grown);
        let timer_changed = self.after_accept(at, accepted);
        Ok(Placed { ticket, timer_changed, yield_now })
    }

    /// Accepts a batch.
    pub(super) fn accept_batch(
        &mut self,
        partition: PartitionIndex,
        batch: &PreparedBatch,
    ) -> Result<Placed, SendError> {
        let at = self.index_of(partition)?;
        self.check(at)?;
        let sequence = self.partitions[at].accept_batch(batch);
        let yield_now = self.charge(batch.batch_bytes());
        self.enqueue(at);
        let timer_changed = self.arm_deadline(at);
        Ok(Placed { ticket: Ticket { partition, sequence }, timer_changed, yield_now })
    }

    #[inline]
    fn charge(&mut self, bytes: usize) -> bool {
        self.buffered_bytes += bytes;
        self.bytes_this_turn += bytes;
        let turn_is_over = self.bytes_this_turn >= BYTES_PER_TURN;
        if turn_is_over {
            self.bytes_this_turn = 0;
        }
        turn_is_over
    }

    #[inline]
    fn check(&self, at: usize) -> Result<(), SendError> {
        if self.buffered_bytes >= self.options.buffer_bytes {
            let limit = self.options.buffer_bytes;
            return Err(SendError::Full { buffered_bytes: self.buffered_bytes, limit });
        }
        if self.closed {
            return Err(SendError::Closed);
        }
        let partition = &self.partitions[at];
        if let Some(cause) = partition.failure() {
            let partition = partition.ticket(0).partition;
            return Err(SendError::PartitionFailed { partition, cause: Arc::clone(cause) });
        }
        Ok(())
    }

    #[inline]
    fn choose(&self, record: &Record<'_>) -> Result<usize, SendError> {
        match (record.partition, record.key) {
            (Some(partition), _) => self.index_of(partition),
            (None, Some(key)) => {
                let count = u32::try_from(self.partitions.len()).expect("partitions are u32");
                Ok(partition_of_key(key, count) as usize)
            }
            (None, None) => Ok(self.sticky),
        }
    }

    fn index_of(&self, partition: PartitionIndex) -> Result<usize, SendError> {
        let at = partition.get() as usize;
        if at < self.partitions.len() {
            return Ok(at);
        }
        let partitions = u32::try_from(self.partitions.len()).expect("partitions are u32");
        Err(SendError::NoSuchPartition { partition, partitions })
    }

    #[inline]
    fn after_accept(&mut self, at: usize, accepted: Accepted) -> bool {
        let mut sealed = accepted.sealed;
        let partition = &mut self.partitions[at];
        if partition.is_nearly_full(self.batch_bytes, accepted.grown) {
            partition.seal();
            sealed = true;
        }
        let mut timer_changed = false;
        if let Some(opening) = accepted.opened {
            timer_changed = self.arm_deadline(at);
            if self.options.linger.is_zero() {
                self.partitions[at].make_due(Some(opening));
                self.enqueue(at);
            } else if self.partitions[at].is_open() {
                let when = Instant::now() + self.options.linger;
                timer_changed |= self.arm(when, at, TimerKind::Linger(opening));
            }
        }
        if sealed {
            self.enqueue(at);
            if at == self.sticky {
                self.sticky = (at + 1) % self.partitions.len();
            }
        }
        timer_changed
    }

    // ---- flushing and waiting ----

    /// Lets every open batch go.
    pub(super) fn make_all_due(&mut self) {
        for at in 0..self.partitions.len() {
            self.make_due(at);
        }
    }

    /// Lets the open batch of one partition go.
    pub(super) fn make_due(&mut self, at: usize) {
        if self.partitions[at].make_due(None) {
            self.enqueue(at);
        }
    }

    /// Somebody wants to hear of one record, which was accepted under the same lock.
    pub(super) fn wait_for(&mut self, ticket: Ticket, waiter: Waiter) {
        let at = ticket.partition.get() as usize;
        self.partitions[at].wait_for(waiter);
        self.make_due(at);
    }

    /// Where each partition must have reported up to, for everything accepted by now.
    pub(super) fn targets(&self) -> Vec<(usize, u64)> {
        let busy = self.partitions.iter().enumerate().filter(|(_, one)| !one.is_idle());
        busy.map(|(at, one)| (at, one.next_sequence())).collect()
    }

    /// Takes away the targets that were reached.
    pub(super) fn drop_reached(&self, targets: &mut Vec<(usize, u64)>) {
        targets.retain(|&(at, sequence)| self.partitions[at].reported() < sequence);
    }

    /// The first failure there was.
    pub(super) fn first_error(&self) -> Option<&DeliveryError> {
        self.first_error.as_ref()
    }

    /// Takes no more records.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.make_all_due();
    }

    /// Gives up what is not acknowledged, without a report, and ends every stream. HTTP/2 keeps the
    /// body of a stream, and with it all this, until the body ends by itself.
    pub(super) fn abandon(&mut self) {
        self.closed = true;
        self.abandoned = true;
        self.fail_all(&Arc::new(DeliveryFailure::Closed));
        self.reports = VecDeque::new();
        for session in 0..self.sessions.len() {
            self.stop_sending(session);
        }
    }

    // ---- sessions ----

    /// One more session.
    pub(super) fn add_session(&mut self) -> usize {
        self.sessions.push(SessionQueue::default());
        self.sessions.len() - 1
    }

    /// Whether a session sends, or will send, this partition's batches.
    pub(super) fn is_placed(&self, at: usize) -> bool {
        self.partitions[at].session.or(self.partitions[at].moving_to).is_some()
    }

    /// Gives a partition to a session, at once or when the answers it waits for have come.
    pub(super) fn assign(&mut self, at: usize, session: usize) {
        let partition = &mut self.partitions[at];
        partition.moving_to = (partition.session != Some(session)).then_some(session);
        self.move_when_settled(at);
    }

    fn move_when_settled(&mut self, at: usize) {
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
    pub(super) fn begin_stream(&mut self, session: usize) -> u64 {
        self.sessions[session].stream += 1;
        self.sessions[session].stream
    }

    /// The session's stream is gone: what was not answered will be sent again.
    pub(super) fn end_stream(&mut self, session: usize, now: Instant) -> bool {
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
    pub(super) fn stop_sending(&mut self, session: usize) {
        let queue = &mut self.sessions[session];
        queue.stream += 1;
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
    }

    /// Ends every partition of a session.
    pub(super) fn fail_session(&mut self, session: usize, cause: &Arc<DeliveryFailure>) {
        for at in 0..self.partitions.len() {
            if self.partitions[at].session == Some(session) {
                self.fail(at, cause);
            }
        }
    }

    /// Ends every partition.
    pub(super) fn fail_all(&mut self, cause: &Arc<DeliveryFailure>) {
        for at in 0..self.partitions.len() {
            self.fail(at, cause);
        }
    }

    /// Whether the session has anything to send. If not, `waker` is called when it has.
    pub(super) fn poll_ready(&mut self, session: usize, waker: &Waker, now: Instant) -> bool {
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
    pub(super) fn is_current(&self, session: usize, stream: u64) -> bool {
        self.sessions[session].stream == stream && !self.abandoned
    }

    /// The next batch for the session's stream: partition, serial, batch.
    pub(super) fn take(
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
    pub(super) fn wait(&mut self, session: usize, waker: &Waker) {
        match &mut self.sessions[session].waker {
            Some(present) => present.clone_from(waker),
            empty => *empty = Some(waker.clone()),
        }
    }

    fn enqueue(&mut self, at: usize) {
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

    // ---- answers ----

    /// Takes in the answer to a batch.
    pub(super) fn answer(&mut self, produced: Produced, now: Instant) -> Effects {
        let at = produced.partition.get() as usize;
        let Some(partition) = self.partitions.get_mut(at) else { return Effects::default() };
        let misplaced = matches!(&produced.outcome, Err(one) if one.reason == reason::NOT_LEADER);
        if let Err(failure) = partition.answer(produced.request_id, produced.outcome, now) {
            self.fail(at, &Arc::new(failure));
            return Effects::default();
        }
        while let Some(ack) = partition.pop_report(now) {
            self.buffered_bytes -= ack.batch_bytes;
            self.reports.push_back(Ok(ack));
        }
        let timer_changed = self.arm_pause(at);
        self.move_when_settled(at);
        if self.partitions[at].can_take(now) {
            self.enqueue(at);
        }
        Effects { timer_changed, misplaced }
    }

    fn fail(&mut self, at: usize, cause: &Arc<DeliveryFailure>) {
        if self.partitions[at].failure().is_some() {
            return;
        }
        let (reports, bytes) = self.partitions[at].fail(cause);
        self.buffered_bytes -= bytes;
        for report in reports {
            if let (None, Err(error)) = (&self.first_error, &report) {
                self.first_error = Some(error.clone());
            }
            self.reports.push_back(report);
        }
        if at == self.sticky {
            self.sticky = (at + 1) % self.partitions.len();
        }
    }

    /// Whether there is something to report.
    pub(super) fn has_reports(&self) -> bool {
        !self.reports.is_empty()
    }

    /// What there is to report.
    pub(super) fn take_reports(&mut self) -> VecDeque<DeliveryReport> {
        std::mem::take(&mut self.reports)
    }

    // ---- time ----

    /// Does what is due, and returns when to come back.
    pub(super) fn fire_timers(&mut self, now: Instant) -> Option<Instant> {
        loop {
            match self.timers.peek() {
                Some(Reverse(timer)) if timer.at <= now => {}
                other => return other.map(|Reverse(timer)| timer.at),
            }
            let Reverse(timer) = self.timers.pop()?;
            let at = timer.partition;
            match timer.kind {
                TimerKind::Linger(opening) => {
                    if self.partitions[at].make_due(Some(opening)) {
                        self.enqueue(at);
                    }
                }
                TimerKind::Pause => self.enqueue(at),
                TimerKind::Deadline => self.check_deadline(at, now),
            }
        }
    }

    fn check_deadline(&mut self, at: usize, now: Instant) {
        let Some(waited) = self.options.delivery_deadline else { return };
        self.partitions[at].deadline_armed = false;
        let Some(accepted_at) = self.partitions[at].oldest_accepted_at() else { return };
        if accepted_at + waited <= now {
            let last = self.partitions[at].lane.last_error().cloned();
            self.fail(at, &Arc::new(DeliveryFailure::DeadlineExceeded { waited, last }));
        } else {
            self.arm_deadline(at);
        }
    }

    fn arm_deadline(&mut self, at: usize) -> bool {
        let Some(deadline) = self.options.delivery_deadline else { return false };
        let partition = &mut self.partitions[at];
        let (false, Some(oldest)) = (partition.deadline_armed, partition.oldest_accepted_at())
        else {
            return false;
        };
        partition.deadline_armed = true;
        self.arm(oldest + deadline, at, TimerKind::Deadline)
    }

    fn arm_pause(&mut self, at: usize) -> bool {
        match self.partitions[at].lane.paused_until() {
            Some(until) => self.arm(until, at, TimerKind::Pause),
            None => false,
        }
    }

    /// True when this timer is now the first.
    fn arm(&mut self, at: Instant, partition: usize, kind: TimerKind) -> bool {
        let first = self.timers.peek().is_none_or(|Reverse(first)| at < first.at);
        self.timers.push(Reverse(Timer { at, partition, kind }));
        first
    }
}
