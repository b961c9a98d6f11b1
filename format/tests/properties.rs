//! Each piece against a dumb twin: what is written is read, and searches find what a walk finds.

use std::collections::{HashMap, VecDeque};

use forebay_format::limits::{
    BATCHES_REMEMBERED_PER_PRODUCER, EPOCHS_PER_SEGMENT_HEADER_MAX, HEADER_BYTES,
};
use forebay_format::segment::SEGMENT_HEADER_BYTES;
use forebay_format::{
    Admission, Batch, BatchBuilder, Batches, ClientHeader, ClusterId, Codec, Epoch, EpochStart,
    EpochTable, FilePosition, IndexWriter, LeaderFields, Offset, PartitionId, PartitionIndex,
    ProducerEpoch, ProducerError, ProducerId, ProducerStamp, ProducerTable, PushError,
    RecordCounter, RecordInput, RememberedBatch, ReplicaId, SegmentHeader, SegmentIdentity,
    SegmentSalt, Sequence, SnapshotPoint, TimestampMs, TopicId, decode_snapshot, stamp_leader,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// A record that owns its bytes.
#[derive(Debug, Clone, PartialEq)]
struct Record {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..20), vec(any::<u8>(), 120..140)]
}

fn record() -> impl Strategy<Value = Record> {
    let timestamp = prop_oneof![any::<i64>(), 1_700_000_000_000..1_700_000_001_000_i64];
    (timestamp, option::of(bytes()), option::of(bytes()), vec(("[a-zé]{0,9}", bytes()), 0..3))
        .prop_map(|(timestamp, key, value, headers)| Record { timestamp, key, value, headers })
}

fn push(builder: &mut BatchBuilder, record: &Record) -> Result<(), PushError> {
    let headers: Vec<(&str, &[u8])> =
        record.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    builder.push(&RecordInput {
        timestamp: TimestampMs::new(record.timestamp),
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &headers,
    })
}

fn read(batch: &Batch<'_>) -> Vec<Record> {
    let records = batch.records().expect("not compressed");
    records
        .map(|record| record.expect("a valid record"))
        .map(|record| Record {
            timestamp: record.timestamp.get(),
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.map(|(name, value)| (name.into(), value.to_vec())).collect(),
        })
        .collect()
}

