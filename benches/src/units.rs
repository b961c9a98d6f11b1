//! Sizes, durations and rates as people write them.

use std::{str::FromStr, time::Duration};

use serde::{Serialize, Serializer};
use thiserror::Error;

/// Text that is not what it should be.
#[derive(Debug, Error)]
#[error("expected {expected}, found `{found}`")]
pub struct UnitError {
    expected: &'static str,
    found: String,
}

fn wrong(expected: &'static str, found: &str) -> UnitError {
    UnitError { expected, found: found.to_owned() }
}

/// A number in front of a unit.
fn split(text: &str) -> Option<(f64, &str)> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    Some((number.parse().ok()?, unit.trim()))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to lie between 0 and 2^53, where every whole number is exact"
)]
fn whole(value: f64) -> Option<u64> {
    ((0.0..=9e15).contains(&value) && value.fract() == 0.0).then_some(value as u64)
}

/// Bytes, such as `1KiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// The same as a length in memory.
    pub fn len(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Whether it is zero.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || wrong("a size like 1KiB, 256KiB or 4GiB", text);
        let (number, unit) = split(text).ok_or_else(error)?;
        let factor = match unit {
            "" | "B" => 1.0,
            "KiB" => 1024.0,
            "MiB" => 1024.0 * 1024.0,
            "GiB" => 1024.0 * 1024.0 * 1024.0,
            "kB" | "KB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            _ => return Err(error()),
        };
        whole(number * factor).map(Self).ok_or_else(error)
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (factor, unit) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

/// Records per second, such as `200k`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate(pub f64);

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || wrong("a rate of records per second like 5000, 200k or 1.5M", text);
        let (number, unit) = split(text).ok_or_else(error)?;
        let factor = match unit {
            "" => 1.0,
            "k" | "K" => 1e3,
            "M" => 1e6,
            _ => return Err(error()),
        };
        let rate = number * factor;
        (rate > 0.0 && rate.is_finite()).then_some(Self(rate)).ok_or_else(error)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

/// A duration, such as `30s`.
///
/// # Errors
/// When it has no unit, or one that is not known.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let error = || wrong("a duration like 500ms, 30s or 2m", text);
    let (number, unit) = split(text).ok_or_else(error)?;
    let seconds = match unit {
        "us" | "µs" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(error()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_out_of_range| error())
}

/// A rate of bytes for people.
pub fn bytes_per_second(value: f64) -> String {
    if value >= 1e9 {
        format!("{:.2} GB/s", value / 1e9)
    } else {
        format!("{:.1} MB/s", value / 1e6)
    }
}

/// A rate of things for people.
pub fn per_second(value: f64) -> String {
    match value {
        1e6.. => format!("{:.2} M/s", value / 1e6),
        1e4.. => format!("{:.1} k/s", value / 1e3),
        _ => format!("{value:.0} /s"),
    }
}

/// A time in microseconds for people.
pub fn microseconds(value: f64) -> String {
    match value {
        1e6.. => format!("{:.2} s", value / 1e6),
        1e3.. => format!("{:.2} ms", value / 1e3),
        _ => format!("{value:.0} µs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_rates_and_durations_are_read_as_people_write_them() {
        assert_eq!("256KiB".parse::<Size>().unwrap(), Size(262_144));
        assert_eq!("1.5MB".parse::<Size>().unwrap(), Size(1_500_000));
        assert_eq!("100".parse::<Size>().unwrap(), Size(100));
        assert_eq!("200k".parse::<Rate>().unwrap(), Rate(200_000.0));
        assert_eq!(duration("1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(Size(4 << 30).to_string(), "4GiB");
    }

    #[test]
    fn what_is_meant_is_named_when_it_is_not_understood() {
        for text in ["", "KiB", "1.5B", "-1", "1 parsec"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        let error = duration("30").unwrap_err().to_string();
        assert_eq!(error, "expected a duration like 500ms, 30s or 2m, found `30`");
        assert!("0".parse::<Rate>().is_err());
    }
}
