//! The client's part of a batch header, bytes 0 to 64.

use super::error::BatchError;
use crate::ids::ProducerId;
use crate::le;
use crate::limits::{CLIENT_HEADER_BYTES, HEADER_BYTES, PAYLOAD_BYTES_MAX, RECORDS_PER_BATCH_MAX};
use crate::numbers::{ProducerEpoch, Sequence, TimestampMs};

/// First bytes of a batch.
pub const MAGIC: u32 = u32::from_le_bytes(*b"FBAT");

/// Version that is written and read.
pub const VERSION: u8 = 1;

const AT_VERSION: usize = 4;
const AT_ATTRIBUTES: usize = 5;
const AT_RESERVED: usize = 6;
const AT_PAYLOAD_BYTES: usize = 8;
const AT_RECORD_COUNT: usize = 12;
const AT_FIRST_TIMESTAMP: usize = 16;
const AT_MAX_TIMESTAMP: usize = 24;
const AT_PRODUCER_ID: usize = 32;
const AT_FIRST_SEQUENCE: usize = 48;
const AT_PRODUCER_EPOCH: usize = 56;
pub(super) const AT_PAYLOAD_CRC: usize = 60;

const CODEC_BITS: u8 = 0b011;
const CONTROL_BIT: u8 = 0b100;

/// How the payload is compressed.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// One LZ4 frame.
    Lz4,
    /// One Zstandard frame.
    Zstd,
}

impl Codec {
    const fn bits(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Lz4 => 1,
            Self::Zstd => 2,
        }
    }
}

/// What the client says about a batch. The bytes are as in `docs/FORMAT.md`.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientHeader {
    /// How the payload is compressed.
    pub codec: Codec,
    /// Written by a leader for the log itself. Takes no offset, is never shown to a consumer, and is
    /// refused from a producer.
    pub control: bool,
    /// Length of the payload.
    pub payload_bytes: u32,
    /// Records in the payload; 0 exactly when `control`.
    pub record_count: u32,
    /// Timestamp that the records' deltas count from.
    pub first_timestamp: TimestampMs,
    /// Highest timestamp of a record.
    pub max_timestamp: TimestampMs,
    /// Who sends it, or [`ProducerId::NONE`]; then sequence and producer epoch are 0.
    pub producer_id: ProducerId,
    /// Sequence of the first record.
    pub first_sequence: Sequence,
    /// Which life of the producer.
    pub producer_epoch: ProducerEpoch,
    /// See [`super::PayloadCrc`].
    pub payload_crc: u32,
}

impl ClientHeader {
    /// Writes the fields as they are; nothing is checked.
    #[inline]
    pub fn encode(&self, out: &mut [u8; CLIENT_HEADER_BYTES]) {
        le::put_u32(out, 0, MAGIC);
        out[AT_VERSION] = VERSION;
        out[AT_ATTRIBUTES] = self.codec.bits() | if self.control { CONTROL_BIT } else { 0 };
        le::put(out, AT_RESERVED, &[0; 2]);
        le::put_u32(out, AT_PAYLOAD_BYTES, self.payload_bytes);
        le::put_u32(out, AT_RECORD_COUNT, self.record_count);
        le::put_i64(out, AT_FIRST_TIMESTAMP, self.first_timestamp.get());
        le::put_i64(out, AT_MAX_TIMESTAMP, self.max_timestamp.get());
        le::put(out, AT_PRODUCER_ID, &self.producer_id.to_bytes());
        le::put_u64(out, AT_FIRST_SEQUENCE, self.first_sequence.get());
        le::put_u32(out, AT_PRODUCER_EPOCH, self.producer_epoch.get());
        le::put_u32(out, AT_PAYLOAD_CRC, self.payload_crc);
    }

    /// Reads the client's part at the start of `bytes`. The payload is not looked at, and its
    /// checksum not verified.
    ///
    /// # Errors
    /// A field outside what the format allows, by name.
    #[inline]
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        let Some(bytes) = bytes.first_chunk::<CLIENT_HEADER_BYTES>() else {
            return Err(BatchError::Length { found: bytes.len(), expected: CLIENT_HEADER_BYTES });
        };
        check_preamble(bytes)?;
        let attributes = bytes[AT_ATTRIBUTES];
        let codec = match attributes & CODEC_BITS {
            0 => Codec::None,
            1 => Codec::Lz4,
            2 => Codec::Zstd,
            other => return malformed("codec", other.into(), "0, 1 or 2"),
        };
        if attributes & !(CODEC_BITS | CONTROL_BIT) != 0 {
            return malformed("attributes", attributes.into(), "below 8");
        }
        let reserved = le::get_u16(bytes, AT_RESERVED);
        if reserved != 0 {
            return malformed("reserved field at byte 6", reserved.into(), "0");
        }
        let header = Self {
            codec,
            control: attributes & CONTROL_BIT != 0,
            payload_bytes: le::get_u32(bytes, AT_PAYLOAD_BYTES),
            record_count: le::get_u32(bytes, AT_RECORD_COUNT),
            first_timestamp: TimestampMs::new(le::get_i64(bytes, AT_FIRST_TIMESTAMP)),
            max_timestamp: TimestampMs::new(le::get_i64(bytes, AT_MAX_TIMESTAMP)),
            producer_id: ProducerId::from_bytes(le::array(bytes, AT_PRODUCER_ID)),
            first_sequence: Sequence::new(le::get_u64(bytes, AT_FIRST_SEQUENCE)),
            producer_epoch: ProducerEpoch::new(le::get_u32(bytes, AT_PRODUCER_EPOCH)),
            payload_crc: le::get_u32(bytes, AT_PAYLOAD_CRC),
        };
        header.check()?;
        Ok(header)
    }

    /// Length of the payload.
    #[inline]
    pub fn payload_len(&self) -> usize {
        self.payload_bytes as usize
    }

    /// Length of the batch as it is stored, header included.
    #[inline]
    pub fn batch_bytes(&self) -> usize {
        HEADER_BYTES + self.payload_len()
    }

    /// Limits, and fields that depend on each other.
    fn check(&self) -> Result<(), BatchError> {
        if self.payload_len() > PAYLOAD_BYTES_MAX {
            return too_large("payload bytes", self.payload_bytes.into(), PAYLOAD_BYTES_MAX as u64);
        }
        if self.record_count > RECORDS_PER_BATCH_MAX {
            let max = RECORDS_PER_BATCH_MAX.into();
            return too_large("record count", self.record_count.into(), max);
        }
        match (self.control, self.record_count) {
            (true, 1..) => {
                return malformed("record count of a control batch", self.record_count.into(), "0");
            }
            (false, 0) => return malformed("record count", 0, "at least 1"),
            _ => {}
        }
        if self.max_timestamp < self.first_timestamp {
            let found = self.max_timestamp.get().cast_unsigned();
            return malformed("max timestamp", found, "at least the first timestamp");
        }
        if self.producer_id.is_zero() {
            if self.first_sequence != Sequence::ZERO {
                let found = self.first_sequence.get();
                return malformed("first sequence without a producer id", found, "0");
            }
            if self.producer_epoch != ProducerEpoch::ZERO {
                let found = self.producer_epoch.get().into();
                return malformed("producer epoch without a producer id", found, "0");
            }
        }
        if self.first_sequence.checked_add(self.record_count.into()).is_none() {
            let found = self.first_sequence.get();
            return malformed("first sequence", found, "below 2^64 with its records");
        }
        Ok(())
    }
}