/// Batches as a leader stores them, from as many builds as the capacity asks for.
fn stored(records: &[Record], capacity_bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(capacity_bytes);
    let mut run = Vec::new();
    let mut next = Offset::ZERO;
    let mut flush = |builder: &mut BatchBuilder| {
        let count = u64::from(builder.record_count());
        let mut batch = builder.finish(ProducerStamp::NONE).to_vec();
        let fields = LeaderFields {
            base_offset: next,
            epoch: Epoch::new(1),
            append_time: TimestampMs::ZERO,
            previous_header_crc: 0,
        };
        stamp_leader(batch.first_chunk_mut().expect("a batch has a header"), &fields);
        next += count;
        run.extend_from_slice(&batch);
    };
    for record in records {
        if push(&mut builder, record) == Err(PushError::Full) {
            flush(&mut builder);
            push(&mut builder, record).expect("an empty batch takes any record");
        }
    }
    if !builder.is_empty() {
        flush(&mut builder);
    }
    run
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn records_come_back_as_they_went_in_however_they_are_batched(
        records in vec(record(), 1..30), capacity_bytes in 0..2000_usize,
    ) {
        let run = stored(&records, capacity_bytes);
        let mut found = Vec::new();
        for batch in Batches::new(&run) {
            let batch = batch.expect("a valid batch");
            prop_assert_eq!(batch.header.leader.base_offset, Offset::new(found.len() as u64));
            let records = read(&batch);
            let first = records.first().map(|record| record.timestamp);
            let last = records.iter().map(|record| record.timestamp).max();
            prop_assert_eq!(Some(batch.header.client.first_timestamp.get()), first);
            prop_assert_eq!(Some(batch.header.client.max_timestamp.get()), last);
            prop_assert!(records.len() == 1 || batch.header.batch_bytes() <= capacity_bytes);
            found.extend(records);
        }
        prop_assert_eq!(found, records);
    }

    #[test]
    fn payload_counts_the_same_however_it_is_cut(
        payload in vec(prop_oneof![0..7_u8, any::<u8>()], 0..300),
        cuts in vec(any::<proptest::sample::Index>(), 0..5),
        expected in 0..40_u32,
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
        cuts.extend([0, payload.len()]);
        cuts.sort_unstable();
        let mut pieces = RecordCounter::new();
        for pair in cuts.windows(2) {
            pieces.update(&payload[pair[0]..pair[1]]);
        }
        let mut whole = RecordCounter::new();
        whole.update(&payload);
        prop_assert_eq!(pieces.finish(expected), whole.finish(expected));
    }

    #[test]
    fn segment_header_comes_back_as_it_went_in(
        steps in vec((1..5_u64, 0..9_u64), 0..EPOCHS_PER_SEGMENT_HEADER_MAX + 20),
        salt in any::<u64>(), time in any::<i64>(), ids in any::<[u128; 3]>(),
    ) {
        let mut epochs = EpochTable::new();
        let mut last = EpochStart { epoch: Epoch::ZERO, start: Offset::ZERO };
        for (epoch, distance) in steps {
            last = EpochStart { epoch: Epoch::new(last.epoch.get() + epoch), start: last.start + distance };
            prop_assert!(epochs.push(last));
        }
        let header = SegmentHeader {
            identity: SegmentIdentity {
                cluster: ClusterId::from_u128(ids[0]),
                partition: PartitionId::new(TopicId::from_u128(ids[1]), PartitionIndex::new(7)),
                replica: ReplicaId::from_u128(ids[2]),
            },
            base_offset: last.start,
            salt: SegmentSalt::new(salt),
            previous_append_time: TimestampMs::new(time),
            previous_header_crc: 9,
            epochs,
        };
        let mut block = [0; SEGMENT_HEADER_BYTES];
        header.encode(&mut block);
        prop_assert_eq!(SegmentHeader::decode(&block), Ok(header));
    }

    #[test]
    fn index_finds_what_a_walk_over_the_batches_finds(
        steps in vec((0..4_u64, 1..50_u64, 0..3_i64), 0..40),
        offset in 0..120_u64, time in -2..60_i64,
    ) {
        let mut writer = IndexWriter::new(Offset::ZERO, TimestampMs::ZERO);
        let mut batches = Vec::new();
        let mut batch = (Offset::ZERO, FilePosition::new(4096), TimestampMs::ZERO);
        for (records, bytes, ms) in steps {
            batch = (batch.0 + records, batch.1 + bytes, batch.2.saturating_add(ms));
            writer.push(batch.0, batch.1, batch.2).expect("it fits into an entry");
            batches.push(batch);
        }
        let by_offset = batches.iter().rfind(|batch| batch.0.get() <= offset).map(|batch| batch.1);
        let by_time = batches.iter().rfind(|batch| batch.2.get() < time).map(|batch| batch.1);
        let entries = writer.entries();
        prop_assert_eq!(entries.lookup_offset(offset).map(|entry| entry.position()), by_offset);
        prop_assert_eq!(entries.lookup_time(time).map(|entry| entry.position()), by_time);
    }
}

/// Everything that one producer epoch appended, and when.
#[derive(Debug, Default)]
struct History {
    epoch: u32,
    batches: VecDeque<RememberedBatch>,
}

impl History {
    fn next(&self) -> u64 {
        self.batches
            .back()
            .map_or(0, |last| last.first_sequence.get() + u64::from(last.record_count))
    }

    /// What the table should say, from the whole history and without a shortcut.
    fn expected(&self, batch: &ClientHeader) -> Result<Admission, ProducerError> {
        let (found, epoch) = (batch.first_sequence, batch.producer_epoch.get());
        let zero = Sequence::ZERO;
        if self.batches.is_empty() {
            let known = found == zero;
            return if known {
                Ok(Admission::Append)
            } else {
                Err(ProducerError::UnknownProducer { found })
            };
        }
        if epoch < self.epoch {
            let (found, current) = (batch.producer_epoch, ProducerEpoch::new(self.epoch));
            return Err(ProducerError::StaleEpoch { found, current });
        }
        let expected = if epoch > self.epoch { zero } else { Sequence::new(self.next()) };
        if found == expected {
            return Ok(Admission::Append);
        }
        if found > expected {
            return Err(ProducerError::SequenceGap { expected, found });
        }
        let forgotten = self.batches.len().saturating_sub(BATCHES_REMEMBERED_PER_PRODUCER);
        let mut remembered = self.batches.iter().skip(forgotten);
        let oldest = remembered.clone().next().expect("some batch is remembered").first_sequence;
        if found < oldest {
            return Err(ProducerError::DuplicateForgotten { found, oldest });
        }
        let same = remembered.find(|old| {
            old.first_sequence == found
                && old.record_count == batch.record_count
                && old.payload_crc == batch.payload_crc
        });
        same.map(|old| Admission::Duplicate(*old))
            .ok_or(ProducerError::SequenceReused { expected, found })
    }
}

