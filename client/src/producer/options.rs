//! How a producer behaves. Values out of range are brought into it by [`ProducerOptions::checked`].

use std::{collections::BTreeMap, time::Duration};

use forebay_format::{
    PartitionIndex, ProducerEpoch, ProducerId,
    limits::{BATCH_BYTES_DEFAULT, BATCH_BYTES_MAX, HEADER_BYTES, IN_FLIGHT_PER_PRODUCER_MAX},
};
use forebay_proto::v1;

use crate::wire::WireConcern;

/// Batches of one partition in flight without a producer id, at most. With one it is
/// [`IN_FLIGHT_PER_PRODUCER_MAX`], because the server recognises no older retries.
pub const IN_FLIGHT_MAX: usize = 64 * 1024;

/// On how many replicas a batch is on stable storage before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WriteConcern {
    /// The topic's default, or the server's where the topic has none.
    #[default]
    TopicDefault,
    /// Acknowledged at once; nothing is promised. Such a producer is never idempotent, because a
    /// server that lost acknowledged batches would refuse all later ones.
    None,
    /// The leader.
    Leader,
    /// A majority of the replicas.
    Quorum,
    /// Every in-sync replica.
    All,
    /// So many, the leader included.
    Replicas(u32),
}

impl WriteConcern {
    pub(crate) fn on_the_wire(self) -> WireConcern {
        let (concern, replicas) = match self {
            Self::TopicDefault => (v1::WriteConcern::Unspecified, 0),
            Self::None => (v1::WriteConcern::None, 0),
            Self::Leader => (v1::WriteConcern::Leader, 0),
            Self::Quorum => (v1::WriteConcern::Quorum, 0),
            Self::All => (v1::WriteConcern::All, 0),
            Self::Replicas(count) => (v1::WriteConcern::Replicas, count),
        };
        WireConcern { concern, replicas }
    }
}

/// An identity taken up again, so that what an earlier producer may have sent already is recognised.
/// Batches must begin and end where they did then, and hold the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// The earlier producer's id.
    pub id: ProducerId,
    /// A later epoch than the earlier producer's shuts that one out; the same epoch continues it.
    pub epoch: ProducerEpoch,
    /// Sequence of the record that is sent next to each partition; elsewhere it is 0.
    pub next_sequences: BTreeMap<PartitionIndex, u64>,
}

/// Settings of a [`Producer`](super::Producer).
#[derive(Debug, Clone)]
pub struct ProducerOptions {
    /// When a batch counts as acknowledged.
    pub write_concern: WriteConcern,
    /// A batch is sent when it has so many bytes, header included. A larger record makes a batch of
    /// its own.
    pub batch_bytes: usize,
    /// A batch is sent at the latest so long after its first record was accepted. Zero: as soon as
    /// the connection takes it.
    pub linger: Duration,
    /// Batches of one partition that may wait for their answers.
    pub in_flight: usize,
    /// Bytes of batches accepted and not yet acknowledged, in all partitions. `send` waits beyond.
    pub buffer_bytes: usize,
    /// Whether the server recognises retries, so that no record is ever written twice. Without it a
    /// batch that is sent again may be there twice, and behind batches that were sent after it.
    pub idempotent: bool,
    /// The identity of an idempotent producer. `None`: a new one.
    pub resume: Option<Resume>,
    /// Fails records that are not acknowledged so long after they were accepted. Their outcome is
    /// then unknown, and their partition takes no more. `None`: retry for ever.
    pub delivery_deadline: Option<Duration>,
    /// How long the server may wait for the write concern before it answers that the outcome is
    /// unknown, whereupon the batch is sent again. `None`: the server's default.
    pub ack_timeout: Option<Duration>,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            write_concern: WriteConcern::default(),
            batch_bytes: 256 * 1024,
            linger: Duration::from_millis(1),
            in_flight: 16,
            buffer_bytes: 32 * 1024 * 1024,
            idempotent: true,
            resume: None,
            delivery_deadline: None,
            ack_timeout: None,
        }
    }
}

const _: () = assert!(256 * 1024 <= BATCH_BYTES_DEFAULT);

impl ProducerOptions {
    /// The options with every number within its limits.
    #[must_use]
    pub(super) fn checked(mut self) -> Self {
        self.idempotent &= self.write_concern != WriteConcern::None;
        let in_flight_max =
            if self.idempotent { IN_FLIGHT_PER_PRODUCER_MAX } else { IN_FLIGHT_MAX };
        self.in_flight = self.in_flight.clamp(1, in_flight_max);
        self.batch_bytes = self.batch_bytes.clamp(HEADER_BYTES, BATCH_BYTES_MAX);
        self.buffer_bytes = self.buffer_bytes.max(self.batch_bytes);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idempotent_producer_has_no_more_in_flight_than_the_server_remembers() {
        let options = ProducerOptions { in_flight: 1000, ..Default::default() };
        assert_eq!(options.clone().checked().in_flight, IN_FLIGHT_PER_PRODUCER_MAX);
        let options = ProducerOptions { idempotent: false, ..options };
        assert_eq!(options.checked().in_flight, 1000);
    }

    #[test]
    fn without_a_write_concern_there_is_no_idempotence() {
        let options =
            ProducerOptions { write_concern: WriteConcern::None, ..Default::default() }.checked();
        assert!(!options.idempotent);
    }
}
