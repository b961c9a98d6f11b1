//! Finds records in bytes that are written by a pattern.
//!
//! Bytes are bytes: nothing here asks for UTF-8, and an empty line is a record with an empty value.

use memchr::memmem;

use super::{Field, Part, PatternError, letter, parse};

/// A record as it stands in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    /// `None` where the pattern has no key, or the key is empty.
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: &'a [u8],
}

/// A record that is not written as the pattern says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it has no `{}`, which the pattern expects {place}", .missing.escape_ascii())]
pub(crate) struct Mismatch {
    missing: Vec<u8>,
    place: &'static str,
}

/// How records stand in the input: `before`, a field, `between`, the other field, and then `end`.
#[derive(Debug)]
pub(crate) struct Splitter {
    before: Vec<u8>,
    /// The first field is the key; without it, there is no key at all.
    layout: Layout,
    end: memmem::Finder<'static>,
}

#[derive(Debug)]
enum Layout {
    Value,
    KeyThenValue(memmem::Finder<'static>),
    ValueThenKey(memmem::Finder<'static>),
}

impl Splitter {
    /// Whether the input has the keys.
    pub(crate) fn has_key(&self) -> bool {
        !matches!(self.layout, Layout::Value)
    }

    /// Checks that records can be told apart with `pattern`.
    pub(crate) fn new(pattern: &str) -> Result<Self, PatternError> {
        let mut parts = parse(pattern)?.into_iter().peekable();
        let mut literal = || match parts.peek() {
            Some(Part::Literal(_)) => match parts.next() {
                Some(Part::Literal(text)) => (text, parts.next()),
                _ => unreachable!("just seen"),
            },
            _ => (Vec::new(), parts.next()),
        };
        let (before, first) = literal();
        let first = input_field(first.as_ref())?.ok_or(PatternError::NoValue)?;
        let (between, second) = literal();
        let Some(second) = input_field(second.as_ref())? else {
            let layout = if first == Field::Value {
                Layout::Value
            } else {
                return Err(PatternError::NoValue);
            };
            return Self::finish(before, layout, &between);
        };
        if first == second {
            return Err(PatternError::Twice(letter(second)));
        }
        if between.is_empty() {
            return Err(PatternError::NothingBetween);
        }
        let between = memmem::Finder::new(&between).into_owned();
        let layout = match first {
            Field::Key => Layout::KeyThenValue(between),
            _ => Layout::ValueThenKey(between),
        };
        let (end, third) = literal();
        match input_field(third.as_ref())? {
            Some(third) => Err(PatternError::Twice(letter(third))),
            None => Self::finish(before, layout, &end),
        }
    }

    fn finish(before: Vec<u8>, layout: Layout, end: &[u8]) -> Result<Self, PatternError> {
        if end.is_empty() {
            return Err(PatternError::NoEnd);
        }
        Ok(Self { before, layout, end: memmem::Finder::new(end).into_owned() })
    }

    /// Where the last whole record of `bytes` ends; what follows needs more input.
    pub(crate) fn last_end(&self, bytes: &[u8]) -> Option<usize> {
        match self.end.needle() {
            [byte] => memchr::memrchr(*byte, bytes).map(|at| at + 1),
            // Forwards, as `records` goes: an end such as `\n\n` can overlap itself.
            end => self.end.find_iter(bytes).last().map(|at| at + end.len()),
        }
    }

    /// The records in `bytes`. What stands after the last end is a record too, unless it is empty.
    pub(crate) fn records<'a>(
        &'a self,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = Result<Found<'a>, Mismatch>> {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (record, after) = match self.end_of(rest) {
                Some(at) => (&rest[..at], &rest[at + self.end.needle().len()..]),
                None => (rest, &[][..]),
            };
            rest = after;
            Some(self.fields(record))
        })
    }

    fn end_of(&self, bytes: &[u8]) -> Option<usize> {
        match self.end.needle() {
            [byte] => memchr::memchr(*byte, bytes),
            _ => self.end.find(bytes),
        }
    }

