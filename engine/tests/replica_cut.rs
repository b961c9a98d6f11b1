//! Taking the end of a replica's log away, beginning it anew, and putting it aside; and kills in between.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use forebay_engine::{CursorStart, Lineage, ReadError, ReserveError, Sequencer, Stored};
use forebay_format::{
    EpochStart, LogState, Offset, PartitionMeta, PendingCut, Position, ProducerId,
};
use support::replica::{Leader, Replica, at, setup, stored_after};
use support::{disk, files, on_executor, partition, produced, read_all, value};

/// Epochs 1, 2 and 3 of ten, ten and five records, in several segments; epoch 2 has a batch of a
/// producer. The states after each batch, by position.
async fn filled(path: &Path, bytes: usize) -> (Replica, Vec<(Position, LogState)>) {
    let replica = Replica::start(path).await;
    let mut leader = Leader::after(LogState::default());
    let (mut batches, mut states) = (Vec::new(), vec![(Position::ZERO, LogState::default())]);
    let mut number = 0;
    for (epoch, records) in [(1, 10), (2, 10), (3, 5)] {
        leader.epoch = forebay_format::Epoch::new(epoch);
        batches.push(leader.epoch_start());
        states.push((leader.state.position(), leader.state.clone()));
        for sequence in 0..records {
            let producer = (epoch == 2).then(|| (ProducerId::from_u128(5), sequence));
            batches.push(leader.stamp(&produced(&[value(number, bytes)], producer)));
            states.push((leader.state.position(), leader.state.clone()));
            number += 1;
        }
    }
    replica.follow(batches).await;
    (replica, states)
}

/// The state of the log that ends at `to`.
fn state_at(states: &[(Position, LogState)], to: Position) -> LogState {
    states.iter().rev().find(|(position, _)| *position <= to).unwrap().1.clone()
}

/// Reads all, appends one more, and finds the same after a crash.
async fn goes_on(replica: Replica, path: &Path, left: &LogState, bytes: usize) {
    assert_eq!(replica.state(), *left);
    let epoch = left.position().epoch.get() + 10;
    replica.begin_epoch(epoch).await;
    replica.fill(900..903, bytes).await;
    let end = replica.end();
    assert_eq!(end, at(epoch, left.end.get() + 3));
    replica.log.set_committed(end.end);
    let expected: Vec<_> =
        (left.log_start.get()..left.end.get()).chain(900..903).map(|n| value(n, bytes)).collect();
    let (_, values) = read_all(&replica.node.partition(), CursorStart::Earliest).await.unwrap();
    assert!(values == expected, "{} records, not {}", values.len(), expected.len());
    let (state, stored) =
        (replica.state(), stored_after(&mut replica.log.reader(), begin(left), 9000).await);
    replica.node.crash().await;
    let replica = Replica::start(path).await;
    assert_eq!(replica.opened.state, state);
    assert_eq!(stored_after(&mut replica.log.reader(), begin(left), 1 << 20).await, stored);
    replica.node.stop().await;
}

/// Where a log begins that was begun with epochs known.
fn begin(left: &LogState) -> Position {
    let before = left.epochs.epoch_at(left.log_start);
    match before {
        Some(epoch) if left.log_start > Offset::ZERO => Position::new(epoch, left.log_start),
        _ => Position::ZERO,
    }
}

#[test]
fn a_cut_leaves_the_batches_up_to_a_position_and_nothing_else() {
    // In the active segment, across segments, and between them.
    for bytes in [1000, 60_000] {
        for to in [
            at(3, 25), // nothing to cut
            at(3, 22),
            at(3, 20), // exactly an epoch's first batch
            at(2, 20), // the same offset, without it
            at(2, 15),
            at(2, 10),
            at(1, 10),
            at(1, 300), // beyond what epoch 1 ever had
            at(1, 1),
            at(1, 0),
            at(0, 0),
        ] {
            let disk = disk();
            on_executor(async {
                let (replica, states) = filled(disk.path(), bytes).await;
                let segments = replica.node.partition().status().await.unwrap().segments;
                assert_eq!(segments > 3, bytes > 1000);
                let left = replica.cut(to).await;
                assert_eq!(left, state_at(&states, to), "{bytes} {to}");
                goes_on(replica, disk.path(), &left, bytes).await;
            });
        }
    }
}

