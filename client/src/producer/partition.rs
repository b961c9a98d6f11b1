//! One partition of a producer: the batch that is being filled, and those that are on their way.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use forebay_format::{
    BatchBuilder, PartitionIndex, ProducerEpoch, ProducerId, ProducerStamp, PushError, RecordInput,
    Sequence, limits::HEADER_BYTES,
};
use tokio::{sync::oneshot, time::Instant};

use super::{
    PreparedBatch, RecordAck, Ticket,
    lane::{Answer, Lane, Step},
    report::{BatchAck, DeliveryError, DeliveryFailure, DeliveryReport},
};
use crate::{
    refusal::{Refusal, reason},
    wire::AckFields,
};

/// Identity of an idempotent producer.
pub(super) type Identity = Option<(ProducerId, ProducerEpoch)>;

/// A batch that will not change any more.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) bytes: BatchBytes,
    pub(super) first_sequence: u64,
    pub(super) record_count: u32,
    /// When its first record was accepted.
    pub(super) accepted_at: Instant,
    /// When it was first handed to a connection.
    pub(super) sent_at: Option<Instant>,
    /// An attempt is under way, or was lost with its stream before the next one.
    unanswered: bool,
    /// An earlier attempt ended without anybody saying that it wrote nothing.
    uncertain: bool,
}

impl Sealed {
    fn new(
        bytes: BatchBytes,
        (first_sequence, record_count): (u64, u32),
        accepted_at: Instant,
    ) -> Self {
        Self {
            bytes,
            first_sequence,
            record_count,
            accepted_at,
            sent_at: None,
            unanswered: false,
            uncertain: false,
        }
    }

    fn sent(&mut self, now: Instant) {
        self.sent_at.get_or_insert(now);
        self.uncertain |= self.unanswered;
        self.unanswered = true;
    }

    fn refused(&mut self, refusal: &Refusal) {
        self.unanswered = false;
        self.uncertain |= refusal.reason == reason::INDETERMINATE || refusal.reason.is_empty();
    }
}

/// Header and payload, together or apart.
#[derive(Debug)]
pub(super) enum BatchBytes {
    Whole(Bytes),
    Apart { header: Box<[u8; HEADER_BYTES]>, payload: Bytes },
}

impl BatchBytes {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Whole(batch) => batch.len(),
            Self::Apart { payload, .. } => HEADER_BYTES + payload.len(),
        }
    }

    /// Copies what must be copied into `head`; the rest comes back as it is.
    pub(super) fn split_into(&self, head: &mut BytesMut) -> Bytes {
        match self {
            Self::Whole(batch) => batch.clone(),
            Self::Apart { header, payload } => {
                head.put_slice(&header[..]);
                payload.clone()
            }
        }
    }
}

/// The batch that is being filled.
#[derive(Debug)]
struct Open {
    accepted_at: Instant,
    /// It may go although it is not full.
    due: bool,
}

/// Somebody who waits for one record.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) sequence: u64,
    pub(super) answer: oneshot::Sender<Result<RecordAck, Arc<DeliveryFailure>>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Partition {
    index: PartitionIndex,
    pub(super) lane: Lane<Sealed, AckFields, Refusal>,
    builder: BatchBuilder,
    /// Invariant: `Some` exactly while the builder has records.
    open: Option<Open>,
    /// How many batches were opened: names the present one.
    openings: u64,
    /// Sequence of the next record to be accepted.
    next_sequence: u64,
    /// Every record of a lower sequence was reported.
    reported: u64,
    /// Invariant: ordered by sequence.
    waiters: VecDeque<Waiter>,
    identity: Identity,
    /// Set once, when it takes no more.
    failed: Option<Arc<DeliveryFailure>>,
    /// Index of the session that sends its batches.
    pub(super) session: Option<usize>,
    /// The session that is to send them once nothing is awaited any more: two streams must never
    /// carry batches of one partition at once. Nothing is sent meanwhile.
    pub(super) moving_to: Option<usize>,
    /// Whether it is in its session's queue.
    pub(super) queued: bool,
    /// Whether a timer for the delivery deadline runs.
    pub(super) deadline_armed: bool,
}

/// What accepting a record did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepted {
    pub(super) sequence: u64,
    /// By how much the buffered bytes grew.
    pub(super) grown: usize,
    /// The number of the batch that this record opened, if it did.
    pub(super) opened: Option<u64>,
    /// Whether a batch became full.
    pub(super) sealed: bool,
}

