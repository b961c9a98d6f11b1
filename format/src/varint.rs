//! Variable-length numbers of a record: LEB128 of at most 64 bits as in protobuf, in the shortest
//! form only, so that a record has one encoding.

/// Most bytes that a number takes.
pub(crate) const BYTES_MAX: usize = 10;

/// Why bytes are not a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VarintError {
    /// They end before the number does.
    Truncated,
    /// More than 64 bits.
    TooLong,
    /// The last byte adds nothing.
    NotShortest,
}

/// The number at the start of `bytes`, and how many bytes it takes.
#[inline]
pub(crate) fn read(bytes: &[u8]) -> Result<(u64, usize), VarintError> {
    match *bytes {
        [one, ..] if one < 0x80 => Ok((u64::from(one), 1)),
        [low, high, ..] if (1..0x80).contains(&high) => {
            Ok((u64::from(low & 0x7f) | u64::from(high) << 7, 2))
        }
        _ => read_any(bytes),
    }
}

fn read_any(bytes: &[u8]) -> Result<(u64, usize), VarintError> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(BYTES_MAX).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return match (index, byte) {
                (1.., 0) => Err(VarintError::NotShortest),
                (9, 2..) => Err(VarintError::TooLong),
                _ => Ok((value, index + 1)),
            };
        }
    }
    Err(if bytes.len() < BYTES_MAX { VarintError::Truncated } else { VarintError::TooLong })
}

/// How many bytes `value` takes.
#[inline]
pub(crate) const fn len(value: u64) -> usize {
    // 7 bits a byte, and zero takes one as well: ⌈bits / 7⌉ without a division.
    let bits = 64 - (value | 1).leading_zeros() as usize;
    (bits * 9 + 64) / 64
}

/// Writes `value` at `out[at..]` and returns where it ends.
#[inline]
pub(crate) fn write(mut value: u64, out: &mut [u8], mut at: usize) -> usize {
    while value >= 0x80 {
        out[at] = low_bits(value) | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = low_bits(value);
    at + 1
}

#[inline]
const fn low_bits(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}

/// Small numbers for small distances in either direction.
#[inline]
pub(crate) const fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

/// Undoes [`zigzag`].
#[inline]
pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: u64) -> Vec<u8> {
        let mut out = [0; BYTES_MAX];
        let end = write(value, &mut out, 0);
        out[..end].to_vec()
    }

    #[test]
    fn known_numbers_have_known_bytes() {
        assert_eq!(written(0), [0]);
        assert_eq!(written(127), [0x7f]);
        assert_eq!(written(128), [0x80, 0x01]);
        assert_eq!(written(300), [0xac, 0x02]);
        assert_eq!(written(u64::MAX), [255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
    }

    #[test]
    fn longer_forms_and_overlong_numbers_are_refused() {
        assert_eq!(read(&[]), Err(VarintError::Truncated));
        assert_eq!(read(&[0x80]), Err(VarintError::Truncated));
        assert_eq!(read(&[0x80, 0]), Err(VarintError::NotShortest));
        assert_eq!(read(&[0xff, 0x80, 0]), Err(VarintError::NotShortest));
        let mut ten = [0xff; 10];
        ten[9] = 2;
        assert_eq!(read(&ten), Err(VarintError::TooLong));
        assert_eq!(read(&[0xff; 10]), Err(VarintError::TooLong));
        assert_eq!(read(&[0xff; 9]), Err(VarintError::Truncated));
    }

    proptest! {
        #[test]
        fn number_survives_and_takes_the_bytes_that_were_foreseen(
            value in any::<u64>(), shift in 0..64,
        ) {
            let value = value >> shift;
            let bytes = written(value);
            prop_assert_eq!(bytes.len(), len(value));
            prop_assert_eq!(read(&bytes), Ok((value, bytes.len())));
        }

        #[test]
        fn zigzag_is_undone(value in any::<i64>()) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }
    }
}
