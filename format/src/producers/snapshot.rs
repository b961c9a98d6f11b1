//! The producer table as a file, as it was where a segment begins.

use std::collections::{HashMap, VecDeque};

use super::producer::{Producer, RememberedBatch};
use super::table::ProducerTable;
use crate::file_error::{FileError, FileKind};
use crate::frame::Frame;
use crate::ids::ProducerId;
use crate::le;
use crate::limits::{
    BATCHES_REMEMBERED_PER_PRODUCER, PRODUCERS_PER_PARTITION_MAX, RECORDS_PER_BATCH_MAX,
};
use crate::numbers::{Epoch, Offset, ProducerEpoch, Sequence, TimestampMs};

/// First bytes of the file.
const MAGIC: u32 = u32::from_le_bytes(*b"FPRD");

const VERSION: u8 = 1;

const HEADER_BYTES: usize = 32;
const AT_BASE_OFFSET: usize = 8;
const AT_PREVIOUS_HEADER_CRC: usize = 16;
const AT_COUNT: usize = 20;
const AT_CRC: usize = 24;

const PRODUCER_BYTES: usize = 24;
const AT_PRODUCER_EPOCH: usize = 16;
const AT_BATCH_COUNT: usize = 20;

const BATCH_BYTES: usize = 40;
const AT_FIRST_SEQUENCE: usize = 0;
const AT_RECORD_COUNT: usize = 8;
const AT_PAYLOAD_CRC: usize = 12;
const AT_BATCH_OFFSET: usize = 16;
const AT_EPOCH: usize = 24;
const AT_APPEND_TIME: usize = 32;

const FRAME: Frame = Frame {
    kind: FileKind::ProducerSnapshot,
    magic: MAGIC,
    version: VERSION,
    fixed_bytes: HEADER_BYTES,
    at_crc: AT_CRC,
};

/// Where in the log a snapshot was taken. A segment header says the same of its start, which shows
/// whether the two belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SnapshotPoint {
    /// Every record below is in the table.
    pub base_offset: Offset,
    /// Header CRC of the last batch that is in the table; 0 when there was none.
    pub previous_header_crc: u32,
}

