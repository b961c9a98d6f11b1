//! What goes in comes out: through memory and disk, segments, restarts and the other policies.

mod support;

use std::time::Duration;

use forebay_engine::{
    AckWhen, AppendError, Completion, CompletionQueue, CursorStart, FsyncPolicy, ReadError,
    ReserveError,
};
use forebay_format::batch::BatchError;
use forebay_format::{Offset, ProducerError, ProducerId};
use support::{
    Node, Setup, answers, append, append_when, batch_of, disk, on_executor, produced, read_all,
    value,
};

#[test]
fn records_come_back_in_order_from_memory_and_after_a_restart_from_disk() {
    let disk = disk();
    on_executor(async {
        let mut expected = Vec::new();
        for run in 0..3 {
            let setup = Setup { epoch: run + 1, ..Setup::default() };
            let node = Node::start(disk.path(), &setup).await;
            let partition = node.partition();
            let (first, values) = read_all(&partition, CursorStart::Earliest).await.unwrap();
            assert_eq!((first, values), (Offset::ZERO, expected.clone()), "run {run}");
            for number in 0..40_u64 {
                let size = usize::try_from(number * 997 % 30_000).unwrap();
                let values = [value(run * 100 + number, size), value(number, 3)];
                let done = append(&partition, batch_of(&values)).await.unwrap();
                assert_eq!(done.base_offset.get(), expected.len() as u64);
                assert!(done.durable_replicas == 1 && !done.duplicate);
                expected.extend(values);
            }
            let (_, values) = read_all(&partition, CursorStart::Earliest).await.unwrap();
            assert_eq!(values, expected, "from memory");
            if run == 1 { node.crash().await } else { node.stop().await }
        }
    });
}

#[test]
fn a_reader_starts_in_the_middle_of_any_segment() {
    let disk = disk();
    on_executor(async {
        let node = Node::start(disk.path(), &Setup::default()).await;
        let partition = node.partition();
        for number in 0..300 {
            append(&partition, batch_of(&[value(number, 20_000), value(number, 1)])).await.unwrap();
        }
        assert!(partition.status().await.unwrap().segments > 4);
        for start in [0, 1, 2, 99, 100, 355, 598, 599, 600] {
            let start_at = CursorStart::Offset(Offset::new(start));
            let mut cursor = partition.cursor(start_at).await.unwrap();
            assert_eq!(cursor.position().get(), start - start % 2, "start of the batch");
            // The very first run may hold nothing but the control batch that begins the epoch.
            let mut next = start - start % 2;
            while let Some(run) = cursor.try_next(1).await.unwrap() {
                next = run.next_offset.get();
                if next > start {
                    break;
                }
            }
            assert_eq!(next, (start - start % 2 + 2).min(600));
        }
        let beyond = partition.cursor(CursorStart::Offset(Offset::new(601))).await;
        let range = (Offset::ZERO, Offset::new(600));
        assert!(
            matches!(&beyond, Err(ReadError::OutOfRange { earliest, latest, .. }) if (*earliest, *latest) == range),
            "{beyond:?}"
        );
        node.stop().await;
    });
}

#[test]
fn a_waiting_reader_hears_of_the_next_append() {
    let disk = disk();
    on_executor(async {
        let node = Node::start(disk.path(), &Setup::default()).await;
        let partition = node.partition();
        let mut cursor = partition.cursor(CursorStart::Latest).await.unwrap();
        let reader = glommio::spawn_local(async move { cursor.next(1000).await });
        append(&partition, batch_of(&[value(1, 10)])).await.unwrap();
        let run = reader.await.unwrap();
        assert_eq!((run.first_offset.get(), run.next_offset.get()), (0, 1));
        node.stop().await;
    });
}

