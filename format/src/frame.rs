//! What all files beside the log have in common: four bytes that name the kind, a version, and a
//! CRC32C over everything but itself.

use crate::checksum::{crc32c, crc32c_append};
use crate::file_error::{FileError, FileKind};
use crate::le;

const AT_VERSION: usize = 4;

/// How one kind of file begins, and where its checksum lies.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: FileKind,
    pub(crate) magic: u32,
    pub(crate) version: u8,
    /// Bytes of the part with a fixed layout, magic and checksum included.
    pub(crate) fixed_bytes: usize,
    pub(crate) at_crc: usize,
}

impl Frame {
    /// Writes magic, version and checksum; everything else has been written.
    pub(crate) fn seal(&self, bytes: &mut [u8]) {
        le::put_u32(bytes, 0, self.magic);
        bytes[AT_VERSION] = self.version;
        let crc = self.crc(bytes);
        le::put_u32(bytes, self.at_crc, crc);
    }

    /// Whether `bytes` have at least the fixed part, begin as this kind does and in a version that
    /// is understood. In this order, because a later version may lie elsewhere.
    pub(crate) fn check_start(&self, bytes: &[u8]) -> Result<(), FileError> {
        let kind = self.kind;
        if bytes.len() < self.fixed_bytes {
            let (found, expected) = (bytes.len(), self.fixed_bytes);
            return Err(FileError::Length { kind, found, expected });
        }
        let found = le::get_u32(bytes, 0);
        if found != self.magic {
            return Err(FileError::Magic { kind, found, expected: self.magic });
        }
        let found = bytes[AT_VERSION];
        if found != self.version {
            return Err(FileError::Version { kind, found, expected: self.version });
        }
        Ok(())
    }

    /// Whether `bytes`, all of them, carry their own checksum.
    pub(crate) fn check_crc(&self, bytes: &[u8]) -> Result<(), FileError> {
        let (found, expected) = (self.crc(bytes), le::get_u32(bytes, self.at_crc));
        if found != expected {
            return Err(FileError::Checksum { kind: self.kind, found, expected });
        }
        Ok(())
    }

    /// Start, exact length and checksum.
    pub(crate) fn check(&self, bytes: &[u8], expected_bytes: usize) -> Result<(), FileError> {
        self.check_start(bytes)?;
        if bytes.len() != expected_bytes {
            let (kind, found) = (self.kind, bytes.len());
            return Err(FileError::Length { kind, found, expected: expected_bytes });
        }
        self.check_crc(bytes)
    }

    /// The checksum holds, and still `field` cannot have the value `found`.
    pub(crate) fn malformed(
        &self,
        field: &'static str,
        found: u64,
        expected: &'static str,
    ) -> FileError {
        FileError::Malformed { kind: self.kind, field, found, expected }
    }

    fn crc(&self, bytes: &[u8]) -> u32 {
        crc32c_append(crc32c(&bytes[..self.at_crc]), &bytes[self.at_crc + 4..])
    }
}
