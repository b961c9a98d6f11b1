//! What a replica hands to others: batches as they are stored, and where its log begins; and what it lets
//! go of.

mod support;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use forebay_engine::{Clock, CursorStart, LogSettings, ReadError, Stored};
use forebay_format::limits::PRODUCER_EXPIRY_MS;
use forebay_format::{BatchMeta, LogState, Offset, PartitionMeta, Position, ProducerId};
use support::replica::{Leader, Replica, at, setup, stamped_of, stored_after};
use support::{Setup, append, batch_of, disk, on_executor, produced, read_all, value};

/// Epochs with control batches in between, some of them without records. Metas of all batches.
async fn fill_epochs(replica: &Replica, bytes: usize) -> Vec<BatchMeta> {
    let mut leader = Leader::after(replica.state());
    let (mut metas, mut number) = (Vec::new(), 0);
    for (epoch, records) in [(1, 12), (2, 0), (3, 9), (5, 0), (6, 14), (9, 0)] {
        leader.epoch = forebay_format::Epoch::new(epoch);
        let mut batches = vec![leader.epoch_start()];
        for _ in 0..records {
            batches.push(leader.stamp(&batch_of(&[value(number, bytes)])));
            number += 1;
        }
        metas.extend(batches.iter().map(|batch| *batch.meta()));
        replica.follow(batches).await;
    }
    metas
}

#[test]
fn what_follows_any_position_is_read_from_memory_and_from_disk() {
    for bytes in [700, 60_000] {
        let disk = disk();
        on_executor(async {
            let mut replica = Replica::start(disk.path()).await;
            let metas = fill_epochs(&replica, bytes).await;
            for from_disk in [false, true] {
                let before = replica.node.shard.metrics().disk_read_bytes.get();
                for max_bytes in [1, 3000, 200_000, 4 << 20] {
                    let mut one = replica.log.reader();
                    let ends = metas.iter().map(BatchMeta::position);
                    for after in ends.chain([Position::ZERO, at(3, 0), at(1, 400), at(4, 1)]) {
                        let expected: Vec<_> =
                            metas.iter().filter(|m| m.position() > after).copied().collect();
                        // One that jumps, and one that begins there.
                        for reader in [&mut one, &mut replica.log.reader()] {
                            let found = stored_after(reader, after, max_bytes).await;
                            assert!(found == expected, "{bytes} {max_bytes} {after}");
                        }
                    }
                }
                let read = replica.node.shard.metrics().disk_read_bytes.get() - before;
                assert_eq!(read > 0, from_disk, "{read} bytes");
                if !from_disk {
                    replica.node.crash().await;
                    replica = Replica::start(disk.path()).await;
                }
            }
            replica.node.stop().await;
        });
    }
}

#[test]
fn a_reader_at_the_end_goes_on_through_every_segment() {
    let disk = disk();
    on_executor(async {
        // Hardly any memory, so that most has to come from disk.
        let replica =
            Replica::start_with(disk.path(), &Setup { memory_bytes: 1 << 20, ..setup() }).await;
        replica.begin_epoch(1).await;
        let mut reader = replica.log.reader();
        let mut after = Position::ZERO;
        let mut records = 0;
        for round in 0..30_u64 {
            replica.fill(round * 3..round * 3 + 3, 50_000).await;
            let metas = stored_after(&mut reader, after, 60_000).await;
            after = metas.last().unwrap().position();
            records += metas.iter().map(|meta| u64::from(meta.client.record_count)).sum::<u64>();
            assert_eq!((records, after), (round * 3 + 3, replica.end()));
        }
        replica.node.stop().await;
    });
}

#[test]
fn nothing_that_is_not_durable_is_handed_out() {
    let disk = disk();
    on_executor(async {
        let replica = Replica::start(disk.path()).await;
        replica.begin_epoch(1).await;
        let mut leader = Leader::after(replica.state());
        let batch = leader.stamp(&batch_of(&[value(1, 1000)]));
        let mut reader = replica.log.reader();
        replica.log.append(vec![batch]).await.unwrap();
        // In memory, and not on the disk yet: the durable mark moves in another task.
        if replica.fake.durable.get() < at(1, 1) {
            assert!(matches!(reader.read_after(at(1, 0), 1000).await, Ok(Stored::AtEnd)));
        }
        replica.durable_upto(at(1, 1)).await;
        assert!(matches!(reader.read_after(at(1, 0), 1000).await, Ok(Stored::Run(_))));
        replica.node.stop().await;
    });
}