impl ProducerTable {
    /// The whole file of a snapshot. Producers are written in the order of their ids, so that equal
    /// tables have equal bytes.
    pub fn encode_snapshot(&self, point: SnapshotPoint) -> Vec<u8> {
        let mut producers: Vec<_> = self.producers.iter().collect();
        producers.sort_unstable_by_key(|(id, _)| **id);
        let batches: usize = producers.iter().map(|(_, producer)| producer.batches.len()).sum();
        let bytes = HEADER_BYTES + producers.len() * PRODUCER_BYTES + batches * BATCH_BYTES;
        let mut out = Vec::with_capacity(bytes);
        out.resize(HEADER_BYTES, 0);
        le::put_u64(&mut out, AT_BASE_OFFSET, point.base_offset.get());
        le::put_u32(&mut out, AT_PREVIOUS_HEADER_CRC, point.previous_header_crc);
        le::put_u32(&mut out, AT_COUNT, count(producers.len()));
        for (id, producer) in producers {
            out.extend_from_slice(&id.to_bytes());
            out.extend_from_slice(&producer.epoch.get().to_le_bytes());
            out.extend_from_slice(&count(producer.batches.len()).to_le_bytes());
            for batch in &producer.batches {
                out.extend_from_slice(&encode_batch(batch));
            }
        }
        FRAME.seal(&mut out);
        out
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("the table is bounded")
}

fn encode_batch(batch: &RememberedBatch) -> [u8; BATCH_BYTES] {
    let mut out = [0; BATCH_BYTES];
    le::put_u64(&mut out, AT_FIRST_SEQUENCE, batch.first_sequence.get());
    le::put_u32(&mut out, AT_RECORD_COUNT, batch.record_count);
    le::put_u32(&mut out, AT_PAYLOAD_CRC, batch.payload_crc);
    le::put_u64(&mut out, AT_BATCH_OFFSET, batch.base_offset.get());
    le::put_u64(&mut out, AT_EPOCH, batch.epoch.get());
    le::put_i64(&mut out, AT_APPEND_TIME, batch.append_time.get());
    out
}

/// Reads the whole file of a snapshot.
///
/// # Errors
/// Anything that [`ProducerTable::encode_snapshot`] cannot have written.
pub fn decode_snapshot(bytes: &[u8]) -> Result<(SnapshotPoint, ProducerTable), FileError> {
    FRAME.check_start(bytes)?;
    FRAME.check_crc(bytes)?;
    let point = SnapshotPoint {
        base_offset: Offset::new(le::get_u64(bytes, AT_BASE_OFFSET)),
        previous_header_crc: le::get_u32(bytes, AT_PREVIOUS_HEADER_CRC),
    };
    let expected = bounded(le::get_u32(bytes, AT_COUNT), PRODUCERS_PER_PARTITION_MAX)
        .map_err(|found| FRAME.malformed("producer count", found, "at most 1024"))?;
    let mut rest = &bytes[HEADER_BYTES..];
    let mut producers = HashMap::with_capacity(expected);
    let mut before = ProducerId::NONE;
    for index in 0..expected {
        let (id, producer) = decode_producer(&mut rest, point.base_offset)?;
        if id <= before {
            let expected = "one whose id is above that of the one before";
            return Err(FRAME.malformed("producer", index as u64, expected));
        }
        before = id;
        producers.insert(id, producer);
    }
    if !rest.is_empty() {
        return Err(FRAME.malformed("bytes after the last producer", rest.len() as u64, "0"));
    }
    Ok((point, ProducerTable { producers }))
}

fn decode_producer(
    rest: &mut &[u8],
    base_offset: Offset,
) -> Result<(ProducerId, Producer), FileError> {
    let head: &[u8; PRODUCER_BYTES] = take(rest)?;
    let batch_count = bounded(le::get_u32(head, AT_BATCH_COUNT), BATCHES_REMEMBERED_PER_PRODUCER)
        .and_then(|count| if count == 0 { Err(0) } else { Ok(count) })
        .map_err(|found| FRAME.malformed("batch count of a producer", found, "1 to 64"))?;
    let mut batches: VecDeque<RememberedBatch> = VecDeque::with_capacity(batch_count);
    for _ in 0..batch_count {
        let batch = decode_batch(take(rest)?, base_offset)?;
        if batches.back().is_some_and(|last| last.next_sequence() != batch.first_sequence) {
            let found = batch.first_sequence.get();
            return Err(FRAME.malformed("sequence of a batch", found, "where the one before ends"));
        }
        batches.push_back(batch);
    }
    let id = ProducerId::from_bytes(le::array(head, 0));
    let epoch = ProducerEpoch::new(le::get_u32(head, AT_PRODUCER_EPOCH));
    Ok((id, Producer { epoch, batches }))
}

fn decode_batch(
    bytes: &[u8; BATCH_BYTES],
    base_offset: Offset,
) -> Result<RememberedBatch, FileError> {
    let batch = RememberedBatch {
        first_sequence: Sequence::new(le::get_u64(bytes, AT_FIRST_SEQUENCE)),
        record_count: le::get_u32(bytes, AT_RECORD_COUNT),
        payload_crc: le::get_u32(bytes, AT_PAYLOAD_CRC),
        base_offset: Offset::new(le::get_u64(bytes, AT_BATCH_OFFSET)),
        epoch: Epoch::new(le::get_u64(bytes, AT_EPOCH)),
        append_time: TimestampMs::new(le::get_i64(bytes, AT_APPEND_TIME)),
    };
    if !(1..=RECORDS_PER_BATCH_MAX).contains(&batch.record_count) {
        let found = batch.record_count.into();
        return Err(FRAME.malformed("record count of a batch", found, "1 to 262144"));
    }
    if batch.base_offset >= base_offset {
        let found = batch.base_offset.get();
        return Err(FRAME.malformed("offset of a batch", found, "below that of the snapshot"));
    }
    Ok(batch)
}

fn bounded(found: u32, max: usize) -> Result<usize, u64> {
    usize::try_from(found).ok().filter(|&count| count <= max).ok_or(found.into())
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], FileError> {
    let Some((taken, after)) = rest.split_first_chunk() else {
        let expected = "at least what the next entry has";
        return Err(FRAME.malformed("bytes left", rest.len() as u64, expected));
    };
    *rest = after;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{batch, leader, producer};
    use super::*;

    const POINT: SnapshotPoint =
        SnapshotPoint { base_offset: Offset::new(1000), previous_header_crc: 77 };

    fn table() -> ProducerTable {
        let mut table = ProducerTable::new();
        for number in 0..70 {
            table.record(&batch(producer(9), number * 2, 2), &leader(number * 3, 100));
        }
        table.record(&batch(producer(3), 0, 1), &leader(500, 200));
        table
    }

    #[test]
    fn table_survives_the_round_trip() {
        for table in [ProducerTable::new(), table()] {
            let bytes = table.encode_snapshot(POINT);
            assert_eq!(decode_snapshot(&bytes), Ok((POINT, table)));
        }
    }

    #[test]
    fn equal_tables_have_equal_bytes_whatever_order_they_were_made_in() {
        let (one, two) = (batch(producer(1), 0, 1), batch(producer(2), 0, 1));
        let mut tables = [ProducerTable::new(), ProducerTable::new()];
        tables[0].record(&one, &leader(1, 1));
        tables[0].record(&two, &leader(2, 1));
        tables[1].record(&two, &leader(2, 1));
        tables[1].record(&one, &leader(1, 1));
        assert_eq!(tables[0].encode_snapshot(POINT), tables[1].encode_snapshot(POINT));
    }

    #[test]
    fn flipped_bit_and_every_other_length_is_detected() {
        let bytes = table().encode_snapshot(POINT);
        for bit in (0..bytes.len() * 8).step_by(13).chain(0..HEADER_BYTES * 8) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_snapshot(&flipped).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(decode_snapshot(&bytes[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn batches_that_no_table_remembers_are_malformed() {
        let bytes = table().encode_snapshot(POINT);
        let first_batch = HEADER_BYTES + PRODUCER_BYTES;
        let second_producer = first_batch + BATCH_BYTES;
        let changes = [
            (AT_COUNT, u32::MAX),
            (AT_COUNT, 1),
            (AT_COUNT, 3),
            (HEADER_BYTES + AT_BATCH_COUNT, 0),
            (HEADER_BYTES + AT_BATCH_COUNT, 65),
            (HEADER_BYTES, u32::MAX),
            (first_batch + AT_RECORD_COUNT, 0),
            (first_batch + AT_BATCH_OFFSET, 1000),
            (second_producer + PRODUCER_BYTES + AT_FIRST_SEQUENCE, 0),
        ];
        for (at, value) in changes {
            let mut other = bytes.clone();
            le::put_u32(&mut other, at, value);
            FRAME.seal(&mut other);
            let found = decode_snapshot(&other);
            assert!(matches!(found, Err(FileError::Malformed { .. })), "{at}: {found:?}");
        }
    }
}
