//! Whether a payload is what its client's header says, in the pass that copies it.

use forebay_format::limits::CLIENT_HEADER_BYTES;
use forebay_format::{BatchError, ClientHeader, Codec, PayloadCrc, RecordCounter};

/// Takes a payload piece by piece.
pub(super) struct PayloadCheck {
    crc: PayloadCrc,
    expected: u32,
    record_count: u32,
    /// Where the records can be counted: not those of compressed and of control batches.
    records: Option<RecordCounter>,
}

impl PayloadCheck {
    /// The check of the payload that belongs to this header, given as bytes and decoded.
    pub(super) fn start(header: &[u8; CLIENT_HEADER_BYTES], client: &ClientHeader) -> Self {
        let counted = client.codec == Codec::None && !client.control;
        Self {
            crc: PayloadCrc::start(header),
            expected: client.payload_crc,
            record_count: client.record_count,
            records: counted.then(RecordCounter::new),
        }
    }

    /// The next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        if let Some(records) = &mut self.records {
            records.update(bytes);
        }
    }

    /// What there is to say once all bytes were seen.
    ///
    /// # Errors
    /// Another checksum, or records that do not add up.
    pub(super) fn finish(self) -> Result<(), BatchError> {
        let (found, expected) = (self.crc.finish(), self.expected);
        if found != expected {
            return Err(BatchError::PayloadCrc { found, expected });
        }
        self.records.map_or(Ok(()), |records| records.finish(self.record_count))
    }
}
