//! Records in an uncompressed payload, read one after the other.
//!
//! The bytes are whatever a client sent. The server only counts ([`crate::record_counter`]); what is
//! inside a record is checked when somebody reads it ([`Records`]).

use std::str;

use crate::batch::BatchError;
use crate::limits::{HEADERS_PER_RECORD_MAX, KEY_BYTES_MAX, RECORD_HEADER_NAME_BYTES_MAX};
use crate::numbers::TimestampMs;
use crate::varint::{self, VarintError};

/// Shortest body of a record: timestamp delta, key length, value length and header count.
pub const RECORD_BODY_BYTES_MIN: usize = 4;

/// A record, borrowed from its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// What the producer said.
    pub timestamp: TimestampMs,
    /// The key, if there is one; an empty key is not none.
    pub key: Option<&'a [u8]>,
    /// The value, if there is one; an empty value is not none.
    pub value: Option<&'a [u8]>,
    /// Names and values that travel with it.
    pub headers: RecordHeaders<'a>,
}

/// Name and value of each header of a record, in the producer's order. Names may repeat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordHeaders<'a> {
    // Invariant: `count` headers, checked when the record was read.
    bytes: &'a [u8],
    count: usize,
}

impl<'a> RecordHeaders<'a> {
    fn take_next(&mut self) -> Result<(&'a str, &'a [u8]), &'static str> {
        let name = take_bytes(&mut self.bytes, "header name")?;
        if name.len() > RECORD_HEADER_NAME_BYTES_MAX {
            return Err("header name over its limit");
        }
        let Ok(name) = str::from_utf8(name) else { return Err("header name is not UTF-8") };
        Ok((name, take_bytes(&mut self.bytes, "header value")?))
    }
}

impl<'a> Iterator for RecordHeaders<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        self.take_next().ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for RecordHeaders<'_> {}

/// Reads the records of a payload one after the other. After an error there is nothing more.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    payload_bytes: usize,
    first_timestamp: TimestampMs,
    index: u32,
    count: u32,
}

impl<'a> Records<'a> {
    /// The `count` records of an uncompressed payload.
    pub fn new(payload: &'a [u8], count: u32, first_timestamp: TimestampMs) -> Self {
        Self { rest: payload, payload_bytes: payload.len(), first_timestamp, index: 0, count }
    }

    /// What has not been read yet. With the number of records that are left, reading can go on from
    /// there later.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn read(&mut self) -> Result<RecordRef<'a>, &'static str> {
        let mut body = take_bytes(&mut self.rest, "record")?;
        let delta = varint::unzigzag(take_number(&mut body)?);
        let key = take_optional(&mut body, "key")?;
        if key.is_some_and(|key| key.len() > KEY_BYTES_MAX) {
            return Err("key over its limit");
        }
        let value = take_optional(&mut body, "value")?;
        let count = take_number(&mut body)?;
        let Some(count) =
            usize::try_from(count).ok().filter(|&count| count <= HEADERS_PER_RECORD_MAX)
        else {
            return Err("more headers than the limit");
        };
        let mut headers = RecordHeaders { bytes: body, count };
        for _ in 0..count {
            headers.take_next()?;
        }
        if !headers.bytes.is_empty() {
            return Err("bytes after the last header");
        }
        Ok(RecordRef {
            // Wraps as the builder's difference did, so that every pair of times survives.
            timestamp: TimestampMs::new(self.first_timestamp.get().wrapping_add(delta)),
            key,
            value,
            headers: RecordHeaders { bytes: body, count },
        })
    }

    #[cold]
    fn fail(&mut self, index: u32, at: usize, problem: &'static str) -> BatchError {
        self.index = self.count;
        self.rest = &[];
        BatchError::Records { index, at, problem }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordRef<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.payload_bytes - self.rest.len();
        if self.index == self.count {
            if self.rest.is_empty() {
                return None;
            }
            return Some(Err(self.fail(self.count, at, "bytes after the last record")));
        }
        let index = self.index;
        match self.read() {
            Ok(record) => {
                self.index += 1;
                Some(Ok(record))
            }
            Err(problem) => Some(Err(self.fail(index, at, problem))),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, usize::try_from(self.count - self.index).ok().and_then(|left| left.checked_add(1)))
    }
}

