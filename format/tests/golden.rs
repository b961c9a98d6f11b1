//! The bytes of every format, pinned: what a release has written, each later one must read.
//!
//! The files in `golden/` were made by a program that shares no code with this crate. A failure here
//! means that the format has changed: that needs a new version, not a new golden file.

use forebay_format::limits::HEADER_BYTES;
use forebay_format::segment::SEGMENT_HEADER_BYTES;
use forebay_format::{
    Batch, BatchBuilder, BatchHeader, CleanEntry, CleanFile, ClientHeader, ClusterId, Codec,
    Control, Epoch, EpochStart, EpochTable, FilePosition, Index, IndexWriter, LeaderFields, Offset,
    PartitionId, PartitionIndex, PartitionMeta, PendingCut, ProducerEpoch, ProducerId,
    ProducerStamp, ProducerTable, RecordInput, ReplicaId, SegmentHeader, SegmentIdentity,
    SegmentSalt, Sequence, SnapshotPoint, TimestampMs, TopicId, decode_snapshot, stamp_leader,
    stamp_local,
};

const CLUSTER: ClusterId = ClusterId::from_u128(0xc1c1_c1c1_0000_0000_0000_0000_0000_0001);
const TOPIC: TopicId = TopicId::from_u128(0x7070_7070_0000_0000_0000_0000_0000_0002);
const REPLICA: ReplicaId = ReplicaId::from_u128(0x4e4e_4e4e_0000_0000_0000_0000_0000_0003);
const PRODUCER: ProducerId = ProducerId::from_u128(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
const PARTITION: PartitionId = PartitionId::new(TOPIC, PartitionIndex::new(12));
const SALT: SegmentSalt = SegmentSalt::new(0x5a17_5a17_5a17_5a17);
const TIME: i64 = 1_700_000_000_000;

/// Bytes of a golden file: hexadecimal pairs, `00*12` for twelve of them, comments behind `#`.
fn golden(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for word in text.lines().flat_map(|line| {
        line.split('#').next().expect("a split has a first part").split_whitespace()
    }) {
        let (byte, times) = word.split_once('*').unwrap_or((word, "1"));
        let byte = u8::from_str_radix(byte, 16).expect("two hexadecimal digits");
        out.resize(out.len() + times.parse::<usize>().expect("a count"), byte);
    }
    out
}

fn assert_bytes(found: &[u8], expected: &[u8]) {
    let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
    assert_eq!(differs, None, "first byte that differs");
    assert_eq!(found.len(), expected.len(), "length");
}

fn time(after: i64) -> TimestampMs {
    TimestampMs::new(TIME + after)
}

/// A control batch at the start of a segment, and where it ends.
fn control_batch() -> (Vec<u8>, u32, FilePosition) {
    let mut batch = Control::EpochStart.encode(time(0));
    let fields = LeaderFields {
        base_offset: Offset::new(500),
        epoch: Epoch::new(3),
        append_time: time(0),
        previous_header_crc: 0x1122_3344,
    };
    let header = batch.first_chunk_mut().expect("a batch has a header");
    let crc = stamp_leader(header, &fields);
    let position = FilePosition::new(4096);
    stamp_local(header, SALT, position, position);
    (batch.to_vec(), crc, position + batch.len() as u64)
}

fn records() -> Vec<RecordInput<'static>> {
    const HEADERS: &[(&str, &[u8])] = &[("trace", b"42")];
    const LONG: &[u8] = &[b'v'; 200];
    let plain = RecordInput::default();
    vec![
        RecordInput { timestamp: time(10), key: Some(b"key"), value: Some(b"first"), ..plain },
        RecordInput { timestamp: time(8), value: Some(b""), ..plain },
        RecordInput { timestamp: time(1010), key: Some(b""), headers: HEADERS, ..plain },
        RecordInput { timestamp: time(15), value: Some(LONG), ..plain },
    ]
}

