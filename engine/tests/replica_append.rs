//! What gets into the log of a replica: by proposal of a client, and by order; and what readers see of it.

mod support;

use std::cell::RefCell;
use std::rc::Rc;

use forebay_engine::{
    AckWhen, AppendError, Completion, CompletionQueue, CursorStart, ReadError, ReserveError,
    WriteRefusal,
};
use forebay_format::{BatchError, Offset};
use support::replica::{Leader, Replica, Says, at, setup, stored_after};
use support::{Node, answers, append, append_when, batch_of, disk, on_executor, partition};
use support::{read_all, value};

#[test]
fn a_sequencer_admits_refuses_and_answers_later() {
    let disk = disk();
    on_executor(async {
        let replica = Replica::start(disk.path()).await;
        let partition = replica.node.partition();
        replica.begin_epoch(1).await;
        let first = append_when(&partition, batch_of(&[value(1, 10)]), AckWhen::Quorum).await;
        assert_eq!(first.unwrap().base_offset, Offset::new(0));

        let refusal = WriteRefusal::ReadOnly { live: 1, needed: 2 };
        replica.fake.says.set(Says::Refuse(refusal));
        let refused = append(&partition, batch_of(&[value(2, 5000)])).await.unwrap_err();
        assert_eq!(refused, AppendError::NotAdmitted(refusal));
        assert!(refused.to_string().contains("1 replicas are live, 2 are needed"), "{refused}");

        // Neither what stays nor what goes is answered by the engine.
        let queue = CompletionQueue::new();
        for (token, says) in [(5, Says::TakeSilently), (6, Says::DropSilently)] {
            replica.fake.says.set(says);
            let batch = batch_of(&[value(token, 3000)]);
            let room = partition.reserve(batch.batch_bytes()).await.unwrap();
            let done = Completion { queue: queue.clone(), token, when: AckWhen::All };
            partition.append(room, batch, done);
        }
        replica.durable_upto(at(1, 2)).await;
        let held = replica.fake.held.take();
        assert_eq!(held.iter().map(|(done, _)| done.when).collect::<Vec<_>>(), [AckWhen::All; 2]);
        Completion::answer_all(held.into_iter().map(|(done, appended)| {
            (done, appended.ok_or(AppendError::NotAdmitted(WriteRefusal::Overloaded)))
        }));
        let outcomes = answers(&queue, 2).await;
        assert_eq!(outcomes[0].outcome.as_ref().unwrap().base_offset, Offset::new(1));
        outcomes[1].outcome.as_ref().unwrap_err();

        // What went left nothing behind.
        replica.fake.says.set(Says::Take);
        append(&partition, batch_of(&[value(7, 10)])).await.unwrap();
        replica.log.set_committed(Offset::new(3));
        let (_, values) = read_all(&partition, CursorStart::Earliest).await.unwrap();
        assert_eq!(values, [value(1, 10), value(5, 3000), value(7, 10)]);
        let state = replica.state();
        replica.node.crash().await;
        assert_eq!(replica.fake.ended.take(), Some(ReserveError::Stopping));
        let replica = Replica::start(disk.path()).await;
        assert_eq!(replica.opened.state, state);
        replica.node.stop().await;
    });
}

#[test]
fn what_does_not_verify_is_never_proposed() {
    let disk = disk();
    on_executor(async {
        let replica = Replica::start(disk.path()).await;
        let partition = replica.node.partition();
        replica.begin_epoch(1).await;
        let mut flipped = batch_of(&[value(2, 100)]);
        flipped.header[60] ^= 1;
        let refused = append(&partition, flipped).await.unwrap_err();
        assert!(matches!(refused, AppendError::Batch(BatchError::PayloadCrc { .. })), "{refused}");
        let large = append(&partition, batch_of(&[value(2, 300_000)])).await.unwrap_err();
        assert!(matches!(large, AppendError::TooLarge { .. }), "{large}");
        assert_eq!(replica.fake.proposals.get(), 0);
        append(&partition, batch_of(&[value(3, 100)])).await.unwrap();
        replica.node.stop().await;
    });
}

