//! Writes records as a pattern says.

use std::io::Write;

use super::{Field, Part, PatternError, parse};

/// A record with everything that a pattern can name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printable<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [(&'a str, &'a [u8])],
}

/// Prints records with one pattern.
#[derive(Debug)]
pub(crate) struct Renderer {
    parts: Vec<Part>,
}

impl Renderer {
    pub(crate) fn new(pattern: &str) -> Result<Self, PatternError> {
        Ok(Self { parts: parse(pattern)? })
    }

    /// Whether headers are asked for, which are costly to gather.
    pub(crate) fn wants_headers(&self) -> bool {
        self.parts.contains(&Part::Field(Field::Headers))
    }

    /// Adds one record to `out`. A key or value that a record does not have is nothing.
    pub(crate) fn render(&self, record: &Printable<'_>, out: &mut Vec<u8>) {
        let key = record.key.unwrap_or_default();
        let value = record.value.unwrap_or_default();
        for part in &self.parts {
            match part {
                Part::Literal(bytes) => out.extend_from_slice(bytes),
                Part::Field(Field::Value) => out.extend_from_slice(value),
                Part::Field(Field::Key) => out.extend_from_slice(key),
                Part::Field(Field::Topic) => out.extend_from_slice(record.topic.as_bytes()),
                Part::Field(Field::Partition) => number(out, record.partition),
                Part::Field(Field::Offset) => number(out, record.offset),
                Part::Field(Field::Timestamp) => number(out, record.timestamp_ms),
                Part::Field(Field::ValueBytes) => number(out, value.len()),
                Part::Field(Field::KeyBytes) => number(out, key.len()),
                Part::Field(Field::Headers) => headers(out, record.headers),
            }
        }
    }
}

fn number(out: &mut Vec<u8>, number: impl std::fmt::Display) {
    write!(out, "{number}").expect("a Vec takes every byte");
}

fn headers(out: &mut Vec<u8>, headers: &[(&str, &[u8])]) {
    for (at, (name, value)) in headers.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        out.extend_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Printable<'_> = Printable {
        topic: "orders",
        partition: 2,
        offset: 41,
        timestamp_ms: 1_700_000_000_123,
        key: Some(b"k\xff"),
        value: Some(b"value"),
        headers: &[("a", b"1"), ("b", b"\x00")],
    };

    fn rendered(pattern: &str, record: &Printable<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        Renderer::new(pattern).unwrap().render(record, &mut out);
        out
    }

    #[test]
    fn every_field_is_printed_as_its_bytes() {
        assert_eq!(rendered(r"%t/%p %o %k=%v\n", &RECORD), b"orders/2 41 k\xff=value\n");
        assert_eq!(rendered(r"%d %h %K %V%%", &RECORD), b"1700000000123 a=1,b=\x00 2 5%");
    }

    #[test]
    fn what_a_record_does_not_have_is_nothing() {
        let bare = Printable { key: None, value: None, headers: &[], ..RECORD };
        assert_eq!(rendered("[%k|%v|%h|%K]", &bare), b"[|||0]");
    }
}
