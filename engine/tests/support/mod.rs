//! What the tests of the engine share: a node's worth of one shard on a real disk.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::allow_attributes, reason = "an expectation would fail in the files that use all")]

pub(crate) mod replica;

use std::future::{Future, poll_fn};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use forebay_engine::{
    AckWhen, AppendError, Appended, Clock, Completed, Completion, CompletionQueue, CursorStart,
    DataDirectory, FsyncPolicy, IncomingBatch, LogSettings, Mode, PartitionRef, PartitionSpec,
    ReadError, Shard, ShardConfig, ShardIndex, mailboxes,
};
use forebay_format::limits::HEADER_BYTES;
use forebay_format::{
    BatchBuilder, Batches, Epoch, Offset, PartitionId, PartitionIndex, ProducerEpoch, ProducerId,
    ProducerStamp, RecordInput, Sequence, TopicId,
};
use glommio::{LocalExecutorBuilder, Placement};
use smallvec::smallvec;
use tempfile::TempDir;

/// Runs a future on an executor of its own.
pub(crate) fn on_executor<T>(future: impl Future<Output = T>) -> T {
    LocalExecutorBuilder::new(Placement::Unbound)
        .make()
        .expect("an executor can be made")
        .run(future)
}

/// A directory on the disk that the build is on: tmpfs cannot do direct I/O.
pub(crate) fn disk() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the build's disk is writable")
}

pub(crate) fn partition(index: u32) -> PartitionId {
    PartitionId::new(TopicId::from_u128(0xf0), PartitionIndex::new(index))
}

/// What differs between the tests' nodes.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) settings: LogSettings,
    pub(crate) fsync: FsyncPolicy,
    pub(crate) memory_bytes: u64,
    pub(crate) disk_reserve_bytes: u64,
    pub(crate) clock: Clock,
    pub(crate) epoch: u64,
    pub(crate) partitions: u32,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            settings: LogSettings {
                batch_bytes_max: 256 << 10,
                segment_bytes: 1 << 20,
                ..LogSettings::default()
            },
            fsync: FsyncPolicy::Batch,
            memory_bytes: 64 << 20,
            disk_reserve_bytes: 0,
            clock: Clock::System,
            epoch: 1,
            partitions: 1,
        }
    }
}

/// One shard over a data directory.
pub(crate) struct Node {
    pub(crate) shard: Shard,
    pub(crate) directory: DataDirectory,
}

impl Node {
    pub(crate) async fn start(path: &Path, setup: &Setup) -> Self {
        let (directory, clean) = DataDirectory::open(path, Mode::Local).expect("opens");
        let (mut inboxes, addresses) = mailboxes(1);
        let config = ShardConfig {
            data: path.to_owned(),
            shard: ShardIndex::new(0),
            cluster: directory.cluster(),
            memory_bytes: setup.memory_bytes,
            fsync: setup.fsync,
            index_interval_bytes: 4096,
            disk_reserve_bytes: setup.disk_reserve_bytes,
            clock: setup.clock.clone(),
        };
        let inbox = inboxes.remove(0);
        let shard = Shard::start(config, inbox, addresses, clean).await.expect("starts");
        for index in 0..setup.partitions {
            shard.add_partition(PartitionSpec {
                id: partition(index),
                epoch: Epoch::new(setup.epoch),
                settings: setup.settings.clone(),
            });
        }
        Self { shard, directory }
    }

    pub(crate) fn partition(&self) -> PartitionRef {
        self.shard.partition(partition(0))
    }

    /// A clean stop.
    pub(crate) async fn stop(self) {
        let entries = self.shard.stop().await;
        self.directory.close_clean(entries).expect("clean file written");
    }

    /// As kill -9 leaves it: nothing is closed. Only what the disk holds counts afterwards.
    pub(crate) async fn crash(self) {
        // Tasks of the dead shard must not write any more; a stopped one has nothing to write.
        drop(self.shard.stop().await);
        let index_files = files(self.directory.path(), "idx");
        for file in index_files {
            std::fs::remove_file(file).expect("an index is a cache");
        }
    }
}

/// All files below `path` with an extension, sorted.
pub(crate) fn files(path: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![path.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.retain(|path| !path.components().any(|c| c.as_os_str() == "spare"));
    found.sort();
    found
}

/// A batch of the given values.
pub(crate) fn batch_of(values: &[Vec<u8>]) -> IncomingBatch {
    produced(values, None)
}

/// A batch of an idempotent producer.
pub(crate) fn produced(values: &[Vec<u8>], producer: Option<(ProducerId, u64)>) -> IncomingBatch {
    let mut builder = BatchBuilder::new(3 << 20);
    for value in values {
        builder.push(&RecordInput { value: Some(value), ..RecordInput::default() }).expect("fits");
    }
    let stamp = match producer {
        Some((id, sequence)) => ProducerStamp {
            id,
            epoch: ProducerEpoch::ZERO,
            first_sequence: Sequence::new(sequence),
        },
        None => ProducerStamp::NONE,
    };
    incoming(&builder.finish(stamp))
}

/// The parts of an encoded batch, the payload in two pieces as a socket might deliver it.
pub(crate) fn incoming(bytes: &Bytes) -> IncomingBatch {
    let header = *bytes.first_chunk().expect("a batch has a header");
    let payload = bytes.slice(HEADER_BYTES..);
    let half = payload.len() / 2;
    IncomingBatch { header, payload: smallvec![payload.slice(..half), payload.slice(half..)] }
}

/// A value of `bytes` bytes that differs from those of other numbers.
pub(crate) fn value(number: u64, bytes: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    })
    .take(bytes)
    .collect()
}

/// Appends one batch and waits until it is durable.
pub(crate) async fn append(
    to: &PartitionRef,
    batch: IncomingBatch,
) -> Result<Appended, AppendError> {
    append_when(to, batch, AckWhen::Durable).await
}

pub(crate) async fn append_when(
    to: &PartitionRef,
    batch: IncomingBatch,
    when: AckWhen,
) -> Result<Appended, AppendError> {
    let queue = CompletionQueue::new();
    let room = to.reserve(batch.batch_bytes()).await.map_err(AppendError::Refused)?;
    to.append(room, batch, Completion { queue: queue.clone(), token: 7, when });
    answers(&queue, 1).await.remove(0).outcome
}

/// The next `count` answers.
pub(crate) async fn answers(queue: &CompletionQueue, count: usize) -> Vec<Completed> {
    let mut answers = Vec::new();
    while answers.len() < count {
        let mut more = Vec::new();
        poll_fn(|cx| queue.poll_drain(cx, &mut more)).await;
        answers.extend(more);
    }
    answers
}

/// Reads everything from `start` to the committed end: values, in order, and the first offset.
pub(crate) async fn read_all(
    from: &PartitionRef,
    start: CursorStart,
) -> Result<(Offset, Vec<Vec<u8>>), ReadError> {
    let mut cursor = from.cursor(start).await?;
    let first = cursor.position();
    let mut values = Vec::new();
    let mut expected = first;
    // Not `try_next`, which does not wait for a segment that was just sealed.
    while !cursor.at_end() {
        let run = cursor.next(100_000).await?;
        let bytes = run.slices.concat();
        for batch in Batches::new(&bytes) {
            let batch = batch.expect("a run holds whole good batches");
            assert_eq!(batch.header.leader.base_offset, expected, "no gap");
            expected = batch.header.next_offset();
            for record in batch.records().expect("not compressed") {
                values.push(record.expect("good").value.expect("has one").to_vec());
            }
        }
        assert_eq!(run.next_offset, expected);
    }
    Ok((first, values))
}