#[test]
fn bad_batches_are_refused_with_what_was_found_and_leave_no_trace() {
    let disk = disk();
    on_executor(async {
        let node = Node::start(disk.path(), &Setup::default()).await;
        let partition = node.partition();
        append(&partition, batch_of(&[value(1, 10)])).await.unwrap();
        let mut flipped = batch_of(&[value(2, 100)]);
        flipped.header[60] ^= 1;
        let found = append(&partition, flipped).await;
        assert!(
            matches!(found, Err(AppendError::Batch(BatchError::PayloadCrc { .. }))),
            "{found:?}"
        );
        let mut short = batch_of(&[value(2, 100)]);
        short.payload.pop();
        let found = append(&partition, short).await;
        assert!(matches!(found, Err(AppendError::Batch(BatchError::Length { .. }))), "{found:?}");
        let large = batch_of(&[value(2, 300_000)]);
        let found = append(&partition, large).await;
        assert!(matches!(found, Err(AppendError::TooLarge { limit: 262_144, .. })), "{found:?}");
        let done = append(&partition, batch_of(&[value(3, 10)])).await.unwrap();
        assert_eq!(done.base_offset.get(), 1);
        let (_, values) = read_all(&partition, CursorStart::Earliest).await.unwrap();
        assert_eq!(values, [value(1, 10), value(3, 10)]);
        node.stop().await;
    });
}

#[test]
fn answers_keep_the_order_of_the_appends_refusals_included() {
    let disk = disk();
    on_executor(async {
        let node = Node::start(disk.path(), &Setup::default()).await;
        let partition = node.partition();
        let queue = CompletionQueue::new();
        for token in 0..50 {
            let mut batch = batch_of(&[value(token, 5000)]);
            if token % 7 == 3 {
                batch.header[9] ^= 0x40;
            }
            let room = partition.reserve(batch.batch_bytes()).await.unwrap();
            let done = Completion { queue: queue.clone(), token, when: AckWhen::Durable };
            partition.append(room, batch, done);
        }
        let answers = answers(&queue, 50).await;
        let tokens: Vec<_> = answers.iter().map(|answer| answer.token).collect();
        assert_eq!(tokens, (0..50).collect::<Vec<_>>());
        assert!(answers.iter().all(|a| a.outcome.is_err() == (a.token % 7 == 3)));
        node.stop().await;
    });
}

#[test]
fn a_retry_is_answered_with_the_first_offset_over_crashes_clean_stops_and_rolls() {
    let disk = disk();
    let id = ProducerId::from_u128(99);
    on_executor(async {
        let mut sequence = 0;
        for run in 0..4 {
            let node =
                Node::start(disk.path(), &Setup { epoch: run + 1, ..Setup::default() }).await;
            let partition = node.partition();
            if sequence > 0 {
                let batch = produced(&[value(sequence - 1, 30_000)], Some((id, sequence - 1)));
                let again = append(&partition, batch).await.unwrap();
                assert!(again.duplicate, "run {run}");
                assert_eq!(again.base_offset.get(), sequence - 1);
                let other = produced(&[value(7, 5)], Some((id, sequence - 1)));
                let found = append(&partition, other).await;
                assert!(
                    matches!(
                        found,
                        Err(AppendError::Producer(ProducerError::SequenceReused { .. }))
                    ),
                    "{found:?}"
                );
            }
            let gap = produced(&[value(1, 1)], Some((id, sequence + 1)));
            let found = append(&partition, gap).await;
            assert!(matches!(found, Err(AppendError::Producer(_))), "{found:?}");
            for _ in 0..50 {
                let batch = produced(&[value(sequence, 30_000)], Some((id, sequence)));
                let done = append(&partition, batch).await.unwrap();
                assert!(!done.duplicate);
                assert_eq!(done.base_offset.get(), sequence);
                sequence += 1;
            }
            if run % 2 == 0 { node.crash().await } else { node.stop().await }
        }
    });
}

#[test]
fn a_full_disk_refuses_before_anything_is_appended_and_reads_go_on() {
    let disk = disk();
    on_executor(async {
        let node = Node::start(disk.path(), &Setup::default()).await;
        append(&node.partition(), batch_of(&[value(1, 10)])).await.unwrap();
        node.stop().await;
        let full = Setup { disk_reserve_bytes: u64::MAX / 2, epoch: 2, ..Setup::default() };
        let node = Node::start(disk.path(), &full).await;
        let partition = node.partition();
        let mut refused = None;
        for number in 0..100 {
            let batch = batch_of(&[value(number, 10_000)]);
            if let Err(error) = append(&partition, batch).await {
                refused = Some(error);
                break;
            }
        }
        let full =
            |e: &AppendError| matches!(e, AppendError::Refused(ReserveError::DiskFull { .. }));
        assert!(refused.as_ref().is_some_and(full), "{refused:?}");
        assert!(read_all(&partition, CursorStart::Earliest).await.is_ok());
        node.stop().await;
        let node = Node::start(disk.path(), &Setup { epoch: 3, ..Setup::default() }).await;
        append(&node.partition(), batch_of(&[value(9, 10_000)])).await.unwrap();
        node.stop().await;
    });
}