#[test]
fn proposals_fill_segment_after_segment() {
    let disk = disk();
    on_executor(async {
        let replica = Replica::start(disk.path()).await;
        let partition = replica.node.partition();
        replica.begin_epoch(1).await;
        for number in 0..40 {
            let says =
                if number % 4 == 3 { Says::Refuse(WriteRefusal::NotServing) } else { Says::Take };
            replica.fake.says.set(says);
            let appended = append(&partition, batch_of(&[value(number, 50_000)])).await;
            assert_eq!(appended.is_ok(), number % 4 != 3);
        }
        replica.log.set_committed(replica.end().end);
        assert!(partition.status().await.unwrap().segments > 3);
        let expected: Vec<_> = (0..40).filter(|n| n % 4 != 3).map(|n| value(n, 50_000)).collect();
        assert_eq!(read_all(&partition, CursorStart::Earliest).await.unwrap().1, expected);
        let state = replica.state();
        replica.node.crash().await;
        let replica = Replica::start(disk.path()).await;
        assert_eq!(replica.opened.state, state);
        replica.node.stop().await;
    });
}

#[test]
fn what_is_ordered_while_a_batch_is_proposed_goes_behind_it() {
    let disk = disk();
    on_executor(async {
        let replica = Replica::start(disk.path()).await;
        let partition = replica.node.partition();
        replica.begin_epoch(1).await;
        // A leader that knows what the proposal will be; the fake is told of what it does below.
        let batch = batch_of(&[value(1, 10_000)]);
        let mut leader = Leader::after(replica.state());
        leader.stamp(&batch);
        let behind = Rc::new(RefCell::new(Some(leader.stamp(&batch_of(&[value(2, 10)])))));
        let log = replica.log.clone();
        replica.fake.meanwhile.replace(Some(Box::new(move || {
            drop(log.append(behind.take().into_iter().collect()));
            log.set_committed(Offset::ZERO);
        })));
        append(&partition, batch).await.unwrap();
        replica.fake.meanwhile.take();
        replica.durable_upto(at(1, 2)).await;
        replica.log.set_committed(Offset::new(2));
        let (_, values) = read_all(&partition, CursorStart::Earliest).await.unwrap();
        assert_eq!(values, [value(1, 10_000), value(2, 10)]);
        replica.node.stop().await;
    });
}

#[test]
fn clients_are_told_to_wait_until_the_replica_is_open() {
    let disk = disk();
    on_executor(async {
        let node = Node::start(disk.path(), &setup()).await;
        let log = node.shard.replica_log(partition(0), setup().settings);
        let refused = append(&node.partition(), batch_of(&[value(1, 10)])).await.unwrap_err();
        let unavailable = matches!(refused, AppendError::Refused(ReserveError::Unavailable { .. }));
        assert!(unavailable, "{refused}");
        let refused = read_all(&node.partition(), CursorStart::Earliest).await.unwrap_err();
        assert!(matches!(refused, ReadError::Unavailable { .. }), "{refused}");
        drop(log);
        node.stop().await;
    });
}

