//! The records of a workload: a stream's seed and a record's number in it determine every byte, so
//! that what comes back can be checked against nothing but its own name.

use crate::seed::Dice;

/// Names the records that one producer sends to one partition of one incarnation of a topic. Odd
/// numbers name streams of bulky records.
pub(crate) type StreamId = u64;

/// Stream and number, at the front of every value.
const NAME_BYTES: usize = 16;
/// Most records are small.
const SMALL_BYTES_MAX: u64 = 200;
/// Of 100 records, this many are larger.
const LARGE_PERCENT: u64 = 3;
const LARGE_BYTES_MAX: u64 = 20_000;
const BULKY_BYTES_MAX: u64 = 32_000;
/// Of 100 records, this many have a key.
const KEY_PERCENT: u64 = 30;
const KEY_BYTES_MAX: u64 = 24;

/// A record as it goes in and must come out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Vec<u8>,
}

impl Content {
    /// The record `number` of `stream`.
    pub(super) fn of(seed: u64, stream: StreamId, number: u64) -> Self {
        let mut dice = Dice::for_part(seed ^ stream.rotate_left(32), number);
        let len_max = match dice.percent(LARGE_PERCENT) {
            _ if is_bulky(stream) => BULKY_BYTES_MAX,
            true => LARGE_BYTES_MAX,
            false => SMALL_BYTES_MAX,
        };
        let len = usize::try_from(dice.below(len_max)).expect("a small length");
        let mut value = vec![0; NAME_BYTES + len];
        let (name, rest) = value.split_at_mut(NAME_BYTES);
        name[..8].copy_from_slice(&stream.to_le_bytes());
        name[8..].copy_from_slice(&number.to_le_bytes());
        dice.fill(rest);
        let key = dice.percent(KEY_PERCENT).then(|| {
            let len = usize::try_from(dice.below(KEY_BYTES_MAX)).expect("a small length");
            let mut key = vec![0; len];
            dice.fill(&mut key);
            key
        });
        Self { key, value }
    }

    /// Which record a value says it is.
    pub(super) fn name_of(value: &[u8]) -> Option<(StreamId, u64)> {
        let stream = value.first_chunk::<8>()?;
        let number = value[8..].first_chunk::<8>()?;
        Some((u64::from_le_bytes(*stream), u64::from_le_bytes(*number)))
    }

    /// A stream that nobody had before.
    pub(super) fn stream_id(dice: &mut Dice, bulky: bool) -> StreamId {
        (dice.next() & !1) | u64::from(bulky)
    }
}

fn is_bulky(stream: StreamId) -> bool {
    stream & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_names_itself_and_differs_from_every_other() {
        let content = Content::of(1, 7, 9);
        assert_eq!(Content::name_of(&content.value), Some((7, 9)));
        assert_eq!(content, Content::of(1, 7, 9));
        assert_ne!(content, Content::of(2, 7, 9));
        assert_eq!(Content::name_of(&content.value[..NAME_BYTES - 1]), None);
    }
}