/// The batch behind [`control_batch`], and its header CRC.
fn batch() -> (Vec<u8>, u32) {
    let (_, previous_header_crc, position) = control_batch();
    let mut builder = BatchBuilder::new(4096);
    for record in records() {
        builder.push(&record).expect("there is room");
    }
    let stamp = ProducerStamp {
        id: PRODUCER,
        epoch: ProducerEpoch::new(1),
        first_sequence: Sequence::new(7),
    };
    let mut batch = builder.finish(stamp).to_vec();
    let fields = LeaderFields {
        base_offset: Offset::new(500),
        epoch: Epoch::new(3),
        append_time: time(11),
        previous_header_crc,
    };
    let header = batch.first_chunk_mut().expect("a batch has a header");
    let crc = stamp_leader(header, &fields);
    stamp_local(header, SALT, position, FilePosition::new(4096));
    (batch, crc)
}

#[test]
fn control_batch_has_the_golden_bytes() {
    let expected = golden(include_str!("golden/control_batch.hex"));
    assert_bytes(&control_batch().0, &expected);
    let (batch, rest) = Batch::split(&expected).expect("a valid batch");
    assert!(rest.is_empty());
    assert_eq!(Control::decode(batch.payload), Ok(Control::EpochStart));
}

#[test]
fn batch_has_the_golden_bytes() {
    let expected = golden(include_str!("golden/batch.hex"));
    assert_bytes(&batch().0, &expected);
}

