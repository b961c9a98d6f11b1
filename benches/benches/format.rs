//! Building and reading batches, checksums, and lookups in an index. In memory, on one core.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use forebay_benches::payload::random_bytes;
use forebay_format::{
    BatchBuilder, ClientHeader, FilePosition, Offset, ProducerStamp, RecordInput, Records,
    TimestampMs, checksum, count_records, index::IndexWriter, limits::HEADER_BYTES,
};

const BATCH_BYTES: usize = 256 * 1024;
const RECORD_BYTES: [usize; 2] = [100, 1024];

fn batch(record_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BATCH_BYTES);
    let value = random_bytes(record_bytes, 1);
    let record = RecordInput { value: Some(&value), ..RecordInput::default() };
    while builder.push(&record).is_ok() {}
    builder.finish(ProducerStamp::NONE)
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    for record_bytes in RECORD_BYTES {
        let whole = batch(record_bytes);
        let header = ClientHeader::decode(&whole).expect("just built");
        let count = header.record_count;
        group.throughput(Throughput::Elements(count.into()));
        let value = random_bytes(record_bytes, 1);
        let record = RecordInput { value: Some(&value), ..RecordInput::default() };
        group.bench_function(BenchmarkId::new("build", record_bytes), |b| {
            let mut builder = BatchBuilder::new(BATCH_BYTES);
            b.iter(|| {
                while builder.push(black_box(&record)).is_ok() {}
                builder.finish(ProducerStamp::NONE)
            });
        });
        let payload = &whole[HEADER_BYTES..];
        group.bench_function(BenchmarkId::new("read", record_bytes), |b| {
            b.iter(|| {
                let records = Records::new(black_box(payload), count, header.first_timestamp);
                records
                    .map(|record| record.expect("good").value.map_or(0, <[u8]>::len))
                    .sum::<usize>()
            });
        });
        group.bench_function(BenchmarkId::new("count", record_bytes), |b| {
            b.iter(|| count_records(black_box(payload), count).expect("good"));
        });
    }
    group.finish();
}

fn crc(c: &mut Criterion) {
    let mut group = c.benchmark_group("crc");
    for bytes in [1024, 16 * 1024, BATCH_BYTES] {
        let data = random_bytes(bytes, 2);
        let mut copy = vec![0; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::new("crc32c", bytes), |b| {
            b.iter(|| checksum::crc32c(black_box(&data)));
        });
        group.bench_function(BenchmarkId::new("copy", bytes), |b| {
            b.iter(|| black_box(&mut copy).copy_from_slice(black_box(&data)));
        });
        group.bench_function(BenchmarkId::new("crc32c and copy", bytes), |b| {
            b.iter(|| {
                // In pieces, so that the second look finds them in the nearest cache.
                let pieces = black_box(&data).chunks(8192).zip(copy.chunks_mut(8192));
                pieces.fold(0, |crc, (from, to)| {
                    to.copy_from_slice(from);
                    checksum::crc32c_append(crc, to)
                })
            });
        });
    }
    group.finish();
}

fn index(c: &mut Criterion) {
    const ENTRIES: u64 = 32 * 1024;
    let mut index = IndexWriter::new(Offset::ZERO, TimestampMs::ZERO);
    for entry in 0..ENTRIES {
        index
            .push(
                Offset::new(entry * 32),
                FilePosition::new(4096 + entry * 32 * 1024),
                TimestampMs::new(i64::try_from(entry).expect("small")),
            )
            .expect("within a segment");
    }
    let mut group = c.benchmark_group("index");
    let entries = index.entries();
    let mut wanted = 0;
    group.bench_function("lookup offset among 32 Ki entries", |b| {
        b.iter(|| {
            wanted = (wanted + 7919) % (ENTRIES * 32);
            entries.lookup_offset(black_box(wanted))
        });
    });
    group.finish();
}

criterion_group!(benches, codec, crc, index);
criterion_main!(benches);