/// A batch that some producer might send: mostly the next one, often a retry.
#[derive(Debug, Clone)]
struct Attempt {
    producer: u8,
    epoch_ahead: i8,
    /// How many batches ago this one was sent for the first time; 0 for a new one, negative for one
    /// that leaves a gap.
    behind: i64,
    other_content: bool,
    records: u32,
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let epoch_ahead = prop_oneof![40 => Just(0_i8), 1 => Just(1), 1 => Just(-1)];
    let behind = prop_oneof![12 => Just(0_i64), 3 => 1..90_i64, 1 => Just(-1)];
    (1..4_u8, epoch_ahead, behind, prop::bool::weighted(0.05), 1..4_u32).prop_map(
        |(producer, epoch_ahead, behind, other_content, records)| Attempt {
            producer,
            epoch_ahead,
            behind,
            other_content,
            records,
        },
    )
}

fn header(attempt: &Attempt, history: &History) -> ClientHeader {
    let epoch = history.epoch.saturating_add_signed(attempt.epoch_ahead.into());
    let next = if epoch > history.epoch { 0 } else { history.next() };
    // A retry repeats a batch that was sent; anything else is next, or leaves a gap.
    let behind = usize::try_from(attempt.behind).unwrap_or(0);
    let retried = history.batches.len().checked_sub(behind).and_then(|at| history.batches.get(at));
    let gap = u64::from(attempt.behind < 0);
    let (sequence, record_count) = match retried.filter(|_| behind > 0) {
        Some(old) => (old.first_sequence.get(), old.record_count),
        None => (next + gap, attempt.records),
    };
    let crc = u32::try_from(sequence).expect("few batches") * 2 + u32::from(attempt.other_content);
    ClientHeader {
        codec: Codec::None,
        control: false,
        payload_bytes: 5 * record_count,
        record_count,
        first_timestamp: TimestampMs::ZERO,
        max_timestamp: TimestampMs::ZERO,
        producer_id: ProducerId::from_u128(attempt.producer.into()),
        first_sequence: Sequence::new(sequence),
        producer_epoch: ProducerEpoch::new(epoch),
        payload_crc: crc,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn table_says_what_the_whole_history_says(attempts in vec(attempt(), 1..400)) {
        let mut table = ProducerTable::new();
        let mut histories: HashMap<u8, History> = HashMap::new();
        let mut next_offset = Offset::ZERO;
        for attempt in &attempts {
            let history = histories.entry(attempt.producer).or_default();
            let batch = header(attempt, history);
            let expected = history.expected(&batch);
            prop_assert_eq!(table.check(&batch), expected);
            if expected != Ok(Admission::Append) {
                continue;
            }
            let leader = LeaderFields {
                base_offset: next_offset,
                epoch: Epoch::new(1),
                append_time: TimestampMs::ZERO,
                previous_header_crc: 0,
            };
            table.record(&batch, &leader);
            if batch.producer_epoch.get() != history.epoch {
                *history = History { epoch: batch.producer_epoch.get(), ..History::default() };
            }
            history.batches.push_back(RememberedBatch {
                first_sequence: batch.first_sequence,
                record_count: batch.record_count,
                payload_crc: batch.payload_crc,
                base_offset: next_offset,
                epoch: leader.epoch,
                append_time: leader.append_time,
            });
            next_offset += u64::from(batch.record_count);
        }
        let point = SnapshotPoint { base_offset: next_offset, previous_header_crc: 1 };
        prop_assert_eq!(decode_snapshot(&table.encode_snapshot(point)), Ok((point, table)));
    }
}

#[test]
fn batch_without_a_leader_is_not_taken_for_a_stored_one() {
    let mut builder = BatchBuilder::new(1000);
    builder.push(&RecordInput::default()).expect("room");
    let batch = builder.finish(ProducerStamp::NONE);
    assert_eq!(batch.len(), HEADER_BYTES + 5);
    assert!(Batch::split(&batch).is_err());
}