impl Partition {
    pub(super) fn new(
        index: PartitionIndex,
        batch_bytes: usize,
        window: usize,
        identity: Identity,
    ) -> Self {
        Self {
            index,
            lane: Lane::new(window, u64::from(index.get()).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            builder: BatchBuilder::new(batch_bytes),
            open: None,
            openings: 0,
            next_sequence: 0,
            reported: 0,
            waiters: VecDeque::new(),
            identity,
            failed: None,
            session: None,
            moving_to: None,
            queued: false,
            deadline_armed: false,
        }
    }

    /// Counts records from here on, as if those before had been reported. Only before the first.
    pub(super) fn begin_at(&mut self, sequence: u64) {
        assert_eq!(self.next_sequence, 0, "sequences never jump");
        self.next_sequence = sequence;
        self.reported = sequence;
    }

    pub(super) fn failure(&self) -> Option<&Arc<DeliveryFailure>> {
        self.failed.as_ref()
    }

    pub(super) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    pub(super) fn reported(&self) -> u64 {
        self.reported
    }

    /// Whether a batch is being filled.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether everything accepted was reported.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_none() && self.lane.is_empty()
    }

    /// Adds a record to the open batch, or to a new one when it does not fit.
    #[inline]
    pub(super) fn accept(&mut self, record: &RecordInput<'_>) -> Result<Accepted, PushError> {
        let before = self.builder.batch_bytes();
        let mut sealed = false;
        let grown = match self.builder.push(record) {
            Ok(()) => self.builder.batch_bytes() - before,
            Err(PushError::Full) => {
                self.seal();
                sealed = true;
                self.builder.push(record)?;
                self.builder.batch_bytes()
            }
            Err(error) => return Err(error),
        };
        let opened = self.open.is_none().then(|| self.open());
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        Ok(Accepted { sequence, grown, opened, sealed })
    }

    fn open(&mut self) -> u64 {
        self.openings += 1;
        self.open = Some(Open { accepted_at: Instant::now(), due: false });
        self.openings
    }

    /// Whether the open batch has no room for another record of about this many bytes.
    #[inline]
    pub(super) fn is_nearly_full(&self, batch_bytes: usize, record_bytes: usize) -> bool {
        self.builder.batch_bytes() + record_bytes > batch_bytes
    }

    /// Closes the open batch and puts it in the queue. No effect without one.
    pub(super) fn seal(&mut self) {
        let Some(open) = self.open.take() else { return };
        let record_count = self.builder.record_count();
        let first_sequence = self.next_sequence - u64::from(record_count);
        let bytes = self.builder.finish(self.stamp(first_sequence));
        let bytes = BatchBytes::Whole(bytes);
        self.lane.push(Sealed::new(bytes, (first_sequence, record_count), open.accepted_at));
    }

    fn stamp(&self, first_sequence: u64) -> ProducerStamp {
        self.identity.map_or(ProducerStamp::NONE, |(id, epoch)| ProducerStamp {
            id,
            epoch,
            first_sequence: Sequence::new(first_sequence),
        })
    }

    /// Puts a batch that was built elsewhere in the queue, behind everything accepted so far.
    /// Returns the sequence of its first record.
    pub(super) fn accept_batch(&mut self, batch: &PreparedBatch) -> u64 {
        self.seal();
        let first_sequence = self.next_sequence;
        self.next_sequence += u64::from(batch.record_count());
        let (header, payload) = batch.stamped(self.stamp(first_sequence));
        let bytes = BatchBytes::Apart { header: Box::new(header), payload };
        let records = (first_sequence, batch.record_count());
        self.lane.push(Sealed::new(bytes, records, Instant::now()));
        first_sequence
    }

    /// Lets the open batch go although it is not full. False when there is none, or it is another
    /// one than `opening` by now.
    pub(super) fn make_due(&mut self, opening: Option<u64>) -> bool {
        match &mut self.open {
            Some(open) if opening.is_none_or(|opening| opening == self.openings) => {
                open.due = true;
                true
            }
            _ => false,
        }
    }

    /// Whether `take` has something now.
    pub(super) fn can_take(&self, now: Instant) -> bool {
        self.moving_to.is_none()
            && (self.lane.can_take(now) || (self.open_is_due() && self.lane.has_room()))
    }

