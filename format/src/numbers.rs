//! The numbers of a log, each a type of its own so that none is taken for another.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name($inner);

        impl $name {
            /// Zero, where counting starts.
            pub const ZERO: Self = Self(0);

            /// Wraps the number.
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The number.
            pub const fn get(self) -> $inner {
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

/// Arithmetic of places in a row: place + distance = place, place − place = distance.
macro_rules! places {
    ($name:ident) => {
        impl $name {
            /// The place `distance` further on, unless there is none.
            pub const fn checked_add(self, distance: u64) -> Option<Self> {
                match self.0.checked_add(distance) {
                    Some(value) => Some(Self(value)),
                    None => None,
                }
            }

            /// How far this is past `earlier`; `None` when it is before it.
            pub const fn checked_sub(self, earlier: Self) -> Option<u64> {
                self.0.checked_sub(earlier.0)
            }
        }

        /// Panics past the last place; bytes from outside go through `checked_add`.
        impl Add<u64> for $name {
            type Output = Self;

            fn add(self, distance: u64) -> Self {
                Self(self.0 + distance)
            }
        }

        /// Panics past the last place; bytes from outside go through `checked_add`.
        impl AddAssign<u64> for $name {
            fn add_assign(&mut self, distance: u64) {
                self.0 += distance;
            }
        }

        /// Panics when `earlier` is the later one; use `checked_sub` where it may be.
        impl Sub for $name {
            type Output = u64;

            fn sub(self, earlier: Self) -> u64 {
                self.0 - earlier.0
            }
        }
    };
}

number! {
    /// A record's place in its partition, counted from 0 without gaps.
    Offset(u64)
}
places!(Offset);

number! {
    /// A term of leadership of a partition. Every start of a leader takes a higher one.
    Epoch(u64)
}

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

number! {
    /// A record's place among those that its producer sent to one partition, counted from 0.
    Sequence(u64)
}
places!(Sequence);

number! {
    /// How often a producer id was taken up by a new process.
    ProducerEpoch(u32)
}

number! {
    /// A byte's place in a segment file.
    FilePosition(u64)
}
places!(FilePosition);

number! {
    /// Milliseconds since 1970-01-01 UTC; before it, negative.
    TimestampMs(i64)
}

impl TimestampMs {
    /// The earliest time there is.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest time there is.
    pub const MAX: Self = Self(i64::MAX);

    /// This time and `ms` milliseconds (negative: earlier), kept within what there is.
    #[must_use]
    pub const fn saturating_add(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this; negative when `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

number! {
    /// Random bits of one life of a segment file: what a reused file held before does not verify.
    SegmentSalt(u64)
}

impl SegmentSalt {
    /// New random bits from the operating system.
    pub fn random() -> Self {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        Self(u64::from_le_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_distances_keep_apart() {
        let start = Offset::new(10);
        assert_eq!(start + 5, Offset::new(15));
        assert_eq!(Offset::new(15) - start, 5);
        assert_eq!(start.checked_sub(Offset::new(11)), None);
        assert_eq!(Offset::new(u64::MAX).checked_add(1), None);
    }

    #[test]
    fn times_stay_within_what_there_is() {
        assert_eq!(TimestampMs::MAX.saturating_add(1), TimestampMs::MAX);
        assert_eq!(TimestampMs::MIN.saturating_since(TimestampMs::MAX), i64::MIN);
    }
}
