//! Sizes such as `64MiB` and spans of time such as `5s`. A number without a unit is not taken: nobody
//! can know what it meant.

use std::fmt;
use std::time::Duration;

use super::value::{Value, ValueError, nearest};

/// A number of bytes. Shown with the largest unit that divides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

const SIZE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl ByteSize {
    /// This many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.0, &SIZE_UNITS, f)
    }
}

impl Value for ByteSize {
    const KIND: &'static str = "a size such as 64MiB (B, KiB, MiB, GiB, TiB)";

    fn parse(text: &str) -> Result<Self, ValueError> {
        parse(text, Self::KIND, &SIZE_UNITS).map(Self)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A span of time, in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(u64);

const TIME_UNITS: [(&str, u64); 5] =
    [("d", 24 * 60 * 60 * 1000), ("h", 60 * 60 * 1000), ("m", 60 * 1000), ("s", 1000), ("ms", 1)];

impl Span {
    /// This many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The number of milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The same for the standard library.
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.0, &TIME_UNITS, f)
    }
}

impl Value for Span {
    const KIND: &'static str = "a span of time such as 5s (ms, s, m, h, d)";

    fn parse(text: &str) -> Result<Self, ValueError> {
        parse(text, Self::KIND, &TIME_UNITS).map(Self)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A limit that can be absent.
impl<T: Value> Value for Option<T> {
    const KIND: &'static str = T::KIND;

    fn parse(text: &str) -> Result<Self, ValueError> {
        if text == NO_LIMIT { Ok(None) } else { T::parse(text).map(Some) }
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| NO_LIMIT.to_owned(), Value::show)
    }
}

/// The text of a limit that is absent.
const NO_LIMIT: &str = "none";

fn parse(text: &str, kind: &str, units: &[(&'static str, u64)]) -> Result<u64, ValueError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| *name == unit.trim_start()).map(|(_, f)| *f);
    match (number.parse::<u64>(), factor) {
        (Ok(number), Some(factor)) => number.checked_mul(factor).ok_or_else(|| ValueError::Range {
            least: format!("0{}", units[units.len() - 1].0),
            most: format!("{}{}", u64::MAX, units[units.len() - 1].0),
            found: text.to_owned(),
        }),
        (Ok(_), None) => {
            let close = nearest_unit(unit.trim(), units).map(|unit| format!("{number}{unit}"));
            Err(ValueError::form_with_nearest(kind, text, close))
        }
        (Err(_), _) => Err(ValueError::form(kind, text)),
    }
}

/// `MB` means `MiB` here, and `sec` means `s`.
fn nearest_unit<'a>(unit: &str, units: &'a [(&'static str, u64)]) -> Option<&'a str> {
    let names = || units.iter().map(|(name, _)| *name);
    let same_letter = |name: &&str| {
        name.chars().next().map(|c| c.to_ascii_lowercase())
            == unit.chars().next().map(|c| c.to_ascii_lowercase())
    };
    let lowered = unit.to_ascii_lowercase();
    names()
        .find(|name| name.to_ascii_lowercase() == lowered)
        .or_else(|| names().find(same_letter).filter(|_| !unit.is_empty()))
        .or_else(|| nearest(unit, names()))
}

fn show(value: u64, units: &[(&str, u64)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let fits = |(_, factor): &&(&str, u64)| value.is_multiple_of(*factor) && value >= *factor;
    let (name, factor) = units.iter().find(fits).unwrap_or(&units[units.len() - 1]);
    f.pad(&format!("{}{name}", value / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_are_read_and_shown_alike() {
        for text in ["0B", "512B", "64KiB", "64MiB", "3GiB", "7TiB", "1025B"] {
            assert_eq!(ByteSize::parse(text).expect(text).to_string(), text);
        }
        for text in ["0ms", "50ms", "5s", "90s", "10m", "36h", "7d"] {
            assert_eq!(Span::parse(text).expect(text).to_string(), text);
        }
        assert_eq!(ByteSize::parse("64 MiB"), Ok(ByteSize::new(64 << 20)));
        assert_eq!(Option::<Span>::parse("none"), Ok(None));
    }

    #[test]
    fn a_wrong_unit_is_refused_with_the_nearest_right_one() {
        for (text, right) in
            [("64MB", "64MiB"), ("64mib", "64MiB"), ("2G", "2GiB"), ("10k", "10KiB")]
        {
            let error = ByteSize::parse(text).expect_err(text).to_string();
            assert!(error.ends_with(&format!("did you mean {right:?}?")), "{error}");
        }
        for (text, right) in [("5sec", "5s"), ("2days", "2d"), ("10MS", "10ms"), ("3 hours", "3h")]
        {
            let error = Span::parse(text).expect_err(text).to_string();
            assert!(error.ends_with(&format!("did you mean {right:?}?")), "{error}");
        }
    }

    #[test]
    fn a_number_without_unit_and_a_unit_without_number_are_refused() {
        for text in ["", "64", "MiB", "-1MiB", "1.5GiB", "99999999999TiB", "99999999999999999999B"]
        {
            assert!(ByteSize::parse(text).is_err(), "{text}");
            assert!(Span::parse(text).is_err(), "{text}");
        }
    }
}