    /// Takes one record, whose end is cut off, apart.
    fn fields<'a>(&'a self, record: &'a [u8]) -> Result<Found<'a>, Mismatch> {
        let missing = |missing: &[u8], place| Mismatch { missing: missing.to_vec(), place };
        let fields = record
            .strip_prefix(self.before.as_slice())
            .ok_or_else(|| missing(&self.before, "at the start"))?;
        let two = |between: &memmem::Finder<'_>, place| {
            let at = between.find(fields).ok_or_else(|| missing(between.needle(), place))?;
            Ok((&fields[..at], &fields[at + between.needle().len()..]))
        };
        let (key, value) = match &self.layout {
            Layout::Value => return Ok(Found { key: None, value: fields }),
            Layout::KeyThenValue(between) => two(between, "after the key")?,
            Layout::ValueThenKey(between) => {
                let (value, key) = two(between, "after the value")?;
                (key, value)
            }
        };
        Ok(Found { key: Some(key).filter(|key| !key.is_empty()), value })
    }
}

/// The field that a part of an input pattern stands for.
fn input_field(part: Option<&Part>) -> Result<Option<Field>, PatternError> {
    match part {
        Some(Part::Field(field @ (Field::Value | Field::Key))) => Ok(Some(*field)),
        Some(Part::Field(other)) => Err(PatternError::NotForInput(letter(*other))),
        Some(Part::Literal(_)) => unreachable!("parse joins neighbouring literals"),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split<'a>(splitter: &'a Splitter, bytes: &'a [u8]) -> Vec<(Option<&'a [u8]>, &'a [u8])> {
        splitter.records(bytes).map(|found| found.unwrap()).map(|f| (f.key, f.value)).collect()
    }

    #[test]
    fn each_line_is_a_record_and_so_is_a_last_one_without_newline() {
        let lines = Splitter::new(r"%v\n").unwrap();
        let found = split(&lines, b"one\n\n\xff\xfe\nlast");
        let values: Vec<_> = found.into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, [b"one".as_slice(), b"", b"\xff\xfe", b"last"]);
        assert_eq!(split(&lines, b""), [], "no input is no record");
        assert_eq!(split(&lines, b"\n"), [(None, b"".as_slice())], "an empty line is one");
    }

    #[test]
    fn key_and_value_are_told_apart_at_the_first_separator() {
        let pattern = Splitter::new(r"%k %v\n").unwrap();
        let found = split(&pattern, b"a one two\n no key\n");
        assert_eq!(
            found,
            [(Some(b"a".as_slice()), b"one two".as_slice()), (None, b"no key".as_slice())]
        );
    }

    #[test]
    fn long_separators_and_other_orders_work() {
        let pattern = Splitter::new(r"<%v=>%k>\r\n").unwrap();
        assert_eq!(
            split(&pattern, b"<a\nb=>c>\r\n<=>>\r\n"),
            [(Some(b"c".as_slice()), b"a\nb".as_slice()), (None, b"".as_slice())]
        );
    }

    #[test]
    fn a_record_that_does_not_match_says_what_is_missing() {
        let pattern = Splitter::new(r"%k\t%v\n").unwrap();
        let bytes = b"a\tb\nonly\n";
        let second = pattern.records(bytes).nth(1).unwrap();
        let error = second.unwrap_err().to_string();
        assert_eq!(error, r"it has no `\t`, which the pattern expects after the key");
    }

    #[test]
    fn only_whole_records_are_before_the_last_end() {
        let lines = Splitter::new(r"%v\n").unwrap();
        assert_eq!(lines.last_end(b"one\ntw"), Some(4));
        assert_eq!(lines.last_end(b"one"), None);
        let paragraphs = Splitter::new(r"%v\n\n").unwrap();
        assert_eq!(paragraphs.last_end(b"one\n\n\n"), Some(5), "the third may begin another end");
    }

    #[test]
    fn a_pattern_that_cannot_be_read_with_is_refused() {
        let refused = |pattern| Splitter::new(pattern).unwrap_err();
        assert_eq!(refused("%v"), PatternError::NoEnd);
        assert_eq!(refused(r"%k\n"), PatternError::NoValue);
        assert_eq!(refused(r"\n"), PatternError::NoValue);
        assert_eq!(refused(r"%k%v\n"), PatternError::NothingBetween);
        assert_eq!(refused(r"%v %v\n"), PatternError::Twice('v'));
        assert_eq!(refused(r"%k %v %k\n"), PatternError::Twice('k'));
        assert_eq!(refused(r"%o %v\n"), PatternError::NotForInput('o'));
    }
}
