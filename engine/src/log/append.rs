//! Append: from the bytes of a socket into the tail's buffers, in one pass.
//!
//! An append has two halves. *Reserving*, in `room`, may wait: for the log to be opened, for memory,
//! for disk space; a full disk is told there, before anything was appended. *Appending* never waits
//! and never fails: whatever becomes of the batch is told through its completion, in order.
//!
//! This is how a log grows that nobody else has a say in; `propose` is the other way.

use std::rc::Rc;

use bytes::Bytes;
use forebay_format::limits::{CLIENT_HEADER_BYTES, HEADER_BYTES};
use forebay_format::{
    Admission, BatchError, BatchMeta, ClientHeader, Epoch, FilePosition, LeaderFields, TimestampMs,
    stamp_leader, stamp_local,
};
use smallvec::SmallVec;

use super::acks::Placed;
use super::partition::{NotOpen, OpenLog, PartitionLog};
use super::payload_check::PayloadCheck;
use super::reserved::Reserved;
use super::room::RESERVE_EXTRA_BYTES;
use super::sequencer::Decider;
use super::{
    AckWhen, AppendError, Completion, LogContext, LogSettings, ReserveError, WriteRefusal, flush,
};
use crate::runtime::spawn;

/// Payload bytes that are summed and copied before the next are touched: they stay in the first
/// level cache from one to the other.
const PASS_BYTES: usize = 16 << 10;

/// A batch as it came from the client; nothing about it is trusted.
#[derive(Debug, Clone)]
pub struct IncomingBatch {
    /// The client's part of the header.
    pub header: [u8; CLIENT_HEADER_BYTES],
    /// The payload, in as many pieces as it arrived in.
    pub payload: SmallVec<[Bytes; 2]>,
}

impl IncomingBatch {
    /// Length in bytes as stored, header included.
    pub fn batch_bytes(&self) -> usize {
        HEADER_BYTES + self.payload.iter().map(Bytes::len).sum::<usize>()
    }
}

impl PartitionLog {
    /// Appends a batch, or proposes it to the sequencer. The outcome goes through `done`.
    pub(crate) fn append(
        self: &Rc<Self>,
        reserved: Reserved,
        batch: &IncomingBatch,
        done: Completion,
    ) {
        assert!(Rc::ptr_eq(self, &reserved.log), "a reservation belongs to its partition");
        assert!(
            batch.batch_bytes() as u64 + RESERVE_EXTRA_BYTES <= reserved.bytes,
            "a batch is not larger than what was reserved for it"
        );
        if reserved.is_stale() {
            return done.answer(Err(WriteRefusal::NotServing.into()));
        }
        match &self.decider {
            Decider::Alone { epoch } => self.append_alone(*epoch, reserved, batch, done),
            Decider::Sequencer(_) => {
                let sequencer = self.decider.sequencer();
                self.propose(sequencer.as_deref(), reserved, batch, done);
            }
        }
    }

    fn append_alone(
        self: &Rc<Self>,
        epoch: Epoch,
        reserved: Reserved,
        batch: &IncomingBatch,
        done: Completion,
    ) {
        let settings = self.settings.borrow();
        let outcome = self.with_open(|open| {
            open.reserved_bytes -= reserved.bytes;
            let outcome = open.append(batch, epoch, &settings, &self.context);
            match done.when {
                AckWhen::AtOnce => done.clone().answer(outcome.map(|p| p.appended(false))),
                AckWhen::Written => open.written_acks.push(done.clone(), outcome),
                // The only replica is all of them, and the quorum.
                AckWhen::Durable | AckWhen::Quorum | AckWhen::All | AckWhen::Replicas(_) => {
                    open.durable_acks.push(done.clone(), outcome);
                }
            }
            !std::mem::replace(&mut open.running.flush, true)
        });
        drop(settings);
        match outcome {
            Ok(starts_flush) => {
                // Already given back above, with the state at hand.
                reserved.forget_space();
                if starts_flush {
                    spawn(flush::run(Rc::clone(self)));
                } else {
                    self.work.raise();
                }
            }
            Err(why) => done.answer(Err(why.refusal().into())),
        }
    }
}

impl NotOpen {
    /// What an append is told whose log went away since its room was reserved.
    pub(super) fn refusal(self) -> ReserveError {
        match self {
            Self::Never(error) => error,
            Self::Closed | Self::Busy => ReserveError::Stopping,
        }
    }
}

