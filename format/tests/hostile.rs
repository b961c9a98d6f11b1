//! Bytes that nobody wrote, or that have changed since: no decoder panics, and no flipped bit passes.

use forebay_format::checksum::{crc32c, crc32c_append};
use forebay_format::limits::{CLIENT_HEADER_BYTES, HEADER_BYTES};
use forebay_format::segment::SEGMENT_HEADER_BYTES;
use forebay_format::{
    Batch, BatchBuilder, BatchHeader, Batches, CleanEntry, CleanFile, ClientHeader, ClusterId,
    Control, Epoch, EpochStart, EpochTable, FilePosition, Index, IndexWriter, LeaderFields, Offset,
    PartitionId, PartitionIndex, PartitionMeta, PayloadCrc, PendingCut, ProducerEpoch, ProducerId,
    ProducerStamp, ProducerTable, RecordInput, Records, ReplicaId, SegmentHeader, SegmentIdentity,
    SegmentSalt, Sequence, SnapshotPoint, TimestampMs, TopicId, count_records, decode_snapshot,
    stamp_leader, stamp_local,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index as Place;

const SALT: SegmentSalt = SegmentSalt::new(77);
const POSITION: FilePosition = FilePosition::new(8192);

/// One kind of bytes, how it is read, and where its checksum lies.
struct Kind {
    name: &'static str,
    valid: Vec<u8>,
    /// Reads everything there is to read. Returns whether it was accepted.
    accepts: fn(&[u8]) -> bool,
    /// Makes the checksums fit whatever the bytes are.
    reseal: fn(&mut [u8]),
}

fn kinds() -> Vec<Kind> {
    let kind = |name, valid, accepts, reseal| Kind { name, valid, accepts, reseal };
    vec![
        kind("batch", batch(), accepts_batch, reseal_batch),
        kind("segment header", segment_header(), accepts_segment_header, |bytes| {
            reseal_file(bytes, SEGMENT_HEADER_BYTES - 4);
        }),
        kind(
            "index",
            index(),
            |bytes| Index::decode(bytes).is_ok(),
            |bytes| {
                reseal_file(bytes, 60);
            },
        ),
        kind(
            "partition meta",
            meta(),
            |bytes| PartitionMeta::decode(bytes).is_ok(),
            |bytes| {
                reseal_file(bytes, 80);
            },
        ),
        kind(
            "clean file",
            clean(),
            |bytes| CleanFile::decode(bytes).is_ok(),
            |bytes| {
                reseal_file(bytes, 28);
            },
        ),
        kind("producer snapshot", snapshot(), accepts_snapshot, |bytes| reseal_file(bytes, 24)),
    ]
}

fn reseal_file(bytes: &mut [u8], at_crc: usize) {
    if bytes.len() >= at_crc + 4 {
        let crc = crc32c_append(crc32c(&bytes[..at_crc]), &bytes[at_crc + 4..]);
        bytes[at_crc..at_crc + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

fn reseal_batch(bytes: &mut [u8]) {
    let Some((header, payload)) = bytes.split_first_chunk_mut::<HEADER_BYTES>() else { return };
    let front: &mut [u8; CLIENT_HEADER_BYTES] = header.first_chunk_mut().expect("64 of 112 bytes");
    let mut crc = PayloadCrc::start(front);
    crc.update(payload);
    front[60..].copy_from_slice(&crc.finish().to_le_bytes());
    let header_crc = crc32c(&header[..92]);
    header[92..96].copy_from_slice(&header_crc.to_le_bytes());
    stamp_local(header, SALT, POSITION, POSITION);
}

fn accepts_batch(bytes: &[u8]) -> bool {
    let Ok((batch, rest)) = Batch::split(bytes) else { return false };
    if batch.header.client.control {
        return Control::decode(batch.payload).is_ok();
    }
    let in_place = batch.header.verify_local(SALT, POSITION).is_ok();
    let Ok(mut records) = batch.records() else { return false };
    in_place && rest.is_empty() && records.all(|record| record.is_ok())
}

fn accepts_segment_header(bytes: &[u8]) -> bool {
    SegmentHeader::decode(bytes).is_ok()
}

fn accepts_snapshot(bytes: &[u8]) -> bool {
    let Ok((_, table)) = decode_snapshot(bytes) else { return false };
    // A table that was accepted can be asked.
    let header = ClientHeader::decode(&batch()).expect("a valid header");
    table.check(&header).is_ok() || !table.is_empty()
}

fn batch() -> Vec<u8> {
    let mut builder = BatchBuilder::new(4096);
    let headers = [("name", &b"value"[..])];
    for key in [None, Some(&b"key"[..])] {
        let timestamp = TimestampMs::new(1_700_000_000_000);
        let value = Some(&b"some value"[..]);
        builder.push(&RecordInput { timestamp, key, value, headers: &headers }).expect("room");
    }
    let id = ProducerId::from_u128(1);
    let epoch = ProducerEpoch::new(2);
    let first_sequence = Sequence::new(3);
    let mut batch = builder.finish(ProducerStamp { id, epoch, first_sequence }).to_vec();
    let header = batch.first_chunk_mut().expect("a batch has a header");
    stamp_leader(header, &leader(4));
    stamp_local(header, SALT, POSITION, POSITION);
    batch
}

fn leader(offset: u64) -> LeaderFields {
    LeaderFields {
        base_offset: Offset::new(offset),
        epoch: Epoch::new(5),
        append_time: TimestampMs::new(6),
        previous_header_crc: 7,
    }
}

fn partition() -> PartitionId {
    PartitionId::new(TopicId::from_u128(1), PartitionIndex::new(2))
}

fn segment_header() -> Vec<u8> {
    let mut epochs = EpochTable::new();
    for number in 0..3 {
        let entry = EpochStart { epoch: Epoch::new(number), start: Offset::new(number) };
        assert!(epochs.push(entry));
    }
    let replica = ReplicaId::from_u128(3);
    let header = SegmentHeader {
        identity: SegmentIdentity {
            cluster: ClusterId::from_u128(4),
            partition: partition(),
            replica,
        },
        base_offset: Offset::new(5),
        salt: SALT,
        previous_append_time: TimestampMs::new(6),
        previous_header_crc: 7,
        epochs,
    };
    let mut block = [0; SEGMENT_HEADER_BYTES];
    header.encode(&mut block);
    block.to_vec()
}

fn index() -> Vec<u8> {
    let mut writer = IndexWriter::new(Offset::ZERO, TimestampMs::ZERO);
    for number in 1..4 {
        let (offset, position) = (Offset::new(number), FilePosition::new(number * 5000));
        writer.push(offset, position, TimestampMs::ZERO).expect("it fits into an entry");
    }
    writer.seal(SALT, Offset::new(9), FilePosition::new(20_000), TimestampMs::ZERO)
}

fn meta() -> Vec<u8> {
    let mut meta = PartitionMeta::new(ReplicaId::from_u128(1));
    let position = FilePosition::new(3);
    meta.pending_cut =
        Some(PendingCut { segment: Offset::new(2), position, offset: Offset::new(4) });
    meta.encode().to_vec()
}

fn clean() -> Vec<u8> {
    let entry = CleanEntry {
        partition: partition(),
        replica: ReplicaId::from_u128(1),
        promised_epoch: Epoch::new(2),
        log_start: Offset::new(3),
        committed: Offset::new(4),
        active_segment: Offset::new(5),
        salt: SALT,
        end_offset: Offset::new(6),
        end_position: FilePosition::new(7),
        last_header_crc: 8,
        last_epoch: Epoch::new(9),
        last_append_time: TimestampMs::new(10),
        size_bytes: 11,
        segments: 12,
        epochs: vec![EpochStart { epoch: Epoch::new(13), start: Offset::new(14) }],
    };
    let mut other = entry.clone();
    other.partition.partition = PartitionIndex::new(3);
    CleanFile { cluster: ClusterId::from_u128(1), entries: vec![entry, other] }.encode()
}

fn snapshot() -> Vec<u8> {
    let header = ClientHeader::decode(&batch()).expect("a valid header");
    let mut table = ProducerTable::new();
    for number in 0..3 {
        let first_sequence = Sequence::new(u64::from(header.record_count) * number);
        table.record(&ClientHeader { first_sequence, ..header }, &leader(number));
        let producer_id = ProducerId::from_u128(u128::from(number) + 50);
        table.record(&ClientHeader { producer_id, ..header }, &leader(number));
    }
    let point = SnapshotPoint { base_offset: Offset::new(100), previous_header_crc: 1 };
    table.encode_snapshot(point)
}

#[test]
fn every_kind_accepts_what_was_written() {
    for mut kind in kinds() {
        assert!((kind.accepts)(&kind.valid), "{}", kind.name);
        // Or a changed one would be refused for its checksum alone.
        let before = kind.valid.clone();
        (kind.reseal)(&mut kind.valid);
        assert!(kind.valid == before, "{}", kind.name);
    }
}

#[test]
fn every_flipped_bit_is_detected() {
    for kind in kinds() {
        for bit in 0..kind.valid.len() * 8 {
            let mut flipped = kind.valid.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!(kind.accepts)(&flipped), "{}, bit {bit}", kind.name);
        }
    }
}

#[test]
fn every_shorter_length_is_detected() {
    for kind in kinds() {
        for len in 0..kind.valid.len() {
            assert!(!(kind.accepts)(&kind.valid[..len]), "{}, {len} bytes", kind.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn bytes_of_any_kind_and_length_panic_nowhere(bytes in vec(any::<u8>(), 0..6000)) {
        for kind in kinds() {
            (kind.accepts)(&bytes);
            let (magic, mut named) = (kind.valid[..5].to_vec(), bytes.clone());
            let len = named.len().min(5);
            named[..len].copy_from_slice(&magic[..len]);
            (kind.reseal)(&mut named);
            (kind.accepts)(&named);
        }
        let _ = ClientHeader::decode(&bytes);
        let _ = Control::decode(&bytes);
        let _ = bytes.first_chunk().map(BatchHeader::decode);
        prop_assert!(Batches::new(&bytes).count() <= bytes.len());
    }

    /// Past the checksum, every field may be anything.
    #[test]
    fn changed_fields_under_a_fitting_checksum_panic_nowhere(
        changes in vec((any::<Place>(), any::<u8>()), 1..8),
    ) {
        for kind in kinds() {
            let mut changed = kind.valid.clone();
            for (place, byte) in &changes {
                *place.get_mut(&mut changed) = *byte;
            }
            (kind.reseal)(&mut changed);
            (kind.accepts)(&changed);
        }
    }

    #[test]
    fn payload_of_any_bytes_is_read_to_its_end_or_to_an_error(
        payload in vec(any::<u8>(), 0..2000), count in 0..40_u32,
    ) {
        let mut records = Records::new(&payload, count, TimestampMs::ZERO);
        let read = records.by_ref().take_while(Result::is_ok).count();
        prop_assert!(u32::try_from(read).is_ok_and(|read| read <= count));
        prop_assert_eq!(records.next(), None);
    }

    /// Small bytes make short records, so that some payloads are valid.
    #[test]
    fn payload_whose_records_can_be_read_also_counts(
        payload in vec(prop_oneof![Just(4_u8), Just(0), Just(0), Just(0), Just(5), Just(1)], 0..12),
        count in 0..3_u32,
    ) {
        if Records::new(&payload, count, TimestampMs::ZERO).all(|record| record.is_ok()) {
            prop_assert_eq!(count_records(&payload, count), Ok(()));
        }
    }
}
