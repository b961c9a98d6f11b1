//! The checksum of what the client sends, computed in the pass that copies it.

use super::client::AT_PAYLOAD_CRC;
use crate::checksum::{crc32c, crc32c_append};
use crate::limits::CLIENT_HEADER_BYTES;

/// CRC32C over the client's fields before the checksum itself, then the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct PayloadCrc(u32);

impl PayloadCrc {
    /// Starts with the client's fields: bytes 0 to 60 of `header`.
    #[inline]
    pub fn start(header: &[u8; CLIENT_HEADER_BYTES]) -> Self {
        Self(crc32c(&header[..AT_PAYLOAD_CRC]))
    }

    /// Goes on with the next bytes of the payload.
    #[inline]
    pub fn update(&mut self, payload: &[u8]) {
        self.0 = crc32c_append(self.0, payload);
    }

    /// What belongs into the header.
    #[inline]
    pub fn finish(self) -> u32 {
        self.0
    }
}