fn problem_of(error: VarintError) -> &'static str {
    match error {
        VarintError::Truncated => "ends inside a number",
        VarintError::TooLong => "number of more than 64 bits",
        VarintError::NotShortest => "number not in its shortest form",
    }
}

#[inline]
fn take_number(bytes: &mut &[u8]) -> Result<u64, &'static str> {
    let (value, used) = varint::read(bytes).map_err(problem_of)?;
    *bytes = &bytes[used..];
    Ok(value)
}

#[inline]
fn take<'a>(bytes: &mut &'a [u8], len: u64, what: &'static str) -> Result<&'a [u8], &'static str> {
    let taken = usize::try_from(len).ok().and_then(|len| bytes.split_at_checked(len));
    let Some((taken, rest)) = taken else {
        return Err(match what {
            "record" => "record longer than the payload",
            "key" => "key longer than the record",
            "value" => "value longer than the record",
            "header name" => "header name longer than the record",
            _ => "header value longer than the record",
        });
    };
    *bytes = rest;
    Ok(taken)
}

#[inline]
fn take_bytes<'a>(bytes: &mut &'a [u8], what: &'static str) -> Result<&'a [u8], &'static str> {
    let len = take_number(bytes)?;
    take(bytes, len, what)
}

#[inline]
fn take_optional<'a>(
    bytes: &mut &'a [u8],
    what: &'static str,
) -> Result<Option<&'a [u8]>, &'static str> {
    match take_number(bytes)? {
        0 => Ok(None),
        len => take(bytes, len - 1, what).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(payload: &[u8], count: u32) -> (u32, usize, &'static str) {
        let mut records = Records::new(payload, count, TimestampMs::ZERO);
        let error = records.find_map(Result::err);
        assert_eq!(records.next(), None, "nothing follows an error");
        match error {
            Some(BatchError::Records { index, at, problem }) => (index, at, problem),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_no_record_can_be_is_named_by_record_and_place() {
        let good = [4, 0, 0, 0, 0];
        let cases: [(&[u8], &str); 11] = [
            (&[], "ends inside a number"),
            (&[5, 0, 0, 0, 0], "record longer than the payload"),
            (&[3, 0, 0, 0], "ends inside a number"),
            (&[5, 0, 0, 0, 0, 0], "bytes after the last header"),
            (&[5, 0x80, 0, 0, 0, 0], "number not in its shortest form"),
            (&[4, 0, 9, 0, 0], "key longer than the record"),
            (&[4, 0, 0, 9, 0], "value longer than the record"),
            (&[5, 0, 0, 0, 1, 9], "header name longer than the record"),
            (&[6, 0, 0, 0, 1, 0, 9], "header value longer than the record"),
            (&[7, 0, 0, 0, 1, 1, 0xff, 0], "header name is not UTF-8"),
            (&[5, 0, 0, 0, 0x81, 0x02], "more headers than the limit"),
        ];
        for (bad, expected) in cases {
            assert_eq!(problem(&[&good, bad].concat(), 2), (1, 5, expected));
        }
        assert_eq!(problem(&good, 0), (0, 0, "bytes after the last record"));
        assert_eq!(problem(&[&good[..], &[0]].concat(), 1), (1, 5, "bytes after the last record"));
    }

    #[test]
    fn headers_may_repeat_and_be_empty() {
        let payload = [12, 0, 0, 0, 3, 1, b'a', 0, 1, b'a', 0, 0, 0];
        let mut records = Records::new(&payload, 1, TimestampMs::ZERO);
        let record = records.next().expect("one record").expect("a valid record");
        assert_eq!(record.headers.len(), 3);
        let found: Vec<_> = record.headers.collect();
        assert_eq!(found, [("a", &b""[..]), ("a", b""), ("", b"")]);
        assert_eq!(records.next(), None);
    }
}
