//! What retention takes away, while somebody reads it and while it is used again.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

mod support;

use std::fs;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use forebay_engine::{CursorStart, LogSettings, PartitionRef, ReadError, Run};
use support::{Node, Setup, append, batch_of, disk, files, on_executor, read_all, value};

/// Segments of 2 MiB, and memory for little more than what is being written.
fn retained(epoch: u64) -> Setup {
    let settings = LogSettings {
        segment_bytes: 2 << 20,
        retention_bytes: Some(8 << 20),
        ..Setup::default().settings
    };
    Setup { epoch, settings, memory_bytes: 1 << 20, ..Setup::default() }
}

async fn fill(partition: &PartitionRef, batches: std::ops::Range<u64>) {
    for number in batches {
        append(partition, batch_of(&[value(number, 200_000)])).await.unwrap();
    }
}

/// Waits until so many segments were retired.
async fn retired(node: &Node, segments: u64) {
    while node.shard.metrics().retired_segments.get() < segments {
        glommio::yield_if_needed().await;
    }
}

/// Starts a read, lets it come as far as its first wait, and goes on with it once `meanwhile` is
/// done.
async fn interrupted(
    read: impl Future<Output = Result<Option<Run>, ReadError>>,
    meanwhile: impl Future<Output = ()>,
) -> Result<Option<Run>, ReadError> {
    let mut read = Box::pin(read);
    let mut context = Context::from_waker(Waker::noop());
    let first = Pin::as_mut(&mut read).poll(&mut context);
    meanwhile.await;
    match first {
        std::task::Poll::Ready(run) => run,
        std::task::Poll::Pending => read.await,
    }
}

fn assert_is_old_data_or_gone(run: Result<Option<Run>, ReadError>) {
    match run {
        Ok(Some(run)) => {
            let bytes = run.slices.concat();
            for batch in forebay_format::Batches::new(&bytes) {
                let batch = batch.unwrap();
                for record in batch.records().unwrap() {
                    let offset = batch.header.leader.base_offset.get();
                    assert_eq!(record.unwrap().value.unwrap(), value(offset, 200_000));
                }
            }
        }
        Ok(None) | Err(ReadError::OutOfRange { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_reader_that_retention_overtakes_while_it_opens_a_segment_harms_nobody() {
    let disk = disk();
    on_executor(async {
        let node = Node::start(disk.path(), &retained(1)).await;
        fill(&node.partition(), 0..40).await;
        node.crash().await;
        // Without its index a segment takes long to open.
        assert_eq!(files(disk.path(), "idx"), Vec::<std::path::PathBuf>::new());
        let node = Node::start(disk.path(), &retained(2)).await;
        let partition = node.partition();
        let mut cursor = partition.cursor(CursorStart::Earliest).await.unwrap();
        let read = interrupted(cursor.try_next(3 << 20), fill(&partition, 40..140)).await;
        assert_is_old_data_or_gone(read);
        retired(&node, 5).await;
        let (first, values) = read_all(&partition, CursorStart::Earliest).await.unwrap();
        assert!(first.get() > 60);
        assert_eq!(values.len() as u64, 140 - first.get());
        node.stop().await;
        for index in files(disk.path(), "idx") {
            assert!(index.with_extension("log").exists(), "{} is an orphan", index.display());
        }
    });
}

#[test]
fn a_reader_of_the_growing_segment_never_sees_what_its_file_is_used_for_later() {
    let disk = disk();
    on_executor(async {
        let node = Node::start(disk.path(), &retained(1)).await;
        let partition = node.partition();
        fill(&partition, 0..8).await;
        let mut cursor = partition.cursor(CursorStart::Earliest).await.unwrap();
        let read = interrupted(cursor.try_next(3 << 20), fill(&partition, 8..120)).await;
        assert_is_old_data_or_gone(read);
        retired(&node, 5).await;
        append(&partition, batch_of(&[value(7, 10)])).await.unwrap();
        node.stop().await;
    });
}

#[test]
fn readers_that_meet_at_a_segment_without_an_index_share_its_opening() {
    let disk = disk();
    on_executor(async {
        let node = Node::start(disk.path(), &Setup::default()).await;
        fill(&node.partition(), 0..20).await;
        node.crash().await;
        let node = Node::start(disk.path(), &Setup { epoch: 2, ..Setup::default() }).await;
        let partition = node.partition();
        let read = || read_all(&partition, CursorStart::Earliest);
        let (one, two) = futures_util::future::join(read(), read()).await;
        assert_eq!(one.unwrap().1.len(), 20);
        assert_eq!(two.unwrap().1.len(), 20);
        node.stop().await;
    });
}

#[test]
fn a_small_log_does_not_take_a_large_logs_retired_file() {
    let disk = disk();
    on_executor(async {
        let node = Node::start(disk.path(), &retained(1)).await;
        fill(&node.partition(), 0..80).await;
        retired(&node, 1).await;
        node.stop().await;
        let spares = || fs::read_dir(disk.path().join("spare/0")).unwrap().count();
        assert!(spares() > 0);
        let node = Node::start(disk.path(), &Setup { partitions: 3, ..retained(2) }).await;
        let small = node.shard.partition(support::partition(2));
        append(&small, batch_of(&[value(1, 10)])).await.unwrap();
        let directory = disk.path().join(support::partition(2).topic.to_string()).join("2");
        for log in files(&directory, "log") {
            assert_eq!(fs::metadata(&log).unwrap().len(), 64 << 10, "{}", log.display());
        }
        node.stop().await;
    });
}