#[test]
fn readers_go_up_to_the_committed_mark_exactly() {
    let disk = disk();
    on_executor(async {
        let replica = Replica::start(disk.path()).await;
        let partition = replica.node.partition();
        replica.begin_epoch(1).await;
        // Batches of three records; memory for all, then from disk after a restart.
        let mut leader = Leader::after(replica.state());
        let values = |n: u64| [value(3 * n, 900), value(3 * n + 1, 900), value(3 * n + 2, 900)];
        let batches = (0..200).map(|n| leader.stamp(&batch_of(&values(n)))).collect();
        replica.follow(batches).await;
        replica.begin_epoch(2).await;
        assert_eq!(partition.status().await.unwrap().committed, Offset::ZERO);
        let mut waiting = partition.cursor(CursorStart::Latest).await.unwrap();
        assert!(waiting.try_next(1000).await.unwrap().is_none());
        let all: Vec<_> = (0..600).map(|n| value(n, 900)).collect();
        for committed in [3, 6, 300, 597, 600] {
            replica.log.set_committed(Offset::new(committed));
            assert_eq!(partition.status().await.unwrap().committed, Offset::new(committed));
            let (_, read) = read_all(&partition, CursorStart::Earliest).await.unwrap();
            assert!(read == all[..usize::try_from(committed).unwrap()], "{committed}");
            let beyond = CursorStart::Offset(Offset::new(committed + 1));
            assert!(matches!(partition.cursor(beyond).await, Err(ReadError::OutOfRange { .. })));
            let time = CursorStart::Timestamp(forebay_format::TimestampMs::MAX);
            assert_eq!(partition.cursor(time).await.unwrap().position(), Offset::new(committed));
            let run = waiting.next(8000).await.unwrap();
            assert!(run.next_offset <= Offset::new(committed) && run.next_offset > Offset::ZERO);
            while !waiting.at_end() {
                waiting.next(1 << 20).await.unwrap();
            }
            assert_eq!(waiting.position(), Offset::new(committed));
        }
        // More than is durable is not shown.
        replica.log.set_committed(Offset::new(700));
        assert_eq!(partition.status().await.unwrap().committed, Offset::new(600));
        replica.log.set_committed(Offset::new(300));
        let meta = forebay_format::PartitionMeta {
            committed: Offset::new(300),
            promised_epoch: forebay_format::Epoch::new(9),
            ..replica.opened.meta
        };
        replica.log.persist_meta(meta).await.unwrap();
        replica.node.crash().await;

        let replica = Replica::start(disk.path()).await;
        assert_eq!(replica.opened.meta, meta);
        let partition = replica.node.partition();
        for committed in [300, 450, 600] {
            if committed > 300 {
                replica.log.set_committed(Offset::new(committed));
            }
            let (_, read) = read_all(&partition, CursorStart::Earliest).await.unwrap();
            assert!(read == all[..usize::try_from(committed).unwrap()], "{committed}");
            let latest = partition.cursor(CursorStart::Latest).await.unwrap();
            assert_eq!(latest.position(), Offset::new(committed));
            assert!(latest.at_end());
        }
        replica.node.stop().await;
    });
}

#[test]
fn batches_of_a_leader_are_taken_as_they_are_and_stamped_for_this_replica_only() {
    let (leader_disk, follower_disk) = (disk(), disk());
    on_executor(async {
        let leader = Replica::start(leader_disk.path()).await;
        leader.begin_epoch(1).await;
        for number in 0..30 {
            append(&leader.node.partition(), batch_of(&[value(number, 40_000)])).await.unwrap();
        }
        leader.begin_epoch(2).await;
        let sent = stored_after(&mut leader.log.reader(), at(0, 0), 200_000).await;
        assert_eq!(sent.len(), 32);

        // The follower's files have other salts, and other places.
        let setup = support::Setup {
            settings: forebay_engine::LogSettings { segment_bytes: 500_000, ..setup().settings },
            ..setup()
        };
        let state = leader.state();
        let mut runs = Vec::new();
        let mut reader = leader.log.reader();
        let mut after = at(0, 0);
        while let forebay_engine::Stored::Run(run) =
            reader.read_after(after, 100_000).await.unwrap()
        {
            after = run.upto;
            runs.push(bytes::Bytes::from(run.slices.concat()));
        }
        leader.node.stop().await;
        let follower = Replica::start_with(follower_disk.path(), &setup).await;
        assert_ne!(follower.opened.meta.replica, leader.opened.meta.replica);
        // Called in order, and none waited for before the last.
        let appends: Vec<_> =
            runs.iter().map(|run| follower.log.append(support::replica::stamped_of(run))).collect();
        for append in appends {
            append.await.unwrap();
        }
        follower.durable_upto(at(2, 30)).await;
        follower.log.set_committed(Offset::new(30));
        let partition = follower.node.partition();
        let (_, values) = read_all(&partition, CursorStart::Earliest).await.unwrap();
        let expected: Vec<_> = (0..30).map(|n| value(n, 40_000)).collect();
        assert!(values == expected, "{} records", values.len());
        assert_eq!(stored_after(&mut follower.log.reader(), at(0, 0), 1).await, sent);
        follower.node.crash().await;
        let follower = Replica::start_with(follower_disk.path(), &setup).await;
        assert_eq!(follower.opened.state, state);
        assert_eq!(stored_after(&mut follower.log.reader(), at(0, 0), 1 << 20).await, sent);
        follower.node.stop().await;
    });
}

