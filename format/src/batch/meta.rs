//! A batch without its payload: all that decides what it does to a log.

use super::{ClientHeader, LeaderFields, stamp_leader};
use crate::limits::{CLIENT_HEADER_BYTES, HEADER_BYTES};
use crate::numbers::Offset;
use crate::position::Position;

/// What leader and client say of a batch, and the checksum of both.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchMeta {
    /// The client's part.
    pub client: ClientHeader,
    /// The leader's part.
    pub leader: LeaderFields,
    /// CRC32C of both, which the next batch repeats as `previous_header_crc`.
    pub header_crc: u32,
}

impl BatchMeta {
    /// Stamps a client's batch. Costs one checksum of the header.
    pub fn stamp(client: ClientHeader, leader: LeaderFields) -> Self {
        let mut bytes = [0; HEADER_BYTES];
        let part: &mut [u8; CLIENT_HEADER_BYTES] =
            bytes.first_chunk_mut().expect("a header is longer than its client's part");
        client.encode(part);
        let header_crc = stamp_leader(&mut bytes, &leader);
        Self { client, leader, header_crc }
    }

    /// Where a log ends that ends with this batch.
    pub fn position(&self) -> Position {
        Position::new(self.leader.epoch, self.next_offset())
    }

    /// Offset after the last record; the base offset again for a control batch.
    pub fn next_offset(&self) -> Offset {
        self.leader.base_offset + u64::from(self.client.record_count)
    }
}