/// Magic and version, which must be right before anything else means something.
#[inline]
pub(super) fn check_preamble(bytes: &[u8; CLIENT_HEADER_BYTES]) -> Result<(), BatchError> {
    let magic = le::get_u32(bytes, 0);
    if magic != MAGIC {
        return Err(BatchError::Magic { found: magic, expected: MAGIC });
    }
    let version = bytes[AT_VERSION];
    if version != VERSION {
        return Err(BatchError::Version { found: version, expected: VERSION });
    }
    Ok(())
}

#[cold]
pub(super) fn malformed<T>(
    field: &'static str,
    found: u64,
    expected: &'static str,
) -> Result<T, BatchError> {
    Err(BatchError::Malformed { field, found, expected })
}

#[cold]
fn too_large<T>(what: &'static str, found: u64, max: u64) -> Result<T, BatchError> {
    Err(BatchError::TooLarge { what, found, max })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn header() -> ClientHeader {
        ClientHeader {
            codec: Codec::Zstd,
            control: false,
            payload_bytes: 10,
            record_count: 2,
            first_timestamp: TimestampMs::new(-3),
            max_timestamp: TimestampMs::new(4),
            producer_id: ProducerId::from_u128(5),
            first_sequence: Sequence::new(6),
            producer_epoch: ProducerEpoch::new(7),
            payload_crc: 8,
        }
    }

    fn decoded(header: &ClientHeader) -> Result<ClientHeader, BatchError> {
        let mut bytes = [0xff; CLIENT_HEADER_BYTES];
        header.encode(&mut bytes);
        ClientHeader::decode(&bytes)
    }

    #[test]
    fn header_survives_the_round_trip() {
        assert_eq!(decoded(&header()), Ok(header()));
        let control = ClientHeader { control: true, record_count: 0, ..header() };
        assert_eq!(decoded(&control), Ok(control));
    }

    #[test]
    fn fields_that_make_no_sense_are_named() {
        let cases = [
            (ClientHeader { record_count: 0, ..header() }, "record count"),
            (ClientHeader { control: true, ..header() }, "record count of a control batch"),
            (ClientHeader { max_timestamp: TimestampMs::new(-4), ..header() }, "max timestamp"),
            (
                ClientHeader { first_sequence: Sequence::new(u64::MAX), ..header() },
                "first sequence",
            ),
            (
                ClientHeader { producer_id: ProducerId::NONE, ..header() },
                "first sequence without a producer id",
            ),
        ];
        for (header, name) in cases {
            match decoded(&header) {
                Err(BatchError::Malformed { field, .. }) => assert_eq!(field, name),
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn limits_are_named_with_what_was_found() {
        let bytes = ClientHeader { payload_bytes: 3 * 1024 * 1024 - 111, ..header() };
        let records = ClientHeader { record_count: RECORDS_PER_BATCH_MAX + 1, ..header() };
        for (header, value) in [(bytes, 3_145_617), (records, 262_145)] {
            match decoded(&header) {
                Err(BatchError::TooLarge { found, max, .. }) => {
                    assert_eq!((found, max), (value, value - 1));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn unknown_bits_are_refused() {
        let mut bytes = [0; CLIENT_HEADER_BYTES];
        header().encode(&mut bytes);
        for (at, bit) in [(AT_ATTRIBUTES, 0x08), (AT_ATTRIBUTES, 0x01), (AT_RESERVED + 1, 0x80)] {
            let mut changed = bytes;
            changed[at] |= bit;
            let found = ClientHeader::decode(&changed);
            assert!(matches!(found, Err(BatchError::Malformed { .. })), "{found:?}");
        }
        bytes[AT_VERSION] = 2;
        let found = ClientHeader::decode(&bytes);
        assert_eq!(found, Err(BatchError::Version { found: 2, expected: 1 }));
    }
}
