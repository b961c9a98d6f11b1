//! The header of a batch: 112 bytes that producer, leader and replica write one after the other.
//!
//! ```text
//! 0        64        96        112          112 + payload bytes
//! ├ client ┼ leader ┼ replica ┼ payload ┤
//! ```
//!
//! The payload is opaque here. The client's part and the payload are
//! covered by the payload CRC, client's and leader's part by the header CRC, and the header CRC with
//! the place in this replica's file by the local CRC.

mod client;
mod error;
mod header;
mod meta;
mod payload_crc;

pub use client::{ClientHeader, Codec, MAGIC, VERSION};
pub use error::BatchError;
pub use header::{BatchHeader, LeaderFields, LocalFields, stamp_leader, stamp_local};
pub use meta::BatchMeta;
pub use payload_crc::PayloadCrc;
