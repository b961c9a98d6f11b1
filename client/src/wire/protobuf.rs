//! The protobuf wire format, as far as the hot messages need it.

use bytes::{Buf, BufMut};
use thiserror::Error;

/// Why bytes from a server are not a message.
#[derive(Debug, Error)]
pub(crate) enum WireError {
    /// It ends within a field.
    #[error("message ends within a field")]
    Truncated,
    /// A number takes more than ten bytes.
    #[error("message has a number of more than ten bytes")]
    Varint,
    /// A field has another type than it should.
    #[error("field {field} has wire type {found}, expected {expected}")]
    WireType {
        /// The field's number.
        field: u64,
        /// The type found.
        found: u64,
        /// The type it should have.
        expected: u64,
    },
    /// A number is larger than what it counts can be.
    #[error("field {field} is {found}, which is out of range")]
    Range {
        /// The field's number.
        field: u64,
        /// Its value.
        found: u64,
    },
    /// A message that is longer than any server of ours sends.
    #[error("message of {found} bytes; at most {max} are accepted")]
    TooLong {
        /// Its length.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// It says that it is compressed, which was not asked for.
    #[error("message is compressed, which was not asked for")]
    Compressed,
    /// The generated decoder's complaint.
    #[error("malformed message")]
    Decode(#[from] prost::DecodeError),
}

/// A number.
pub(super) const VARINT: u64 = 0;
/// Bytes with their length before them: strings, bytes, messages.
pub(super) const LENGTH_DELIMITED: u64 = 2;

/// Bytes of the longest varint.
pub(super) const VARINT_BYTES_MAX: usize = 10;

/// Reads a varint.
pub(super) fn get_varint(from: &mut impl Buf) -> Result<u64, WireError> {
    // Nearly all numbers are short and lie within one chunk.
    if let Some(&first) = from.chunk().first()
        && first < 0x80
    {
        from.advance(1);
        return Ok(first.into());
    }
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        if !from.has_remaining() {
            return Err(WireError::Truncated);
        }
        let byte = from.get_u8();
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(WireError::Varint)
}

/// Writes a varint.
pub(super) fn put_varint(into: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        into.put_u8(low_seven_bits(value) | 0x80);
        value >>= 7;
    }
    into.put_u8(low_seven_bits(value));
}

fn low_seven_bits(value: u64) -> u8 {
    u8::try_from(value & 0x7f).expect("seven bits fit a byte")
}

/// Bytes that a varint takes.
pub(super) fn varint_len(value: u64) -> usize {
    // ceil(bits / 7), with one byte for zero.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// A field's key: its number and wire type.
pub(super) const fn key(field: u64, wire_type: u64) -> u64 {
    field << 3 | wire_type
}

/// Reads the next field's number and wire type.
pub(super) fn get_key(from: &mut impl Buf) -> Result<(u64, u64), WireError> {
    let key = get_varint(from)?;
    Ok((key >> 3, key & 7))
}

/// Reads a length, which must lie within what is left.
pub(super) fn get_length(from: &mut impl Buf) -> Result<usize, WireError> {
    let length = get_varint(from)?;
    match usize::try_from(length) {
        Ok(length) if length <= from.remaining() => Ok(length),
        _ => Err(WireError::Truncated),
    }
}

/// Refuses a field of another type than expected.
pub(super) fn expect_type(field: u64, found: u64, expected: u64) -> Result<(), WireError> {
    if found == expected { Ok(()) } else { Err(WireError::WireType { field, found, expected }) }
}

/// Passes over a field that is not known, as protobuf requires.
pub(super) fn skip(from: &mut impl Buf, field: u64, wire_type: u64) -> Result<(), WireError> {
    let length = match wire_type {
        VARINT => return get_varint(from).map(drop),
        1 => 8,
        LENGTH_DELIMITED => get_length(from)?,
        5 => 4,
        found => return Err(WireError::WireType { field, found, expected: VARINT }),
    };
    if from.remaining() < length {
        return Err(WireError::Truncated);
    }
    from.advance(length);
    Ok(())
}

/// Reads a varint that must fit 32 bits.
pub(super) fn get_u32(from: &mut impl Buf, field: u64) -> Result<u32, WireError> {
    let found = get_varint(from)?;
    u32::try_from(found).map_err(|_too_large| WireError::Range { field, found })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_are_those_of_the_generated_code(value: u64, shift in 0..64_u32) {
            let value = value >> shift;
            let mut ours = Vec::new();
            put_varint(&mut ours, value);
            let mut theirs = Vec::new();
            prost::encoding::encode_varint(value, &mut theirs);
            prop_assert_eq!(&ours, &theirs);
            prop_assert_eq!(ours.len(), varint_len(value));
            prop_assert_eq!(get_varint(&mut &ours[..]).expect("just written"), value);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let mut from = &bytes[..];
            while let Ok((field, wire_type)) = get_key(&mut from) {
                if skip(&mut from, field, wire_type).is_err() {
                    break;
                }
            }
        }
    }
}
