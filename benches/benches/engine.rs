//! Appending to a log and reading it back, on the disk that the build is on: the engine alone, without
//! a network.

use std::{future::poll_fn, path::Path, time::Duration};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use forebay_benches::{clock, payload::random_bytes};
use forebay_engine::{
    AckWhen, Clock, Completion, CompletionQueue, CursorStart, DataDirectory, FsyncPolicy,
    IncomingBatch, LogSettings, Mode, PartitionRef, PartitionSpec, Shard, ShardConfig, ShardIndex,
    mailboxes,
};
use forebay_format::{
    BatchBuilder, Epoch, Offset, PartitionId, PartitionIndex, ProducerStamp, RecordInput, TopicId,
    limits::HEADER_BYTES,
};
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};

/// Batches that wait for their answers.
const IN_FLIGHT: usize = 16;
/// The log is kept this short.
const RETENTION_BYTES: u64 = 1 << 30;
/// What the reader reads again and again: well within the tail cache.
const TAIL_BYTES: u64 = 64 << 20;

fn batch(bytes: usize) -> IncomingBatch {
    let mut builder = BatchBuilder::new(bytes);
    let value = random_bytes(1000.min(bytes - HEADER_BYTES - 16), 1);
    let record = RecordInput { value: Some(&value), ..RecordInput::default() };
    while builder.push(&record).is_ok() {}
    let whole: Bytes = builder.finish(ProducerStamp::NONE);
    let header = *whole.first_chunk().expect("a batch has a header");
    IncomingBatch { header, payload: [whole.slice(HEADER_BYTES..)].into_iter().collect() }
}

async fn start(path: &Path) -> (Shard, DataDirectory, PartitionRef) {
    let (directory, clean) = DataDirectory::open(path, Mode::Local).expect("opens");
    let (mut inboxes, addresses) = mailboxes(1);
    let config = ShardConfig {
        data: path.to_owned(),
        shard: ShardIndex::new(0),
        cluster: directory.cluster(),
        memory_bytes: 512 << 20,
        fsync: FsyncPolicy::Batch,
        index_interval_bytes: 32 * 1024,
        disk_reserve_bytes: 0,
        clock: Clock::System,
    };
    let shard = Shard::start(config, inboxes.remove(0), addresses, clean).await.expect("starts");
    let id = PartitionId::new(TopicId::from_u128(1), PartitionIndex::new(0));
    let settings = LogSettings {
        segment_bytes: 256 << 20,
        retention_bytes: Some(RETENTION_BYTES),
        ..LogSettings::default()
    };
    shard.add_partition(PartitionSpec { id, epoch: Epoch::new(1), settings });
    let partition = shard.partition(id);
    (shard, directory, partition)
}

/// Appends so many batches, each durable before it counts.
async fn append(to: &PartitionRef, batch: &IncomingBatch, count: u64) -> Duration {
    let queue = CompletionQueue::new();
    let mut answers = Vec::new();
    let (mut sent, mut answered) = (0, 0);
    let start = clock::now();
    while answered < count {
        while sent < count && sent - answered < IN_FLIGHT as u64 {
            let room = to.reserve(batch.batch_bytes()).await.expect("there is room");
            let done = Completion { queue: queue.clone(), token: sent, when: AckWhen::Durable };
            to.append(room, batch.clone(), done);
            sent += 1;
        }
        poll_fn(|cx| queue.poll_drain(cx, &mut answers)).await;
        for answer in answers.drain(..) {
            answer.outcome.expect("appended");
            answered += 1;
        }
    }
    start.elapsed()
}

/// Reads the last part of the log, so many times.
async fn read_tail(from: &PartitionRef, start: Offset, times: u64) -> Duration {
    let begun = clock::now();
    for _ in 0..times {
        let mut cursor = from.cursor(CursorStart::Offset(start)).await.expect("it is there");
        while cursor.try_next(1 << 20).await.expect("readable").is_some() {}
    }
    begun.elapsed()
}

fn executor() -> LocalExecutor {
    LocalExecutorBuilder::new(Placement::Unbound).make().expect("an executor can be made")
}

fn log(c: &mut Criterion) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a disk");
    let executor = executor();
    let (shard, data, partition) = executor.run(start(directory.path()));
    let mut group = c.benchmark_group("log");
    group.sample_size(10);
    for bytes in [4096, 64 * 1024, 256 * 1024] {
        let batch = batch(bytes);
        group.throughput(Throughput::Bytes(batch.batch_bytes() as u64));
        group.bench_function(BenchmarkId::new("append, fsynced", bytes), |b| {
            b.iter_custom(|count| executor.run(append(&partition, &batch, count)));
        });
    }
    let batch = batch(256 * 1024);
    let start = executor.run(async {
        let start = partition.status().await.expect("open").committed;
        append(&partition, &batch, TAIL_BYTES / batch.batch_bytes() as u64).await;
        start
    });
    group.throughput(Throughput::Bytes(TAIL_BYTES));
    group.bench_function("read the tail", |b| {
        b.iter_custom(|times| executor.run(read_tail(&partition, start, times)));
    });
    group.finish();
    executor.run(async move {
        let entries = shard.stop().await;
        data.close_clean(entries).expect("written");
    });
}

criterion_group!(benches, log);
criterion_main!(benches);