#[test]
fn golden_batch_is_read_as_what_was_written() {
    let bytes = golden(include_str!("golden/batch.hex"));
    let (batch, rest) = Batch::split(&bytes).expect("a valid batch");
    assert!(rest.is_empty());
    let BatchHeader { client, leader, header_crc, local } = batch.header;
    let payload_crc = client.payload_crc;
    let expected = ClientHeader {
        codec: Codec::None,
        control: false,
        payload_bytes: 240,
        record_count: 4,
        first_timestamp: time(10),
        max_timestamp: time(1010),
        producer_id: PRODUCER,
        first_sequence: Sequence::new(7),
        producer_epoch: ProducerEpoch::new(1),
        payload_crc,
    };
    assert_eq!(client, expected);
    assert_eq!((leader.base_offset, leader.epoch), (Offset::new(500), Epoch::new(3)));
    assert_eq!(leader.append_time, time(11));
    let (_, previous_header_crc, position) = control_batch();
    assert_eq!(leader.previous_header_crc, previous_header_crc);
    assert_eq!(header_crc, self::batch().1);
    assert_eq!(local.durable_upto, FilePosition::new(4096));
    assert_eq!(batch.header.verify_local(SALT, position), Ok(()));

    let found: Vec<_> = batch
        .records()
        .expect("not compressed")
        .map(|record| record.expect("a valid record"))
        .map(|record| (record.timestamp, record.key, record.value, record.headers.collect()))
        .collect::<Vec<(_, _, _, Vec<_>)>>();
    let expected: Vec<_> = records()
        .iter()
        .map(|record| (record.timestamp, record.key, record.value, record.headers.to_vec()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn segment_header_has_the_golden_bytes() {
    let bytes = golden(include_str!("golden/segment_header.hex"));
    let mut epochs = EpochTable::new();
    for (epoch, start) in [(1, 0), (2, 400)] {
        assert!(epochs.push(EpochStart { epoch: Epoch::new(epoch), start: Offset::new(start) }));
    }
    let header = SegmentHeader {
        identity: SegmentIdentity { cluster: CLUSTER, partition: PARTITION, replica: REPLICA },
        base_offset: Offset::new(500),
        salt: SALT,
        previous_append_time: time(-1),
        previous_header_crc: 0x1122_3344,
        epochs,
    };
    let mut found = [0; SEGMENT_HEADER_BYTES];
    header.encode(&mut found);
    assert_bytes(&found, &bytes);
    assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
}

#[test]
fn index_has_the_golden_bytes() {
    let bytes = golden(include_str!("golden/index.hex"));
    let mut writer = IndexWriter::new(Offset::new(500), time(0));
    for (offset, position, delta) in [(500, 4096, 0), (756, 36_864, 65)] {
        writer
            .push(Offset::new(offset), FilePosition::new(position), time(delta))
            .expect("it fits into an entry");
    }
    let found = writer.seal(SALT, Offset::new(900), FilePosition::new(100_000), time(70));
    assert_bytes(&found, &bytes);
    let index = Index::decode(&bytes).expect("a valid index");
    assert_eq!(index.summary().end_offset, Offset::new(900));
    assert_eq!(index.entries().lookup_offset(300).map(|entry| entry.file_position), Some(36_864));
}

#[test]
fn partition_meta_has_the_golden_bytes() {
    let cut = PendingCut {
        segment: Offset::new(500),
        position: FilePosition::new(36_864),
        offset: Offset::new(756),
    };
    let files = [
        (include_str!("golden/partition_meta.hex"), None),
        (include_str!("golden/partition_meta_cut.hex"), Some(cut)),
    ];
    for (text, pending_cut) in files {
        let meta = PartitionMeta {
            replica: REPLICA,
            promised_epoch: Epoch::new(3),
            log_start: Offset::new(120),
            committed: Offset::new(740),
            state_version: 6,
            pending_cut,
        };
        assert_bytes(&meta.encode(), &golden(text));
        assert_eq!(PartitionMeta::decode(&golden(text)), Ok(meta));
    }
}

#[test]
fn clean_file_has_the_golden_bytes() {
    let bytes = golden(include_str!("golden/clean.hex"));
    let entry = CleanEntry {
        partition: PARTITION,
        replica: REPLICA,
        promised_epoch: Epoch::new(3),
        log_start: Offset::new(120),
        committed: Offset::new(504),
        active_segment: Offset::new(500),
        salt: SALT,
        end_offset: Offset::new(504),
        end_position: FilePosition::new(4096 + (HEADER_BYTES + 4 + HEADER_BYTES + 240) as u64),
        last_header_crc: batch().1,
        last_epoch: Epoch::new(3),
        last_append_time: time(11),
        size_bytes: 1 << 20,
        segments: 2,
        epochs: vec![EpochStart { epoch: Epoch::new(3), start: Offset::new(500) }],
    };
    let file = CleanFile { cluster: CLUSTER, entries: vec![entry] };
    assert_bytes(&file.encode(), &bytes);
    assert_eq!(CleanFile::decode(&bytes), Ok(file));
}

#[test]
fn producer_snapshot_has_the_golden_bytes() {
    let bytes = golden(include_str!("golden/producers.hex"));
    let first = ClientHeader {
        codec: Codec::None,
        control: false,
        payload_bytes: 20,
        record_count: 4,
        first_timestamp: time(0),
        max_timestamp: time(0),
        producer_id: PRODUCER,
        first_sequence: Sequence::new(7),
        producer_epoch: ProducerEpoch::new(1),
        payload_crc: 0xaabb_ccdd,
    };
    let second = ClientHeader {
        record_count: 1,
        first_sequence: Sequence::new(11),
        payload_crc: 0x0102_0304,
        ..first
    };
    let mut table = ProducerTable::new();
    for (client, offset, after) in [(first, 500, 11), (second, 504, 12)] {
        let leader = LeaderFields {
            base_offset: Offset::new(offset),
            epoch: Epoch::new(3),
            append_time: time(after),
            previous_header_crc: 0,
        };
        table.record(&client, &leader);
    }
    let point = SnapshotPoint { base_offset: Offset::new(900), previous_header_crc: 0x5566_7788 };
    assert_bytes(&table.encode_snapshot(point), &bytes);
    assert_eq!(decode_snapshot(&bytes), Ok((point, table)));
}