#[test]
fn a_trim_removes_whole_segments_and_the_rest_is_what_others_begin_with() {
    let (disk, other) = (disk(), disk());
    on_executor(async {
        let replica = Replica::start(disk.path()).await;
        let metas = fill_epochs(&replica, 60_000).await;
        replica.log.set_committed(Offset::new(35));
        let partition = replica.node.partition();
        let before = partition.status().await.unwrap().segments;
        assert_eq!(replica.log.start_state().await.unwrap(), LogState::default());
        let meta = PartitionMeta { log_start: Offset::new(17), ..replica.opened.meta };
        replica.log.persist_meta(meta).await.unwrap();
        replica.log.trim(Offset::new(17));
        while partition.status().await.unwrap().segments == before {
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        let early = CursorStart::Offset(Offset::new(16));
        assert!(matches!(partition.cursor(early).await, Err(ReadError::OutOfRange { .. })));
        let (first, values) = read_all(&partition, CursorStart::Earliest).await.unwrap();
        assert_eq!((first.get(), values.len()), (17, 18));

        let start = replica.log.start_state().await.unwrap();
        let mut expected = LogState::default();
        let below = metas.iter().filter(|meta| meta.position() <= start.position());
        below.for_each(|meta| expected.append(meta));
        expected.log_start = expected.end;
        assert_eq!(start, expected);
        assert!(start.end > Offset::ZERO && start.end <= Offset::new(17));
        let mut reader = replica.log.reader();
        assert!(matches!(reader.read_after(at(1, 3), 1000).await, Ok(Stored::Gone)));
        let refused = replica.log.cut(at(1, 3)).await.unwrap_err().to_string();
        assert!(refused.contains("begins above 1:3"), "{refused}");

        // One that is too far behind begins with that, and takes what follows.
        let mut runs = Vec::new();
        let mut after = start.position();
        while let Stored::Run(run) = reader.read_after(after, 100_000).await.unwrap() {
            after = run.upto;
            runs.extend(stamped_of(&bytes::Bytes::from(run.slices.concat())));
        }
        let state = replica.state();
        replica.node.stop().await;
        let behind = Replica::start(other.path()).await;
        behind.begin_epoch(1).await;
        behind.fill(0..2, 100).await;
        let left = behind.log.reset(start).await.unwrap();
        behind.now(&left);
        behind.follow(runs).await;
        assert_eq!(behind.end(), state.position());
        assert_eq!(behind.state(), LogState { log_start: left.log_start, ..state });
        behind.node.stop().await;
    });
}

#[test]
fn an_epochs_first_batch_that_stands_at_the_log_start_stays() {
    let disk = disk();
    on_executor(async {
        let replica = Replica::start(disk.path()).await;
        let partition = replica.node.partition();
        replica.begin_epoch(1).await;
        // Two segments of five, the second with the first batch of epoch 2 as its last.
        replica.fill(0..10, 60_000).await;
        replica.begin_epoch(2).await;
        replica.fill(10..20, 60_000).await;
        replica.log.set_committed(Offset::new(20));
        let segments = partition.status().await.unwrap().segments;
        let meta = PartitionMeta { log_start: Offset::new(10), ..replica.opened.meta };
        replica.log.persist_meta(meta).await.unwrap();
        replica.log.trim(Offset::new(10));
        while partition.status().await.unwrap().segments == segments {
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        let kept = async |replica: &Replica| {
            let start = replica.log.start_state().await.unwrap();
            assert!(start.position() < at(2, 10), "{}", start.position());
            let rest = stored_after(&mut replica.log.reader(), start.position(), 100_000).await;
            assert!(rest.iter().any(|meta| meta.client.control && meta.position() == at(2, 10)));
        };
        kept(&replica).await;
        replica.node.crash().await;
        let replica = Replica::start(disk.path()).await;
        kept(&replica).await;
        let left = replica.cut(at(1, 10)).await;
        assert_eq!(left.position(), at(1, 10));
        replica.node.stop().await;
    });
}

#[test]
fn what_retention_would_remove_is_a_wish_until_the_log_start_moves() {
    let disk = disk();
    on_executor(async {
        let clock = Rc::new(Cell::new(1_000));
        let settings = LogSettings {
            retention_bytes: Some(600_000),
            retention_age: Some(Duration::from_mins(1)),
            ..setup().settings
        };
        let setup = Setup { settings, clock: Clock::Manual(Rc::clone(&clock)), ..setup() };
        let replica = Replica::start_with(disk.path(), &setup).await;
        let partition = replica.node.partition();
        replica.begin_epoch(1).await;
        replica.fill(0..30, 60_000).await;
        assert_eq!(replica.log.retention_wants().await, None, "nothing is committed");
        replica.log.set_committed(Offset::new(7));
        assert_eq!(replica.log.retention_wants().await, Some(Offset::new(7)));
        replica.log.set_committed(Offset::new(30));
        let by_size = replica.log.retention_wants().await.unwrap();
        assert!(by_size > Offset::new(7) && by_size < Offset::new(29), "{by_size}");
        clock.set(1_000_000);
        // All but the active segment, as soon as the last of the others is finished.
        let mut by_age = by_size;
        while by_age <= by_size {
            glommio::timer::sleep(Duration::from_millis(1)).await;
            by_age = replica.log.retention_wants().await.unwrap();
        }
        // Time for a turn of the housekeeping: it does nothing by itself.
        glommio::timer::sleep(Duration::from_millis(1200)).await;
        assert_eq!(partition.status().await.unwrap().earliest, Offset::ZERO);
        assert_eq!(replica.node.shard.metrics().retired_segments.get(), 0);
        let meta = PartitionMeta { log_start: by_age, ..replica.opened.meta };
        replica.log.persist_meta(meta).await.unwrap();
        replica.log.trim(by_age);
        while replica.node.shard.metrics().retired_segments.get() == 0 {
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(replica.log.retention_wants().await, None);
        replica.node.crash().await;
        let replica = Replica::start_with(disk.path(), &setup).await;
        assert_eq!(replica.opened.state.log_start, by_age);
        replica.node.stop().await;
    });
}

const HOUR: i64 = 3_600_000;

#[test]
fn producers_expire_by_the_hour_and_recovery_gives_the_same_table() {
    let disk = disk();
    on_executor(async {
        let clock = Rc::new(Cell::new(10 * HOUR));
        let node = |epoch| Setup {
            clock: Clock::Manual(Rc::clone(&clock)),
            epoch,
            settings: LogSettings {
                segment_age: Duration::MAX,
                retention_age: None,
                ..Setup::default().settings
            },
            ..Setup::default()
        };
        let running = support::Node::start(disk.path(), &node(1)).await;
        let partition = running.partition();
        let (old, young) = (ProducerId::from_u128(1), ProducerId::from_u128(2));
        append(&partition, produced(&[value(0, 10)], Some((old, 0)))).await.unwrap();
        clock.set(10 * HOUR + 60_000);
        append(&partition, produced(&[value(1, 10)], Some((young, 0)))).await.unwrap();
        // Seven days later, in the minute between the two, and no full hour since the last append.
        clock.set(10 * HOUR + PRODUCER_EXPIRY_MS - 1);
        append(&partition, batch_of(&[value(2, 10)])).await.unwrap();
        clock.set(10 * HOUR + PRODUCER_EXPIRY_MS + 30_000);
        append(&partition, batch_of(&[value(3, 10)])).await.unwrap();
        let unknown = |id| produced(&[value(9, 10)], Some((id, 1)));
        append(&partition, unknown(old)).await.unwrap_err();
        append(&partition, unknown(young)).await.unwrap();
        running.crash().await;
        let running = support::Node::start(disk.path(), &node(2)).await;
        let partition = running.partition();
        let refused = append(&partition, unknown(old)).await.unwrap_err().to_string();
        assert!(refused.contains("unknown producer"), "{refused}");
        let next = produced(&[value(9, 10)], Some((young, 2)));
        append(&partition, next).await.unwrap();
        running.stop().await;
    });
}

#[test]
fn a_table_is_the_same_by_append_by_walk_and_by_a_clean_stop() {
    let disk = disk();
    on_executor(async {
        let replica = Replica::start(disk.path()).await;
        let mut leader = Leader::after(LogState::default());
        leader.epoch = forebay_format::Epoch::new(1);
        let mut batches = vec![leader.epoch_start()];
        for step in 0..40_u64 {
            leader.time = i64::try_from(step).unwrap() * 9 * HOUR + 5;
            let producer = Some((ProducerId::from_u128(u128::from(step % 23) + 1), step / 23));
            batches.push(leader.stamp(&produced(&[value(step, 20_000)], producer)));
        }
        replica.follow(batches).await;
        let state = replica.state();
        assert!(state.producers.len() < 23 && !state.producers.is_empty());
        replica.node.crash().await;
        let replica = Replica::start(disk.path()).await;
        assert_eq!(replica.opened.state, state);
        // Control batches alone, in a segment that has nothing else, have producers forgotten too.
        let mut leader = Leader::after(state);
        leader.time = 40 * 9 * HOUR + 3 * 24 * HOUR;
        for epoch in [2, 3] {
            leader.epoch = forebay_format::Epoch::new(epoch);
            leader.time += HOUR;
            let start = leader.epoch_start();
            replica.follow(vec![start]).await;
        }
        let state = replica.state();
        assert_eq!(leader.state, state);
        replica.node.stop().await;
        let replica = Replica::start(disk.path()).await;
        assert_eq!(replica.opened.state, state);
        replica.node.stop().await;
    });
}

/// Its thread would find nobody to answer to otherwise, which ends the process.
#[test]
fn note_that_was_begun_is_kept_before_the_shard_has_stopped() {
    let disk = disk();
    on_executor(async {
        let replica = Replica::start(disk.path()).await;
        let mut kept = Box::pin(replica.log.keep_note(b"begun".to_vec()));
        let begun = poll_fn(|cx| Poll::Ready(kept.as_mut().poll(cx))).await;
        assert!(begun.is_pending());
        drop(kept);
        replica.node.stop().await;

        let again = Replica::start(disk.path()).await;
        assert_eq!(again.log.note().await.expect("a note"), Some(b"begun".to_vec()));
        again.node.stop().await;
    });
}
