//! Whether record lengths add up to payload and count: what the server checks of a batch that it
//! does not parse.

use crate::batch::BatchError;
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::record::RECORD_BODY_BYTES_MIN;
use crate::varint::{self, BYTES_MAX, VarintError};

/// Counts records in a payload that comes in pieces. Looks at nothing but their lengths.
#[derive(Debug, Clone, Default)]
pub struct RecordCounter {
    count: u32,
    /// Payload bytes seen.
    seen: usize,
    /// Bytes of the present record that are still to come.
    skip: usize,
    /// A length that was cut in two by the end of a piece.
    partial: [u8; BYTES_MAX],
    partial_bytes: usize,
    /// The first record that cannot be, and where it starts.
    problem: Option<(usize, &'static str)>,
}

impl RecordCounter {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on with the next bytes of the payload.
    #[inline]
    pub fn update(&mut self, piece: &[u8]) {
        if self.problem.is_some() {
            return;
        }
        let mut at = 0;
        if self.partial_bytes > 0 {
            at = self.complete_partial(piece);
            if self.problem.is_some() {
                return;
            }
        }
        if self.skip > 0 {
            let skipped = self.skip.min(piece.len() - at);
            self.skip -= skipped;
            at += skipped;
        }
        while at < piece.len() {
            let (body, used) = match varint::read(&piece[at..]) {
                Ok(read) => read,
                Err(VarintError::Truncated) => {
                    self.keep_partial(&piece[at..]);
                    break;
                }
                Err(_) => return self.fail(self.seen + at, "length is not a number"),
            };
            let Some(body) = body_bytes(body) else {
                return self.fail(self.seen + at, "length that no record has");
            };
            self.count += 1;
            at += used;
            let here = body.min(piece.len() - at);
            self.skip = body - here;
            at += here;
        }
        self.seen += piece.len();
    }

    /// Whether the payload has exactly `expected` records and nothing else.
    ///
    /// # Errors
    /// [`BatchError::Records`] with the record at which it stops to add up.
    #[inline]
    pub fn finish(self, expected: u32) -> Result<(), BatchError> {
        let (index, at, problem) = if let Some((at, problem)) = self.problem {
            (self.count, at, problem)
        } else if self.skip > 0 {
            (self.count - 1, self.seen, "payload ends inside it")
        } else if self.partial_bytes > 0 {
            (self.count, self.seen, "payload ends inside its length")
        } else if self.count < expected {
            (self.count, self.seen, "missing, although the header counts it")
        } else if self.count > expected {
            (expected, self.seen, "not counted by the header")
        } else {
            return Ok(());
        };
        Err(BatchError::Records { index, at, problem })
    }

    #[cold]
    fn keep_partial(&mut self, start: &[u8]) {
        self.partial[..start.len()].copy_from_slice(start);
        self.partial_bytes = start.len();
    }

    /// Puts a length together whose start came with the last piece. Returns how far it goes into
    /// this one.
    #[cold]
    fn complete_partial(&mut self, piece: &[u8]) -> usize {
        let before = self.partial_bytes;
        let taken = piece.len().min(BYTES_MAX - before);
        self.partial[before..before + taken].copy_from_slice(&piece[..taken]);
        match varint::read(&self.partial[..before + taken]) {
            Ok((body, used)) => {
                self.partial_bytes = 0;
                match body_bytes(body) {
                    Some(body) => {
                        self.count += 1;
                        self.skip = body;
                    }
                    None => self.fail(self.seen - before, "length that no record has"),
                }
                used - before
            }
            Err(VarintError::Truncated) => {
                self.partial_bytes += taken;
                taken
            }
            Err(_) => {
                self.fail(self.seen - before, "length is not a number");
                taken
            }
        }
    }

    #[cold]
    fn fail(&mut self, at: usize, problem: &'static str) {
        self.problem = Some((at, problem));
    }
}

fn body_bytes(length: u64) -> Option<usize> {
    let length = usize::try_from(length).ok()?;
    (RECORD_BODY_BYTES_MIN..=PAYLOAD_BYTES_MAX).contains(&length).then_some(length)
}

/// Whether `payload` has exactly `expected` records and nothing else, by their lengths.
///
/// # Errors
/// As [`RecordCounter::finish`].
#[inline]
pub fn count_records(payload: &[u8], expected: u32) -> Result<(), BatchError> {
    let mut counter = RecordCounter::new();
    counter.update(payload);
    counter.finish(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bodies of these lengths, each with its length before it.
    fn payload(bodies: &[usize]) -> Vec<u8> {
        let mut out = Vec::new();
        for &body in bodies {
            let mut length = [0; BYTES_MAX];
            let used = varint::write(body as u64, &mut length, 0);
            out.extend_from_slice(&length[..used]);
            out.resize(out.len() + body, 0xff);
        }
        out
    }

    fn problem(payload: &[u8], expected: u32) -> (u32, usize, &'static str) {
        match count_records(payload, expected) {
            Err(BatchError::Records { index, at, problem }) => (index, at, problem),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn records_that_add_up_are_taken() {
        assert_eq!(count_records(&[], 0), Ok(()));
        assert_eq!(count_records(&payload(&[4, 127, 128, 20_000, 5]), 5), Ok(()));
    }

    #[test]
    fn payload_cut_anywhere_into_pieces_counts_the_same() {
        let payload = payload(&[4, 300, 127, 128, 5]);
        for first in 0..=payload.len() {
            for second in [first, first + 1, first + 2, payload.len()] {
                let (first, second) = (first.min(payload.len()), second.min(payload.len()));
                let mut counter = RecordCounter::new();
                counter.update(&payload[..first]);
                counter.update(&payload[first..second]);
                counter.update(&payload[second..]);
                assert_eq!(counter.finish(5), Ok(()), "{first} {second}");
            }
        }
    }

    #[test]
    fn what_does_not_add_up_is_named_by_record_and_place() {
        let good = payload(&[4, 4, 4]);
        assert_eq!(problem(&good, 4), (3, 15, "missing, although the header counts it"));
        assert_eq!(problem(&good, 2), (2, 15, "not counted by the header"));
        assert_eq!(problem(&good[..14], 3), (2, 14, "payload ends inside it"));
        assert_eq!(problem(&[0x80], 1), (0, 1, "payload ends inside its length"));
        assert_eq!(problem(&payload(&[4, 3]), 2), (1, 5, "length that no record has"));
        assert_eq!(problem(&[4, 0, 0, 0, 0, 0x84, 0], 2), (1, 5, "length is not a number"));
        assert_eq!(problem(&payload(&[PAYLOAD_BYTES_MAX + 1]), 1).2, "length that no record has");
    }

    #[test]
    fn first_problem_is_kept_when_more_bytes_follow() {
        let mut counter = RecordCounter::new();
        counter.update(&[0x80]);
        counter.update(&[0, 3, 3, 3]);
        counter.update(&[3, 3, 3]);
        let found = counter.finish(1);
        let problem = "length is not a number";
        assert_eq!(found, Err(BatchError::Records { index: 0, at: 0, problem }));
    }
}
