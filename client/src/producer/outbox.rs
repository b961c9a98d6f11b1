//! Everything a producer has accepted and not yet reported: its partitions, and what becomes of
//! records and answers. No I/O; the callers hold the lock and carry out what is asked of them. They
//! pass the time in, but for records: the time is asked once a batch is begun, not for each of them.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `queues` | which session sends which partitions, and what is ready to be sent |
//! | `timers` | which times must be watched |

mod queues;
#[cfg(test)]
mod tests;
mod timers;

use std::{collections::VecDeque, sync::Arc};

use forebay_format::{PartitionIndex, RecordInput};
use tokio::time::Instant;

use self::{
    queues::SessionQueue,
    timers::{TimerKind, Timers},
};
use super::{
    PreparedBatch, ProducerOptions, Record, SendError, Ticket,
    partition::{Accepted, Identity, Partition, Waiter},
    report::{DeliveryError, DeliveryFailure, DeliveryReport},
};
use crate::{
    partitioner::partition_of_key,
    refusal::{Refusal, reason},
    wire::Produced,
};

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
    timers: Timers,
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
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// The clock must look at the timers again.
    pub(super) timer_changed: bool,
    /// A partition does not seem to be where it was thought to be.
    pub(super) misplaced: Option<Refusal>,
}

impl std::ops::BitOrAssign for Effects {
    fn bitor_assign(&mut self, other: Self) {
        self.timer_changed |= other.timer_changed;
        self.misplaced = other.misplaced.or(self.misplaced.take());
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
            timers: Timers::default(),
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
                timer_changed |= self.timers.arm(when, at, TimerKind::Linger(opening));
            }
        }
        if sealed {
            self.enqueue(at);
            if at == self.sticky {
                self.move_sticky();
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

    /// Whether a sender must wait. With nothing but open batches there is nothing to wait for, until
    /// they go.
    pub(super) fn must_wait_for_room(&mut self) -> bool {
        let full = self.buffered_bytes >= self.options.buffer_bytes;
        if full && self.partitions.iter().all(|one| one.lane.is_empty()) {
            self.make_all_due();
        }
        full
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

    // ---- answers ----

    /// Takes in the answer to a batch.
    pub(super) fn answer(&mut self, produced: Produced, now: Instant) -> Effects {
        let at = produced.partition.get() as usize;
        let Some(partition) = self.partitions.get_mut(at) else { return Effects::default() };
        let refusal = produced.outcome.as_ref().err();
        let misplaced = refusal.filter(|refusal| refusal.reason == reason::NOT_LEADER).cloned();
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
            self.move_sticky();
        }
    }

    /// Records without partition and key go to the next partition that takes any.
    fn move_sticky(&mut self) {
        let (before, from) = (0..=self.sticky, self.sticky + 1..self.partitions.len());
        let next = from.chain(before).find(|&at| self.partitions[at].failure().is_none());
        self.sticky = next.unwrap_or(self.sticky);
    }

    /// Whether there is something to report.
    pub(super) fn has_reports(&self) -> bool {
        !self.reports.is_empty()
    }

    /// What there is to report.
    pub(super) fn take_reports(&mut self) -> VecDeque<DeliveryReport> {
        std::mem::take(&mut self.reports)
    }
}
