//! Append: from the bytes of a socket into the tail's buffers, in one pass.
//!
//! An append has two halves. *Reserving*, in `room`, may wait: for the log to be opened, for memory,
//! for disk space; a full disk is told there, before anything was appended. *Appending* never waits
//! and never fails: whatever becomes of the batch is told through its completion, in order.

use std::rc::Rc;

use bytes::Bytes;
use forebay_format::limits::{CLIENT_HEADER_BYTES, HEADER_BYTES};
use forebay_format::{
    Admission, BatchError, ClientHeader, Codec, FilePosition, LeaderFields, PayloadCrc,
    RecordCounter, TimestampMs, stamp_leader, stamp_local,
};
use smallvec::SmallVec;

use super::acks::Placed;
use super::partition::{NotOpen, OpenLog, PartitionLog, Reserved};
use super::room::RESERVE_EXTRA_BYTES;
use super::{AckWhen, AppendError, Completion, LogContext, LogSettings, ReserveError, flush};
use crate::runtime::spawn;
use crate::segment::Chain;

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
    /// Appends a batch. The outcome goes through `done`.
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
        let epoch = self.epoch.get();
        let settings = self.settings.borrow();
        let outcome = self.with_open(|open| {
            open.reserved_bytes -= reserved.bytes;
            let outcome = open.append(batch, epoch, &settings, &self.context);
            match done.when {
                AckWhen::AtOnce => done.clone().answer(outcome.map(|p| p.appended(false))),
                AckWhen::Written => open.written_acks.push(done.clone(), outcome),
                AckWhen::Durable => open.durable_acks.push(done.clone(), outcome),
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
            Err(why) => {
                let refused = match why {
                    NotOpen::Never(error) => error,
                    NotOpen::Closed | NotOpen::Busy => ReserveError::Stopping,
                };
                done.answer(Err(refused.into()));
            }
        }
    }
}

impl OpenLog {
    fn append(
        &mut self,
        batch: &IncomingBatch,
        epoch: forebay_format::Epoch,
        settings: &LogSettings,
        context: &LogContext,
    ) -> Result<Placed, AppendError> {
        let client = check(batch, settings)?;
        match self.producers.check(&client)? {
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
        let time = self.chain.append_time.max(context.clock.now());
        self.roll_if_full(client.batch_bytes() as u64, time, context);
        if !self.epoch_started {
            self.start_epoch(epoch, time);
        }
        let base_offset = self.chain.next_offset;
        let position = FilePosition::new(self.tail.end());
        let leader = self.copy(batch, &client, position, time)?;
        self.active.index().borrow_mut().note(base_offset, position, time);
        self.producers.record(&client, &leader);
        self.unflushed.batches += 1;
        self.unflushed.records += u64::from(client.record_count);
        self.unflushed.bytes += client.batch_bytes() as u64;
        Ok(Placed {
            base_offset,
            record_count: client.record_count,
            epoch,
            append_time: time,
            duplicate: false,
        })
    }

    /// Sums and copies in one pass. A batch that does not verify leaves the tail as it was.
    fn copy(
        &mut self,
        batch: &IncomingBatch,
        client: &ClientHeader,
        position: FilePosition,
        time: TimestampMs,
    ) -> Result<LeaderFields, BatchError> {
        let mut header = [0; HEADER_BYTES];
        header[..CLIENT_HEADER_BYTES].copy_from_slice(&batch.header);
        let (leader, next) = self.stamp(&mut header, client.record_count, position, time);
        self.tail.write(&header);
        let mut crc = PayloadCrc::start(&batch.header);
        let mut records = RecordCounter::new();
        for piece in &batch.payload {
            for bytes in piece.chunks(PASS_BYTES) {
                crc.update(bytes);
                if client.codec == Codec::None && !client.control {
                    records.update(bytes);
                }
                self.tail.write(bytes);
            }
        }
        let (found, expected) = (crc.finish(), client.payload_crc);
        let verified = if found != expected {
            Err(BatchError::PayloadCrc { found, expected })
        } else if client.codec == Codec::None && !client.control {
            records.finish(client.record_count)
        } else {
            Ok(())
        };
        match verified {
            Ok(()) => {
                self.chain = next;
                Ok(leader)
            }
            Err(error) => {
                self.tail.cut(position.get());
                Err(error)
            }
        }
    }

    /// Fills in the leader's and this replica's fields; returns what the next batch continues.
    pub(super) fn stamp(
        &self,
        header: &mut [u8; HEADER_BYTES],
        record_count: u32,
        position: FilePosition,
        time: TimestampMs,
    ) -> (LeaderFields, Chain) {
        let fields = LeaderFields {
            base_offset: self.chain.next_offset,
            epoch: self.epochs.latest().map_or(self.chain.epoch, |latest| latest.epoch),
            append_time: time,
            previous_header_crc: self.chain.header_crc,
        };
        let header_crc = stamp_leader(header, &fields);
        stamp_local(header, self.active.header().salt, position, self.synced);
        let next = Chain {
            next_offset: fields.base_offset + u64::from(record_count),
            header_crc,
            epoch: fields.epoch,
            append_time: time,
        };
        (fields, next)
    }
}

/// Everything that can be said of a batch without reading its payload.
fn check(batch: &IncomingBatch, settings: &LogSettings) -> Result<ClientHeader, AppendError> {
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