#[test]
fn readers_of_what_is_committed_survive_a_cut_above() {
    for bytes in [1000, 60_000] {
        let disk = disk();
        on_executor(async {
            let (replica, _) = filled(disk.path(), bytes).await;
            let partition = replica.node.partition();
            replica.log.set_committed(Offset::new(12));
            let mut early = partition.cursor(CursorStart::Earliest).await.unwrap();
            let mut late = partition.cursor(CursorStart::Earliest).await.unwrap();
            let first = early.next(100).await.unwrap();
            let mut run = late.next(1 << 20).await.unwrap();
            while !late.at_end() {
                run = late.next(1 << 20).await.unwrap();
            }
            assert_eq!((first.first_offset, run.next_offset), (Offset::ZERO, Offset::new(12)));
            let mut follower = replica.log.reader();
            assert!(matches!(follower.read_after(at(2, 12), 100).await, Ok(Stored::Run(_))));

            replica.cut(at(2, 12)).await;
            assert!(matches!(follower.read_after(at(2, 12), 100).await, Ok(Stored::AtEnd)));
            replica.begin_epoch(7).await;
            replica.fill(700..720, bytes).await;
            replica.log.set_committed(Offset::new(32));
            for cursor in [&mut early, &mut late] {
                let from = cursor.position();
                let mut next = from;
                while !cursor.at_end() {
                    let run = cursor.next(100_000).await.unwrap();
                    assert_eq!(run.first_offset, next);
                    next = run.next_offset;
                }
                assert_eq!(next, Offset::new(32), "from {from}");
            }
            assert_eq!(stored_after(&mut follower, at(2, 12), 5000).await.len(), 21);
            // Who has read what was given up is told, and nobody's log is damaged by it.
            replica.log.set_committed(Offset::new(20));
            replica.cut(at(7, 20)).await;
            assert!(matches!(late.try_next(100).await, Err(ReadError::OutOfRange { .. })));
            read_all(&partition, CursorStart::Earliest).await.unwrap();
            replica.node.stop().await;
        });
    }
}

#[test]
fn a_reader_of_what_was_cut_is_told_and_does_not_go_on_in_another_epoch() {
    // From memory, and from disk.
    for bytes in [1000, 60_000] {
        let disk = disk();
        on_executor(async {
            let (replica, _) = filled(disk.path(), bytes).await;
            let partition = replica.node.partition();
            replica.log.set_committed(Offset::new(25));
            let mut reader = partition.cursor(CursorStart::Earliest).await.unwrap();
            assert_eq!(reader.place(), CursorStart::Offset(Offset::ZERO));
            while reader.position() < Offset::new(23) {
                reader.next(100).await.unwrap();
            }
            let idle = partition.cursor(CursorStart::Latest).await.unwrap();
            assert_eq!(idle.place(), CursorStart::Offset(Offset::new(25)), "it has read nothing");
            let (epoch, offset) = (forebay_format::Epoch::new(3), reader.position());
            assert_eq!(reader.place(), CursorStart::After { epoch, offset });
            assert_eq!(replica.fake.asked.get(), None);

            replica.cut(at(1, 5)).await;
            replica.begin_epoch(9).await;
            replica.fill(100..130, bytes).await;
            replica.log.set_committed(Offset::new(35));
            let from = Offset::new(5);
            for (says, error) in [
                (Lineage::Parted { from }, ReadError::Lost { from, upto: offset }),
                (Lineage::Ahead, ReadError::Ahead { epoch, requested: offset }),
            ] {
                replica.fake.lineage.set(says);
                assert_eq!(reader.try_next(100).await.err(), Some(error));
                assert_eq!(replica.fake.asked.take(), Some((epoch, offset)));
            }
            let mut early = partition.cursor(CursorStart::Offset(Offset::new(5))).await.unwrap();
            // The first is the leader's own batch.
            while early.position() == Offset::new(5) {
                early.next(100).await.unwrap();
            }
            let epoch = forebay_format::Epoch::new(9);
            assert_eq!(early.place(), CursorStart::After { epoch, offset: early.position() });
            replica.node.stop().await;
        });
    }
}

