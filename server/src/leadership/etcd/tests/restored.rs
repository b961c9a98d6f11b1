//! An etcd that was put back to an earlier state, and has gone on since by another way: it uses revisions
//! again, and nothing of the time before may pass for the present.

use forebay_format::PartitionId;
use forebay_replication::metadata::{Outcome, PartitionState, Revision};
use tempfile::TempDir;

use super::process::{Etcd, config_of, keys};
use super::proxy::Proxy;
use super::support::{Node, topic_name, within};
use crate::config::{EtcdConfig, Span};
use crate::leadership::etcd::keys::PartKey;
use crate::leadership::etcd::txn::{put, when};
use crate::leadership::etcd::values::Value;

fn patient(config: EtcdConfig) -> EtcdConfig {
    EtcdConfig { lease_ttl: Span::from_millis(120_000), ..config }
}

/// Of the store, now.
async fn revision(etcd: &Etcd) -> Revision {
    within("a read", etcd.connection().read(vec![])).await.expect("read").revision
}

#[tokio::test]
async fn watch_shows_the_history_that_etcd_has_now() {
    let Some(mut etcd) = Etcd::start().await else { return };
    let proxy = Proxy::to(etcd.port()).await;
    let far = Node::start(&patient(config_of("http", proxy.port)), 1).await;
    let mut near = Node::start(&patient(etcd.config()), 2).await;
    near.leased().await;
    near.create_topic("kept", 1, 1).await;
    etcd.kill();
    let backup = etcd.back_up();
    etcd.revive();
    near.create_topic("forgotten", 1, 1).await;
    far.sees("the topic", |view| view.topics.contains_key(&topic_name("forgotten"))).await;
    let seen = revision(&etcd).await;
    proxy.cut();
    etcd.kill();
    etcd.put_back(&backup);
    etcd.revive();
    // It comes to the same revision, and past it, by another way.
    for name in ["one", "two", "three"] {
        near.create_topic(name, 1, 1).await;
    }
    proxy.mend();
    let now =
        far.sees("the other history", |view| view.topics.contains_key(&topic_name("three"))).await;
    let reached = revision(&etcd).await;
    assert!(reached >= seen, "the trap is set: {seen}, then {reached}");
    let mut names: Vec<_> = now.topics.keys().map(ToString::to_string).collect();
    names.sort_unstable();
    assert_eq!(names, ["kept", "one", "three", "two"]);
    assert!(now.deleted.is_empty(), "what is forgotten is not deleted");
}

/// A node whose partition has its first state, and a copy of etcd from just before that.
async fn backed_up_before_the_first_state(etcd: &mut Etcd) -> (Node, PartitionId, TempDir) {
    let mut node = Node::start(&patient(etcd.config()), 1).await;
    node.leased().await;
    let partition = node.create_topic("orders", 1, 1).await.partition(0).expect("has one");
    node.report(partition).await;
    etcd.kill();
    let backup = etcd.back_up();
    etcd.revive();
    node.read(partition).await;
    node.first_state(partition, vec![node.member()]).await;
    (node, partition, backup)
}

#[tokio::test]
async fn state_of_the_time_before_is_no_ground_for_a_transaction() {
    let Some(mut etcd) = Etcd::start().await else { return };
    let (mut node, partition, backup) = backed_up_before_the_first_state(&mut etcd).await;
    let before = node.read(partition).await;
    let known = before.state.clone().expect("a state");
    let take_over = node.take_over(&before);

    etcd.kill();
    etcd.put_back(&backup);
    etcd.revive();
    node.read(partition).await;
    // Another state, at the very revision.
    let stranger = forebay_format::ReplicaId::random();
    let member = forebay_replication::metadata::Member { replica: stranger, ..node.member() };
    let other = PartitionState::first(vec![member]);
    node.first_state(partition, vec![member]).await;
    let after = node.read(partition).await.state.expect("a state");
    assert_eq!((after.modified, &after.value), (known.modified, &other), "the trap is set");

    let outcome = node.transact(partition, &take_over).await;
    assert_eq!(outcome, Outcome::Conflict);
    assert_eq!(node.read(partition).await.state, Some(after));
}

#[tokio::test]
async fn transaction_sent_again_counts_on_the_state_of_its_first_time() {
    let Some(mut etcd) = Etcd::start().await else { return };
    let (mut node, partition, backup) = backed_up_before_the_first_state(&mut etcd).await;
    let before = node.read(partition).await;
    let known = before.state.clone().expect("a state");
    let take_over = node.take_over(&before);

    etcd.kill();
    let unknown = node.transact(partition, &take_over).await;
    assert_eq!(unknown, Outcome::Unknown);
    etcd.put_back(&backup);
    etcd.revive();
    let replica = forebay_format::ReplicaId::random();
    let member = forebay_replication::metadata::Member { replica, ..node.member() };
    let key = keys().part(partition, PartKey::State);
    let written = vec![put(&key, PartitionState::first(vec![member]).encode(), 0)];
    let by_another = when(vec![], written, vec![]);
    let connection = etcd.connection();
    within("a write", connection.transact_until_answered(by_another)).await.expect("written");
    let after = node.read(partition).await.state.expect("a state");
    assert_eq!(after.modified, known.modified, "the trap is set");

    // Whoever sent it has read the other state by now; what is sent again was not made of that.
    assert_eq!(node.transact(partition, &take_over).await, Outcome::Conflict);
    assert_eq!(node.read(partition).await.state, Some(after));
}

#[tokio::test]
async fn lease_that_etcd_has_forgotten_is_lost_and_no_life_comes_twice() {
    let Some(mut etcd) = Etcd::start().await else { return };
    etcd.kill();
    let backup = etcd.back_up();
    etcd.revive();
    let mut node = Node::start(&etcd.config(), 1).await;
    let (first, _) = node.leased().await;
    etcd.kill();
    etcd.put_back(&backup);
    etcd.revive();
    node.loses_its_lease().await;
    let (second, _) = node.leased().await;
    assert!(second > first);
}
