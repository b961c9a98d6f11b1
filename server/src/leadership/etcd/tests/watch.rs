//! The watch: over restarts, over a compaction that it has slept through, and over another history.

use forebay_proto::etcd::etcdserverpb::CompactionRequest;
use forebay_replication::metadata::{ObservationSource, Revision};
use futures_util::FutureExt;

use super::process::{Etcd, config_of, keys};
use super::proxy::Proxy;
use super::support::{Node, topic_name, within};
use crate::leadership::etcd::connection::Asked;
use crate::leadership::etcd::keys::{Key, PartKey};
use crate::leadership::etcd::seat::EtcdEvent;
use crate::leadership::etcd::txn::{delete, get, signed, when};

/// Forgets what was before this revision.
async fn compact(etcd: &Etcd, at: Revision) {
    let call = move |asked: Asked| {
        let request = asked.request(CompactionRequest { revision: signed(at), physical: true });
        async move { asked.kv().compact(request).await }.boxed()
    };
    within("a compaction", etcd.connection().ask(call)).await.expect("compacted");
}

async fn revision(etcd: &Etcd) -> Revision {
    let read = etcd.connection();
    within("a read", read.read(vec![get("/")])).await.expect("read").revision
}

#[tokio::test]
async fn observations_are_whole_and_a_new_seat_is_told_everything_it_owns() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut node = Node::start(&etcd.config(), 1).await;
    node.leased().await;
    let topic = node.create_topic("orders", 4, 1).await;
    let wanted = topic.partition(3).expect("has four");
    let watched = |event| match event {
        EtcdEvent::Observed { partition, observation } if partition == wanted => Some(observation),
        _ => None,
    };
    let observation = node.event("an observation", watched).await;
    assert_eq!(observation.source, ObservationSource::Watch);
    assert_eq!(observation.assigned, [node.id]);

    let seat = node.coordinator.seat(0, move |partition| partition == wanted);
    let first = within("the lease", seat.events.recv()).await.expect("told");
    let second = within("its partition", seat.events.recv()).await.expect("told");
    let is_lease = |event: &EtcdEvent| matches!(event, EtcdEvent::Lease(_));
    let is_partition = |event: &EtcdEvent| matches!(event, EtcdEvent::Observed { partition, .. } if *partition == wanted);
    assert!([&first, &second].into_iter().any(is_lease), "{first:?}, {second:?}");
    assert!([&first, &second].into_iter().any(is_partition), "{first:?}, {second:?}");
}

#[tokio::test]
async fn what_happened_while_it_was_cut_off_is_seen_afterwards() {
    let Some(etcd) = Etcd::start().await else { return };
    let proxy = Proxy::to(etcd.port()).await;
    let far = Node::start(&config_of("http", proxy.port), 1).await;
    let mut near = Node::start(&etcd.config(), 2).await;
    near.leased().await;
    let first = near.create_topic("first", 1, 1).await;
    far.sees("the first topic", |view| view.topics.contains_key(&first.name)).await;
    for (name, forget) in [("second", false), ("third", true)] {
        proxy.cut();
        near.create_topic(name, 1, 1).await;
        let ended = near.create_topic("short-lived", 1, 1).await;
        near.coordinator.delete_topic(&ended.name).await.expect("deleted");
        if forget {
            compact(&etcd, revision(&etcd).await).await;
        }
        proxy.mend();
        let seen = far
            .sees("the topic", |view| {
                view.topics.contains_key(&topic_name(name)) && view.deleted.contains(&ended.id)
            })
            .await;
        assert!(!seen.topics.contains_key(&ended.name));
    }
}

#[tokio::test]
async fn watch_goes_on_after_etcd_was_killed_and_started_again() {
    let Some(mut etcd) = Etcd::start().await else { return };
    let mut node = Node::start(&etcd.config(), 1).await;
    node.leased().await;
    node.create_topic("before", 1, 1).await;
    etcd.kill();
    etcd.revive();
    let mut other = Node::start(&etcd.config(), 2).await;
    other.leased().await;
    other.create_topic("after", 1, 1).await;
    node.sees("both topics", |view| view.topics.len() == 2).await;
}

#[tokio::test]
async fn partition_whose_keys_go_is_observed_once_more() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut node = Node::start(&etcd.config(), 1).await;
    node.leased().await;
    let wanted = node.create_topic("orders", 1, 1).await.partition(0).expect("has one");
    let watched = |nodes: usize| {
        move |event| match event {
            EtcdEvent::Observed { partition, observation }
                if partition == wanted && observation.assigned.len() == nodes =>
            {
                Some(())
            }
            _ => None,
        }
    };
    node.event("the partition", watched(1)).await;
    let key = keys().of(&Key::Part(wanted, PartKey::Assigned));
    let request = when(vec![], vec![delete(&key)], vec![]);
    within("a write", etcd.connection().transact(request)).await.expect("written");
    node.event("its end", watched(0)).await;
}