#[test]
fn what_is_appended_behind_a_cut_is_not_committed_by_an_old_mark() {
    let disk = disk();
    on_executor(async {
        let (replica, _) = filled(disk.path(), 1000).await;
        let partition = replica.node.partition();
        replica.log.set_committed(Offset::new(25));
        replica.cut(at(1, 5)).await;
        replica.begin_epoch(9).await;
        replica.fill(100..110, 1000).await;
        assert_eq!(partition.status().await.unwrap().committed, Offset::new(5));
        replica.node.stop().await;
    });
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_tree(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn directory(path: &Path) -> PathBuf {
    path.join(partition(0).topic.to_string()).join("0")
}

/// What a kill leaves at the moment when `meta` was recorded.
fn with_cut(path: &Path, cut: PendingCut) {
    let meta = directory(path).join("meta");
    let found = PartitionMeta::decode(&fs::read(&meta).unwrap()).unwrap();
    fs::write(&meta, PartitionMeta { pending_cut: Some(cut), ..found }.encode()).unwrap();
}

#[test]
fn a_kill_between_the_steps_of_a_cut_leaves_the_cut_log() {
    let origin = disk();
    let states = on_executor(async {
        let (replica, states) = filled(origin.path(), 60_000).await;
        replica.node.crash().await;
        states
    });
    let logs = files(origin.path(), "log");
    assert!(logs.len() > 3);
    // In the second segment, behind its first batch.
    let to = at(1, 6);
    let base = Offset::new(5);
    assert!(logs[1].ends_with("00000000000000000005.log"), "{logs:?}");
    let first = forebay_format::BatchHeader::decode(
        fs::read(&logs[1]).unwrap()[4096..4096 + 112].try_into().unwrap(),
    );
    let position = forebay_format::FilePosition::new(4096 + first.unwrap().batch_bytes() as u64);
    let cut = PendingCut { segment: base, position, offset: Offset::new(6) };
    for removed in 0..=logs.len() - 2 {
        let disk = disk();
        copy_tree(origin.path(), disk.path());
        with_cut(disk.path(), cut);
        for log in files(disk.path(), "log").iter().skip(2).take(removed) {
            fs::remove_file(log).unwrap();
            fs::remove_file(log.with_extension("producers")).ok();
        }
        on_executor(async {
            let replica = Replica::start(disk.path()).await;
            let left = replica.opened.state.clone();
            assert_eq!(left, state_at(&states, to), "{removed} removed");
            assert_eq!(replica.opened.meta.pending_cut, None);
            goes_on(replica, disk.path(), &left, 60_000).await;
        });
    }
}

/// What a follower begins with that gets the leader's log from 500 on.
fn start() -> LogState {
    let mut leader = Leader::after(LogState::default());
    leader.state.end = Offset::new(490);
    for epoch in [4, 6] {
        leader.epoch = forebay_format::Epoch::new(epoch);
        leader.epoch_start();
        for sequence in 0..5 {
            let producer = Some((ProducerId::from_u128(epoch.into()), sequence));
            leader.stamp(&produced(&[value(sequence, 10)], producer));
        }
    }
    LogState { log_start: leader.state.end, ..leader.state }
}

#[test]
fn a_reset_begins_where_another_log_does() {
    for bytes in [1000, 60_000] {
        let disk = disk();
        on_executor(async {
            let (replica, _) = filled(disk.path(), bytes).await;
            let partition = replica.node.partition();
            replica.log.set_committed(Offset::new(20));
            let mut reader = partition.cursor(CursorStart::Offset(Offset::new(3))).await.unwrap();
            let mut follower = replica.log.reader();
            assert!(matches!(follower.read_after(at(1, 3), 100).await, Ok(Stored::Run(_))));
            let meta = PartitionMeta {
                promised_epoch: forebay_format::Epoch::new(8),
                state_version: 3,
                ..replica.opened.meta
            };
            replica.log.persist_meta(meta).await.unwrap();
            let left = replica.log.reset(start()).await.unwrap();
            replica.now(&left);
            assert_eq!(left, start());
            assert_eq!(files(disk.path(), "log").len(), 1);
            assert!(matches!(reader.next(100).await, Err(ReadError::OutOfRange { .. })));
            assert!(matches!(follower.read_after(at(1, 3), 100).await, Ok(Stored::Gone)));
            assert!(matches!(follower.read_after(at(6, 500), 100).await, Ok(Stored::AtEnd)));
            assert_eq!(replica.log.start_state().await.unwrap(), start());
            replica.log.set_committed(Offset::new(500));
            let status = partition.status().await.unwrap();
            assert_eq!((status.earliest, status.committed), (left.end, left.end));
            // Everything that it knew of itself, it still knows.
            let reopened = {
                replica.node.crash().await;
                Replica::start(disk.path()).await
            };
            let expected = PartitionMeta { log_start: Offset::new(500), ..meta };
            assert_eq!((reopened.opened.meta, &reopened.opened.state), (expected, &start()));
            goes_on(reopened, disk.path(), &left, bytes).await;
        });
    }
}

#[test]
fn a_reset_to_nothing_leaves_an_empty_log() {
    let disk = disk();
    on_executor(async {
        let (replica, _) = filled(disk.path(), 1000).await;
        let left = replica.log.reset(LogState::default()).await.unwrap();
        replica.now(&left);
        assert_eq!(left, LogState::default());
        goes_on(replica, disk.path(), &left, 1000).await;
    });
}

#[test]
fn a_kill_between_the_steps_of_a_reset_leaves_the_old_log_or_the_new() {
    let (old, new) = (disk(), disk());
    let (before, id) = on_executor(async {
        let (replica, _) = filled(old.path(), 60_000).await;
        let found = (replica.state(), replica.opened.meta.replica);
        replica.node.crash().await;
        found
    });
    copy_tree(old.path(), new.path());
    on_executor(async {
        let replica = Replica::start(new.path()).await;
        replica.log.reset(start()).await.unwrap();
        replica.node.crash().await;
    });
    let beside = |path: &Path, extension: &str| directory(path).with_extension(extension);
    let check = |path: &Path, expected: &LogState| {
        on_executor(async {
            let replica = Replica::start(path).await;
            assert_eq!(replica.opened.state, *expected);
            assert_eq!(replica.opened.meta.replica, id);
            goes_on(replica, path, expected, 60_000).await;
        });
        assert!(!beside(path, "new").exists() && !beside(path, "reset").exists());
    };
    // Not all of it was built.
    let killed = disk();
    copy_tree(old.path(), killed.path());
    copy_tree(&directory(new.path()), &beside(killed.path(), "new"));
    fs::remove_file(beside(killed.path(), "new").join("meta")).unwrap();
    check(killed.path(), &before);
    // It was decided, and so many of the old files were removed.
    for removed in [0, 1, 3, usize::MAX] {
        let killed = disk();
        copy_tree(old.path(), killed.path());
        copy_tree(&directory(new.path()), &beside(killed.path(), "reset"));
        for entry in fs::read_dir(directory(killed.path())).unwrap().take(removed) {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        if removed == usize::MAX {
            fs::remove_dir(directory(killed.path())).unwrap();
        }
        check(killed.path(), &start());
    }
}

#[test]
fn a_damaged_replica_is_put_aside_and_a_fresh_one_begins() {
    let disk = disk();
    let id = on_executor(async {
        let (replica, _) = filled(disk.path(), 1000).await;
        let id = replica.opened.meta.replica;
        replica.log.set_aside().await.unwrap_err();
        for number in 25..28 {
            replica.fill(number..number + 1, 10).await;
        }
        replica.node.crash().await;
        id
    });
    for round in 0..2_u64 {
        // Below what a later batch says was synced.
        let log = files(&directory(disk.path()), "log").remove(0);
        let mut bytes = fs::read(&log).unwrap();
        bytes[4096 + 116 + 40] ^= 1;
        fs::write(&log, &bytes).unwrap();
        on_executor(async {
            let node = support::Node::start(disk.path(), &setup()).await;
            let log = node.shard.replica_log(partition(0), setup().settings);
            let sequencer: Rc<dyn Sequencer> = support::replica::Fake::new();
            let error = log.open(sequencer).await.unwrap_err();
            assert!(matches!(error, ReserveError::Corrupt(_)), "{error}");
            let place = log.set_aside().await.unwrap();
            let topic = disk.path().join("quarantine").join(partition(0).topic.to_string());
            assert_eq!(place, topic.join(format!("0.{round}")));
            assert_eq!(fs::read(files(&place, "log").remove(0)).unwrap(), bytes);
            let fake = support::replica::Fake::new();
            let opened = log.open(fake.clone()).await.unwrap();
            assert_eq!(opened.state, LogState::default());
            assert_ne!(opened.meta.replica, id);
            // Durable before anybody hears of it.
            let meta = fs::read(directory(disk.path()).join("meta")).unwrap();
            assert_eq!(PartitionMeta::decode(&meta), Ok(opened.meta));
            let replica = Replica { node, log, fake, opened };
            replica.begin_epoch(1).await;
            for number in 0..3 {
                replica.fill(number..number + 1, 10).await;
            }
            replica.node.crash().await;
        });
    }
}

#[test]
fn room_in_a_log_that_was_put_aside_is_none_in_the_next() {
    let disk = disk();
    on_executor(async {
        let (replica, _) = filled(disk.path(), 60_000).await;
        replica.node.crash().await;
        // In a sealed segment: only a reader finds it.
        let log = files(&directory(disk.path()), "log").remove(1);
        let mut bytes = fs::read(&log).unwrap();
        bytes[4096 + 70] ^= 1;
        fs::write(&log, &bytes).unwrap();
        let replica = Replica::start(disk.path()).await;
        let partition = replica.node.partition();
        replica.log.set_committed(Offset::new(25));
        let batch = || support::batch_of(&[value(1, 1000)]);
        let kept = partition.reserve(batch().batch_bytes()).await.unwrap();
        let used = partition.reserve(batch().batch_bytes()).await.unwrap();
        let error = read_all(&partition, CursorStart::Earliest).await.unwrap_err();
        assert!(matches!(error, ReadError::Corrupt(_)), "{error}");
        let ended = replica.fake.ended.take();
        assert!(matches!(ended, Some(ReserveError::Corrupt(_))), "{ended:?}");
        replica.log.set_aside().await.unwrap();
        let fake = support::replica::Fake::new();
        let opened = replica.log.open(fake.clone()).await.unwrap();
        let fresh = Replica { node: replica.node, log: replica.log, fake, opened };
        drop(kept);
        let queue = forebay_engine::CompletionQueue::new();
        let done = forebay_engine::Completion {
            queue: queue.clone(),
            token: 1,
            when: forebay_engine::AckWhen::Quorum,
        };
        partition.append(used, batch(), done);
        let refusal = forebay_engine::WriteRefusal::NotServing;
        let answer = support::answers(&queue, 1).await.remove(0).outcome;
        assert_eq!(answer, Err(forebay_engine::AppendError::NotAdmitted(refusal)));
        assert_eq!(fresh.fake.proposals.get(), 0);
        fresh.begin_epoch(1).await;
        support::append(&partition, batch()).await.unwrap();
        fresh.node.stop().await;
    });
}

#[test]
fn a_replica_that_is_removed_leaves_nothing_and_tells_its_sequencer() {
    let disk = disk();
    on_executor(async {
        let (replica, _) = filled(disk.path(), 1000).await;
        replica.node.shard.remove_partition(partition(0)).await.unwrap();
        assert_eq!(replica.fake.ended.take(), Some(ReserveError::Unknown));
        assert!(!directory(disk.path()).exists());
        let gone = replica.log.append(vec![Leader::after(LogState::default()).epoch_start()]);
        assert_eq!(gone.await, Err(ReserveError::Unknown));
        assert_eq!(replica.log.cut(at(0, 0)).await, Err(ReserveError::Unknown));
        replica.node.stop().await;
    });
}

#[test]
fn an_epoch_start_that_is_cut_takes_its_epoch_along() {
    let disk = disk();
    on_executor(async {
        let replica = Replica::start(disk.path()).await;
        replica.begin_epoch(1).await;
        replica.begin_epoch(2).await;
        let left = replica.cut(at(1, 0)).await;
        let started = EpochStart { epoch: forebay_format::Epoch::new(1), start: Offset::ZERO };
        assert_eq!(left.epochs.entries(), [started]);
        goes_on(replica, disk.path(), &left, 10).await;
    });
}
