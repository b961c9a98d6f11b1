//! The lease: granted, kept alive, lost, revoked, and never two lives with one incarnation.

use forebay_replication::LeaseEvent;
use forebay_replication::lease::LeaseInput;

use super::process::{Etcd, keys};
use super::support::{Node, until, within};
use crate::config::Span;
use crate::leadership::etcd::grant::revoke;
use crate::leadership::etcd::keep_alive::keep_alive;
use crate::leadership::etcd::keys::Key;
use crate::leadership::etcd::seat::EtcdEvent;
use crate::leadership::etcd::txn::get;

/// etcd's number of a node's lease.
async fn lease_of(etcd: &Etcd, node: &Node) -> i64 {
    let key = keys().of(&Key::Node(node.id));
    let done = within("a read", etcd.connection().read(vec![get(&key)])).await.expect("read");
    done.found.into_iter().flatten().next().expect("its key is there").lease
}

async fn is_registered(etcd: &Etcd, node: forebay_format::NodeId) -> bool {
    let key = keys().of(&Key::Node(node));
    let done = within("a read", etcd.connection().read(vec![get(&key)])).await.expect("read");
    done.found.iter().any(|pairs| !pairs.is_empty())
}

#[tokio::test]
async fn lease_is_asked_for_only_when_disk_and_shard_show_life_and_then_kept() {
    let Some(etcd) = Etcd::start().await else { return };
    let data = tempfile::tempdir().expect("a folder");
    let silent =
        super::support::coordinator(&etcd.config(), data.path(), Some(9)).await.expect("started");
    let mut node = Node::start(&etcd.config(), 1).await;
    node.leased().await;
    assert!(!is_registered(&etcd, silent.identity().node).await, "it has shown no life");
    let mut last = None;
    for _ in 0..2 {
        let renewed = |event| match event {
            EtcdEvent::Lease(LeaseEvent::Renewed { until }) => Some(until),
            EtcdEvent::Lease(event) => panic!("it was kept alive: {event:?}"),
            _ => None,
        };
        let until = node.event("a renewal", renewed).await;
        assert!(last < Some(until));
        last = Some(until);
    }
}

#[tokio::test]
async fn revoked_lease_is_noticed_and_the_next_life_is_a_later_one() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut node = Node::start(&etcd.config(), 1).await;
    let (first, created) = node.leased().await;
    let lease = lease_of(&etcd, &node).await;
    within("a revocation", revoke(&etcd.connection(), lease)).await.expect("revoked");
    node.loses_its_lease().await;
    let (second, created_again) = node.leased().await;
    assert!(second > first && created_again > created);
    node.sees("the new life", |view| {
        view.nodes.get(&node.id).is_some_and(|record| record.incarnation == second)
    })
    .await;
}

/// The machine asks again before the first answer is there, and then listens to the later one alone.
#[tokio::test]
async fn every_keep_alive_of_a_lease_that_is_gone_is_answered_so() {
    const NO_LEASE: i64 = 4711;
    let Some(etcd) = Etcd::start().await else { return };
    let (numbers, asked) = async_channel::bounded(1);
    let (inputs, answered) = async_channel::bounded(1);
    let keeper = tokio::spawn(keep_alive(etcd.connection(), NO_LEASE, asked, inputs));
    for number in 1..=3 {
        numbers.send(number).await.expect("it listens");
        let answer = within("an answer", answered.recv()).await;
        assert_eq!(answer, Ok(LeaseInput::Answered { number, ttl_ms: 0 }));
    }
    drop(numbers);
    within("the end", keeper).await.expect("it ended");
}

#[tokio::test]
async fn node_that_falls_silent_is_gone_when_its_lease_has_run_out() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut config = etcd.config();
    config.lease_ttl = Span::from_millis(2_000);
    let mut node = Node::start(&config, 1).await;
    let other = Node::start(&etcd.config(), 2).await;
    node.leased().await;
    other.sees("both nodes", |view| view.nodes.len() == 2).await;
    let id = node.id;
    drop(node);
    other.sees("one node", |view| !view.nodes.contains_key(&id)).await;
}

#[tokio::test]
async fn node_that_starts_again_ends_its_previous_life() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut config = etcd.config();
    config.lease_ttl = Span::from_millis(300_000);
    let mut node = Node::start(&config, 1).await;
    let (first, _) = node.leased().await;
    let before = lease_of(&etcd, &node).await;
    let data = node.data.clone();
    // As a crash: nothing is revoked.
    drop(node);
    let mut again = Node::start_in(&config, 1, data).await;
    let (second, _) = again.leased().await;
    assert!(second > first);
    assert_ne!(lease_of(&etcd, &again).await, before);
}

#[tokio::test]
async fn two_directories_with_one_node_id_are_not_one_node() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut config = etcd.config();
    config.lease_ttl = Span::from_millis(2_000);
    let mut first = Node::start(&config, 1).await;
    let (incarnation, _) = first.leased().await;
    let mut second = Node::start(&config, 1).await;
    for _ in 0..3 {
        let kept = |event| match event {
            EtcdEvent::Lease(LeaseEvent::Renewed { .. }) => Some(()),
            EtcdEvent::Lease(event) => panic!("the first keeps its lease: {event:?}"),
            _ => None,
        };
        first.event("a renewal", kept).await;
    }
    drop(first);
    let (later, _) = second.leased().await;
    assert!(later > incarnation, "it begins when the first has run out");
}

#[tokio::test]
async fn node_that_stops_leaves_at_once() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut config = etcd.config();
    config.lease_ttl = Span::from_millis(300_000);
    let mut node = Node::start(&config, 1).await;
    node.leased().await;
    let Node { id, coordinator, mut signs, .. } = node;
    signs.shutdown().await;
    let coordinator = std::sync::Arc::into_inner(coordinator).expect("nobody else has it");
    within("a stop", coordinator.stop()).await.expect("revoked");
    until("it is gone", || async { !is_registered(&etcd, id).await }).await;
}
