//! Identities: 128 random bits where they must never be met again, small numbers where people use
//! them. The text of a random id is 32 hexadecimal digits, in the order of its bytes on disk.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Text that is not 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected 32 hexadecimal digits, found {found:?}")]
pub struct ParseIdError {
    /// What was given.
    pub found: String,
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// All bits zero: no identity.
            pub const ZERO: Self = Self(0);

            /// The id whose hexadecimal digits are those of `value`.
            pub const fn from_u128(value: u128) -> Self {
                Self(value)
            }

            /// The id of these 16 bytes.
            #[expect(clippy::big_endian_bytes, reason = "bytes in the order of the hex digits")]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(u128::from_be_bytes(bytes))
            }

            /// The 16 bytes, as on disk and on the wire.
            #[expect(clippy::big_endian_bytes, reason = "bytes in the order of the hex digits")]
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// A new id that nobody else has: 128 bits from the operating system, never zero.
            pub fn random() -> Self {
                let mut bytes = [0; 16];
                getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
                bytes[0] |= 1;
                Self::from_bytes(bytes)
            }

            /// Whether all bits are zero.
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:032x})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text).map(Self)
            }
        }
    };
}

fn parse_hex(text: &str) -> Result<u128, ParseIdError> {
    // `from_str_radix` alone would take a sign.
    let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    digits
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
        .ok_or_else(|| ParseIdError { found: text.chars().take(64).collect() })
}

random_id! {
    /// A cluster, or a single node: data of one is refused by every other.
    ClusterId
}
random_id! {
    /// A topic. One made again under an old name has another id.
    TopicId
}
random_id! {
    /// One replica of one partition on one disk. A new one is made when its files were lost.
    ReplicaId
}
random_id! {
    /// A producer whose retries are recognised. Zero means none.
    ProducerId
}

impl ProducerId {
    /// A producer without identity.
    pub const NONE: Self = Self::ZERO;
}

macro_rules! small_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u32);

        impl $name {
            /// Wraps the number.
            pub const fn new(value: u32) -> Self {
                Self(value)
            }

            /// The number.
            pub const fn get(self) -> u32 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

small_id! {
    /// A node of the cluster.
    NodeId
}
small_id! {
    /// A partition within its topic, counted from 0.
    PartitionIndex
}

/// A partition of the cluster. Shown as `<topic id>/<partition>`, like its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// The topic.
    pub topic: TopicId,
    /// Which of its partitions.
    pub partition: PartitionIndex,
}

impl PartitionId {
    /// Puts the two together.
    pub const fn new(topic: TopicId, partition: PartitionIndex) -> Self {
        Self { topic, partition }
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_the_digits_of_the_bytes_in_order() {
        let id = TopicId::from_bytes([
            0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d,
            0x0e, 0xff,
        ]);
        assert_eq!(id.to_string(), "000102030405060708090a0b0c0d0eff");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(TopicId::from_bytes(id.to_bytes()), id);
        assert_eq!(
            PartitionId::new(id, PartitionIndex::new(7)).to_string(),
            "000102030405060708090a0b0c0d0eff/7"
        );
    }

    #[test]
    fn text_that_is_not_32_hex_digits_is_refused_and_named() {
        let plus = format!("+{}", "0".repeat(31));
        for text in ["", "1", plus.as_str(), "g0000000000000000000000000000000"] {
            let error = text.parse::<ClusterId>().expect_err(text);
            assert_eq!(error.found, text);
        }
    }

    #[test]
    fn random_ids_differ_and_are_never_zero() {
        let (one, two) = (ProducerId::random(), ProducerId::random());
        assert_ne!(one, two);
        assert!(!one.is_zero() && !two.is_zero());
    }
}