impl OpenLog {
    fn append(
        &mut self,
        batch: &IncomingBatch,
        epoch: Epoch,
        settings: &LogSettings,
        context: &LogContext,
    ) -> Result<Placed, AppendError> {
        let client = check(batch, settings)?;
        match self.state.producers.check(&client)? {
            Admission::Append => {}
            Admission::Duplicate(first) => {
                return Ok(Placed {
                    base_offset: first.base_offset,
                    record_count: client.record_count,
                    epoch: first.epoch,
                    append_time: first.append_time,
                    duplicate: true,
                });
            }
        }
        let time = self.state.last_append_time.max(context.clock.now());
        self.roll_if_full(client.batch_bytes() as u64, time, context);
        if self.state.position().epoch < epoch {
            self.start_epoch(epoch, time);
        }
        let position = self.active_end();
        let leader = self.next_fields(epoch, time);
        let mut header = unstamped(batch);
        let stamped = self.stamp(&mut header, client, leader, position);
        self.copy(&header, batch, &client)?;
        self.appended(&stamped, position);
        Ok(Placed {
            base_offset: leader.base_offset,
            record_count: client.record_count,
            epoch,
            append_time: time,
            duplicate: false,
        })
    }

    /// Writes a batch to the tail, and verifies its payload in the same pass. One that does not verify
    /// leaves the tail as it was.
    pub(super) fn copy(
        &mut self,
        header: &[u8; HEADER_BYTES],
        batch: &IncomingBatch,
        client: &ClientHeader,
    ) -> Result<(), BatchError> {
        let position = self.tail.end();
        self.tail.write(header);
        let mut check = PayloadCheck::start(&batch.header, client);
        for piece in &batch.payload {
            for bytes in piece.chunks(PASS_BYTES) {
                check.update(bytes);
                self.tail.write(bytes);
            }
        }
        let verified = check.finish();
        if verified.is_err() {
            self.tail.cut(position);
        }
        verified
    }

    /// The fields of a batch of `epoch` that continues the log.
    pub(super) fn next_fields(&self, epoch: Epoch, append_time: TimestampMs) -> LeaderFields {
        LeaderFields {
            base_offset: self.state.end,
            epoch,
            append_time,
            previous_header_crc: self.state.last_header_crc,
        }
    }

    /// Fills in the leader's and this replica's fields of a batch that goes to `position`.
    pub(super) fn stamp(
        &self,
        header: &mut [u8; HEADER_BYTES],
        client: ClientHeader,
        leader: LeaderFields,
        position: FilePosition,
    ) -> BatchMeta {
        let header_crc = stamp_leader(header, &leader);
        stamp_local(header, self.active.header().salt, position, self.synced);
        BatchMeta { client, leader, header_crc }
    }

    /// Takes note of a batch that was written to the tail at `position`.
    pub(super) fn appended(&mut self, batch: &BatchMeta, position: FilePosition) {
        self.state.append(batch);
        if batch.client.control {
            return;
        }
        let leader = &batch.leader;
        self.active.index().borrow_mut().note(leader.base_offset, position, leader.append_time);
        self.unflushed.batches += 1;
        self.unflushed.records += u64::from(batch.client.record_count);
        self.unflushed.bytes += batch.client.batch_bytes() as u64;
        let end = self.active_end();
        if let Some(committed) = &mut self.committed {
            committed.note(self.state.end, self.active.header().base_offset, end);
        }
    }
}

/// The header of a batch with the client's part alone.
pub(super) fn unstamped(batch: &IncomingBatch) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..CLIENT_HEADER_BYTES].copy_from_slice(&batch.header);
    header
}

/// Everything that can be said of a batch without reading its payload.
pub(super) fn check(
    batch: &IncomingBatch,
    settings: &LogSettings,
) -> Result<ClientHeader, AppendError> {
    let client = ClientHeader::decode(&batch.header)?;
    if client.control {
        return Err(AppendError::Control);
    }
    let found = batch.batch_bytes();
    if found > settings.batch_bytes_max {
        return Err(AppendError::TooLarge { found, limit: settings.batch_bytes_max });
    }
    if client.batch_bytes() != found {
        return Err(BatchError::Length { found, expected: client.batch_bytes() }.into());
    }
    Ok(client)
}