#[test]
fn a_segment_of_control_batches_alone_grows_and_never_rolls() {
    let disk = disk();
    on_executor(async {
        let replica = Replica::start(disk.path()).await;
        let mut leader = Leader::after(replica.state());
        // More than a segment's length of them.
        let starts = (1..=4000).map(|epoch| {
            leader.epoch = forebay_format::Epoch::new(epoch);
            leader.epoch_start()
        });
        replica.follow(starts.collect()).await;
        let partition = replica.node.partition();
        assert_eq!(partition.status().await.unwrap().segments, 1);
        replica.fill(0..20, 50_000).await;
        replica.log.set_committed(Offset::new(20));
        assert!(partition.status().await.unwrap().segments > 1);
        let (_, values) = read_all(&partition, CursorStart::Earliest).await.unwrap();
        assert_eq!(values.len(), 20);
        let left = replica.cut(at(3999, 0)).await;
        assert_eq!(left.position(), at(3999, 0));
        replica.node.crash().await;
        let replica = Replica::start(disk.path()).await;
        assert_eq!(replica.opened.state, left);
        replica.node.stop().await;
    });
}

#[test]
fn the_only_replica_is_the_quorum_and_all() {
    let disk = disk();
    on_executor(async {
        let node = Node::start(disk.path(), &support::Setup::default()).await;
        for (offset, when) in (0..).zip([AckWhen::Quorum, AckWhen::All, AckWhen::Replicas(1)]) {
            let batch = batch_of(&[value(offset, 10)]);
            let appended = append_when(&node.partition(), batch, when).await.unwrap();
            assert_eq!((appended.base_offset, appended.durable_replicas), (Offset::new(offset), 1));
        }
        node.stop().await;
    });
}

#[test]
fn metas_are_durable_in_the_order_they_were_asked_for() {
    let disk = disk();
    on_executor(async {
        let replica = Replica::start(disk.path()).await;
        let promised = |epoch| forebay_format::PartitionMeta {
            promised_epoch: forebay_format::Epoch::new(epoch),
            log_start: Offset::ZERO,
            ..replica.opened.meta
        };
        let file = disk.path().join(partition(0).topic.to_string()).join("0/meta");
        let on_disk = || {
            let bytes = std::fs::read(&file).unwrap();
            forebay_format::PartitionMeta::decode(&bytes).unwrap().promised_epoch.get()
        };
        let all: Vec<_> = (1..=9).map(|epoch| replica.log.persist_meta(promised(epoch))).collect();
        for (epoch, written) in (1..).zip(all) {
            written.await.unwrap();
            assert!(on_disk() >= epoch);
        }
        // Whoever asked may have gone away.
        drop(replica.log.persist_meta(promised(10)));
        replica.log.persist_meta(promised(11)).await.unwrap();
        assert_eq!(on_disk(), 11);
        replica.node.stop().await;
    });
}