    fn open_is_due(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.due)
    }

    /// The next batch to send, with its serial. An open batch that is due is closed only now, so
    /// that it grows as long as the connection is busy.
    pub(super) fn take(&mut self, now: Instant) -> Option<(u64, &Sealed)> {
        if !self.lane.can_take(now) && self.open_is_due() && self.lane.has_room() {
            self.seal();
        }
        let (serial, sealed) = self.lane.take(now)?;
        sealed.sent(now);
        Some((serial, sealed))
    }

    /// The time from which the delivery deadline counts.
    pub(super) fn oldest_accepted_at(&self) -> Option<Instant> {
        let open = || self.open.as_ref().map(|open| open.accepted_at);
        self.lane.front().map(|sealed| sealed.accepted_at).or_else(open)
    }

    /// Takes in the server's answer to a batch. An error ends the partition.
    pub(super) fn answer(
        &mut self,
        serial: u64,
        outcome: Result<AckFields, Refusal>,
        now: Instant,
    ) -> Result<(), DeliveryFailure> {
        if let (Err(refusal), Some(sealed)) = (&outcome, self.lane.sent_mut(serial)) {
            sealed.refused(refusal);
        }
        let answer = match outcome {
            Ok(ack) => match self.lane.sent(serial).map(|sealed| sealed.record_count) {
                Some(expected) if expected != ack.record_count => {
                    let found = ack.record_count;
                    return Err(DeliveryFailure::RecordCount { found, expected });
                }
                _ => Answer::Acked(ack),
            },
            // Before its first batch is in the log, a producer is not known there at all.
            Err(refusal)
                if [reason::SEQUENCE_GAP, reason::PRODUCER_UNKNOWN]
                    .contains(&refusal.reason.as_str()) =>
            {
                Answer::Gap(refusal)
            }
            Err(refusal) if refusal.is_retriable() => {
                let at_least = refusal.retry_after.unwrap_or_default();
                Answer::Retriable(refusal, at_least)
            }
            Err(refusal) => Answer::Fatal(refusal),
        };
        let step = self.lane.answer(serial, answer);
        self.lane.pause_when_settled(now);
        match step {
            Step::Taken | Step::Stale => Ok(()),
            Step::Failed(refusal) if refusal.reason == reason::SEQUENCE_GAP => {
                Err(DeliveryFailure::AcknowledgedRecordsLost(refusal))
            }
            Step::Failed(refusal) => Err(DeliveryFailure::Refused(refusal)),
        }
    }

    /// The report of the oldest batch, once it is acknowledged.
    pub(super) fn pop_report(&mut self, now: Instant) -> Option<BatchAck> {
        let (_, sealed, ack) = self.lane.pop_acked()?;
        let report = BatchAck {
            partition: self.index,
            base_offset: ack.base_offset,
            record_count: sealed.record_count,
            first_sequence: sealed.first_sequence,
            durable_replicas: ack.durable_replicas,
            replicas: ack.replicas,
            epoch: ack.epoch,
            append_time: ack.append_time,
            duplicate: ack.duplicate,
            latency: now.saturating_duration_since(sealed.accepted_at),
            service_time: sealed
                .sent_at
                .map_or(Duration::ZERO, |sent_at| now.saturating_duration_since(sent_at)),
            acked_at: now.into_std(),
            batch_bytes: sealed.bytes.len(),
        };
        self.reported = sealed.first_sequence + u64::from(sealed.record_count);
        self.answer_waiters(&report);
        Some(report)
    }

    /// Somebody wants to hear of this record alone.
    pub(super) fn wait_for(&mut self, waiter: Waiter) {
        self.waiters.push_back(waiter);
    }

    fn answer_waiters(&mut self, ack: &BatchAck) {
        while let Some(waiter) = self.waiters.pop_front_if(|one| one.sequence < self.reported) {
            let answer = RecordAck {
                partition: self.index,
                offset: ack.base_offset + (waiter.sequence - ack.first_sequence),
                epoch: ack.epoch,
                durable_replicas: ack.durable_replicas,
                replicas: ack.replicas,
            };
            // An error means that nobody waits any more.
            let _nobody_waits = waiter.answer.send(Ok(answer));
        }
    }

    /// Ends the partition: a report for every batch it held, and the bytes they had.
    pub(super) fn fail(&mut self, cause: &Arc<DeliveryFailure>) -> (Vec<DeliveryReport>, usize) {
        self.seal();
        self.failed = Some(Arc::clone(cause));
        let partition = self.index;
        let mut bytes = 0;
        let reports = self
            .lane
            .drain()
            .map(|sealed| {
                bytes += sealed.bytes.len();
                Err(DeliveryError {
                    partition,
                    first_sequence: sealed.first_sequence,
                    record_count: sealed.record_count,
                    may_be_written: sealed.unanswered || sealed.uncertain,
                    cause: Arc::clone(cause),
                })
            })
            .collect();
        self.reported = self.next_sequence;
        for waiter in self.waiters.drain(..) {
            let _nobody_waits = waiter.answer.send(Err(Arc::clone(cause)));
        }
        (reports, bytes)
    }

    pub(super) fn ticket(&self, sequence: u64) -> Ticket {
        Ticket { partition: self.index, sequence }
    }
}