#[test]
fn with_interval_fsync_written_answers_leave_early_and_durable_ones_wait_for_the_sync() {
    let disk = disk();
    on_executor(async {
        let fsync = FsyncPolicy::Interval(Duration::from_millis(50));
        let node = Node::start(disk.path(), &Setup { fsync, ..Setup::default() }).await;
        let partition = node.partition();
        append(&partition, batch_of(&[value(0, 10)])).await.unwrap();
        let early = append_when(&partition, batch_of(&[value(1, 10)]), AckWhen::Written).await;
        assert_eq!(early.unwrap().durable_replicas, 0);
        let committed = partition.status().await.unwrap().committed;
        assert_eq!(committed.get(), 1, "reads count synced bytes only");
        let later = append(&partition, batch_of(&[value(2, 10)])).await.unwrap();
        assert_eq!(later.durable_replicas, 1);
        assert_eq!(partition.status().await.unwrap().committed.get(), 3);
        node.stop().await;
    });
}

#[test]
fn memory_stays_within_its_budget_and_what_was_evicted_comes_from_disk() {
    let disk = disk();
    on_executor(async {
        let setup = Setup { memory_bytes: 2 << 20, partitions: 8, ..Setup::default() };
        let node = Node::start(disk.path(), &setup).await;
        for round in 0..20 {
            for index in 0..8 {
                let partition = node.shard.partition(support::partition(index));
                append(&partition, batch_of(&[value(round, 100_000)])).await.unwrap();
            }
        }
        let metrics = node.shard.metrics();
        // A buffer is charged whole when it is taken, so each partition may add one beyond.
        assert!(metrics.buffer_bytes.get() <= (2 << 20) + 8 * (1 << 20));
        for index in 0..8 {
            let partition = node.shard.partition(support::partition(index));
            let (_, values) = read_all(&partition, CursorStart::Earliest).await.unwrap();
            assert_eq!(values, (0..20).map(|round| value(round, 100_000)).collect::<Vec<_>>());
        }
        assert!(metrics.disk_read_bytes.get() > 8 << 20);
        node.stop().await;
    });
}

#[test]
fn many_appends_in_flight_over_rolls_come_back_whole() {
    let disk = disk();
    on_executor(async {
        let node = Node::start(disk.path(), &Setup::default()).await;
        let partition = node.partition();
        let queue = CompletionQueue::new();
        for token in 0..400 {
            let batch = batch_of(&[value(token, 40_000)]);
            let room = partition.reserve(batch.batch_bytes()).await.unwrap();
            let done = Completion { queue: queue.clone(), token, when: AckWhen::Durable };
            partition.append(room, batch, done);
        }
        for (at, answer) in answers(&queue, 400).await.into_iter().enumerate() {
            assert_eq!(answer.outcome.unwrap().base_offset.get(), at as u64);
        }
        let (_, values) = read_all(&partition, CursorStart::Earliest).await.unwrap();
        assert_eq!(values, (0..400).map(|n| value(n, 40_000)).collect::<Vec<_>>());
        node.crash().await;
        let node = Node::start(disk.path(), &Setup { epoch: 2, ..Setup::default() }).await;
        let (_, values) = read_all(&node.partition(), CursorStart::Earliest).await.unwrap();
        assert_eq!(values, (0..400).map(|n| value(n, 40_000)).collect::<Vec<_>>());
        node.stop().await;
    });
}

#[test]
fn appends_that_wait_for_memory_go_on_when_the_flush_has_cached_what_filled_it() {
    let disk = disk();
    on_executor(async {
        let setup = Setup { memory_bytes: 1 << 20, ..Setup::default() };
        let node = Node::start(disk.path(), &setup).await;
        let partition = node.partition();
        let queue = CompletionQueue::new();
        // Far more than the budget, and nobody reads an answer before the last append.
        for token in 0..100 {
            let batch = batch_of(&[value(token, 100_000)]);
            let room = partition.reserve(batch.batch_bytes()).await.unwrap();
            let done = Completion { queue: queue.clone(), token, when: AckWhen::Durable };
            partition.append(room, batch, done);
        }
        assert_eq!(answers(&queue, 100).await.len(), 100);
        node.stop().await;
    });
}
