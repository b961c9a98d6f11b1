//! Callers go away at any moment: a request is cancelled, a stream is not polled any more. What
//! they asked for goes on, and nobody else waits for them.

mod support;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use forebay_engine::CursorStart;
use support::{Node, Setup, append, batch_of, disk, on_executor, read_all, value};

/// Polls once, and drops.
fn begin_and_drop<T>(future: impl Future<Output = T>) {
    let mut context = Context::from_waker(Waker::noop());
    assert!(pin!(future).poll(&mut context).is_pending(), "it has to wait for the disk");
}

#[test]
fn a_reservation_that_is_dropped_while_the_log_is_made_leaves_it_usable() {
    let disk = disk();
    on_executor(async {
        let node = Node::start(disk.path(), &Setup::default()).await;
        let partition = node.partition();
        // Once while it is opened, and once while its first file is made.
        begin_and_drop(partition.reserve(1000));
        partition.status().await.unwrap();
        begin_and_drop(partition.reserve(1000));
        append(&partition, batch_of(&[value(1, 10)])).await.unwrap();
        node.stop().await;
    });
}

#[test]
fn a_reservation_that_is_dropped_while_a_segment_is_made_leaves_the_log_usable() {
    let disk = disk();
    on_executor(async {
        let node = Node::start(disk.path(), &Setup::default()).await;
        let partition = node.partition();
        let bytes = batch_of(&[value(1, 50_000)]).batch_bytes();
        for number in 0..60 {
            // Wherever the log stands between growing, full and rolled.
            if partition.try_reserve(bytes).is_none() {
                begin_and_drop(partition.reserve(bytes));
            }
            append(&partition, batch_of(&[value(number, 50_000)])).await.unwrap();
        }
        let (_, values) = read_all(&partition, CursorStart::Earliest).await.unwrap();
        assert_eq!(values.len(), 60);
        node.stop().await;
    });
}

#[test]
fn whoever_asks_first_and_goes_away_while_a_log_is_recovered_holds_nobody_up() {
    let disk = disk();
    on_executor(async {
        let node = Node::start(disk.path(), &Setup::default()).await;
        append(&node.partition(), batch_of(&[value(1, 10)])).await.unwrap();
        node.crash().await;
        for (epoch, asks) in (2..).zip(0..3) {
            let node = Node::start(disk.path(), &Setup { epoch, ..Setup::default() }).await;
            let partition = node.partition();
            match asks {
                0 => begin_and_drop(partition.status()),
                1 => begin_and_drop(partition.cursor(CursorStart::Earliest)),
                _ => begin_and_drop(partition.reserve(10)),
            }
            let (_, values) = read_all(&partition, CursorStart::Earliest).await.unwrap();
            assert_eq!(values, [value(1, 10)]);
            node.crash().await;
        }
    });
}
