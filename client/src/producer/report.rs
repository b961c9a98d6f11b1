//! What a producer reports about the batches it sent, and its errors.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use forebay_format::{Epoch, Offset, PartitionIndex, PushError, TimestampMs};
use thiserror::Error;

use super::Ticket;
use crate::refusal::Refusal;

/// A batch is in the log, on stable storage as far as `durable_replicas` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchAck {
    /// The partition.
    pub partition: PartitionIndex,
    /// Offset of the batch's first record.
    pub base_offset: Offset,
    /// Records in the batch.
    pub record_count: u32,
    /// [`Ticket::sequence`] of the first record.
    pub first_sequence: u64,
    /// On how many replicas it was on stable storage when the server said so.
    pub durable_replicas: u32,
    /// How many replicas the partition has.
    pub replicas: u32,
    /// The leader's epoch that it was written in.
    pub epoch: Epoch,
    /// The leader's clock when it appended.
    pub append_time: TimestampMs,
    /// A retry that the server recognised: it had been written before.
    pub duplicate: bool,
    /// From accepting the first record to this acknowledgement.
    pub latency: Duration,
    /// From first handing the batch to a connection to this acknowledgement.
    pub service_time: Duration,
    /// When the answer was read.
    pub acked_at: Instant,
    /// Length of the batch, header included.
    pub batch_bytes: usize,
}

/// Where one record ended up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordAck {
    /// The partition.
    pub partition: PartitionIndex,
    /// The record's offset.
    pub offset: Offset,
    /// The leader's epoch.
    pub epoch: Epoch,
    /// On how many replicas it was on stable storage when the server said so.
    pub durable_replicas: u32,
    /// How many replicas the partition has.
    pub replicas: u32,
}

/// Records that were not acknowledged and will not be sent again.
#[derive(Debug, Clone, Error)]
#[error(
    "{record_count} {} of partition {partition}, from record {first_sequence} of that partition on, \
     not acknowledged{}",
    if *.record_count == 1 { "record" } else { "records" },
    if *.may_be_written { ", and may have been written" } else { "" }
)]
pub struct DeliveryError {
    /// The partition.
    pub partition: PartitionIndex,
    /// [`Ticket::sequence`] of the first of them.
    pub first_sequence: u64,
    /// How many.
    pub record_count: u32,
    /// They were sent, and the server has not said of every attempt that it wrote nothing. Whoever
    /// sends them again under another producer id may write them twice.
    pub may_be_written: bool,
    /// Why.
    #[source]
    pub cause: Arc<DeliveryFailure>,
}

/// Why a partition takes no more records from this producer. Make a new producer to go on.
#[derive(Debug, Error)]
pub enum DeliveryFailure {
    /// The server refused a batch, and trying again cannot help. Whether an earlier attempt was
    /// written says [`DeliveryError::may_be_written`], for each batch.
    #[error("refused")]
    Refused(#[source] Refusal),
    /// The server does not have what it acknowledged before.
    #[error("the server lost records that it had acknowledged")]
    AcknowledgedRecordsLost(#[source] Refusal),
    /// Not acknowledged in time. The records may be in the log or not.
    #[error("not acknowledged within {waited:?}")]
    DeadlineExceeded {
        /// The deadline.
        waited: Duration,
        /// The last refusal, if there was one.
        #[source]
        last: Option<Refusal>,
    },
    /// The acknowledgement does not fit the batch.
    #[error("the server acknowledged {found} records of a batch of {expected}")]
    RecordCount {
        /// Records in the acknowledgement.
        found: u32,
        /// Records in the batch.
        expected: u32,
    },
    /// The producer was closed.
    #[error("the producer was closed")]
    Closed,
}

/// What happened to one batch.
pub type DeliveryReport = Result<BatchAck, DeliveryError>;

/// Why a record was not accepted.
#[derive(Debug, Error)]
pub enum SendError {
    /// Too much is buffered. Worth another try, after some acknowledgements; `send` waits itself.
    #[error("{buffered_bytes} bytes wait for their acknowledgement; the limit is {limit}")]
    Full {
        /// Bytes not acknowledged.
        buffered_bytes: usize,
        /// What the options allow.
        limit: usize,
    },
    /// It fits into no batch.
    #[error(transparent)]
    Record(#[from] PushError),
    /// There is no such partition.
    #[error("partition {partition} does not exist; the topic has {partitions}")]
    NoSuchPartition {
        /// What the record named.
        partition: PartitionIndex,
        /// How many there are.
        partitions: u32,
    },
    /// An earlier batch of this partition failed for good.
    #[error("partition {partition} takes no more records from this producer")]
    PartitionFailed {
        /// The partition.
        partition: PartitionIndex,
        /// Why.
        #[source]
        cause: Arc<DeliveryFailure>,
    },
    /// The producer was closed.
    #[error("the producer was closed")]
    Closed,
}

/// Why one record is not in the log for sure.
#[derive(Debug, Error)]
pub enum AppendError {
    /// It was not accepted.
    #[error(transparent)]
    Send(#[from] SendError),
    /// It was accepted and not acknowledged.
    #[error("record {} of partition {} is not acknowledged", ticket.sequence, ticket.partition)]
    Delivery {
        /// The record.
        ticket: Ticket,
        /// Why.
        #[source]
        cause: Arc<DeliveryFailure>,
    },
}
