//! Topics: whole or not at all, whoever races and whoever ends on the way.

use forebay_format::{PartitionId, PartitionIndex, TopicId};
use forebay_replication::placement::{PlacementError, ReplicationFactor};

use super::process::{Etcd, keys};
use super::support::{Node, draft, topic_name, until, within};
use crate::leadership::coordinator::{CreateTopicError, DeleteTopicError, TopicDraft};
use crate::leadership::etcd::keys::{Key, PartKey};
use crate::leadership::etcd::txn::{get_all, put, when};
use crate::leadership::etcd::values::{Assigned, Value};
use crate::leadership::etcd::view::Load;

/// How many keys begin so.
async fn count(etcd: &Etcd, below: &str) -> usize {
    let prefix = format!("{}{below}", keys().prefix());
    let done =
        within("a read", etcd.connection().read(vec![get_all(&prefix)])).await.expect("read");
    done.found.iter().map(Vec::len).sum()
}

#[tokio::test]
async fn of_two_that_create_a_topic_at_once_one_does_and_the_other_is_told_of_it() {
    let Some(etcd) = Etcd::start().await else { return };
    let (mut one, mut two) =
        (Node::start(&etcd.config(), 1).await, Node::start(&etcd.config(), 2).await);
    one.leased().await;
    two.leased().await;
    for (name, partitions) in [("small", 3), ("large", 250)] {
        let factor = ReplicationFactor::Replicas(2);
        let results = within("both", async {
            tokio::join!(
                one.coordinator.create_topic(TopicDraft { factor, ..draft(name, partitions) }),
                two.coordinator.create_topic(TopicDraft { factor, ..draft(name, partitions) }),
            )
        })
        .await;
        let (made, told) = match results {
            (Ok(made), Err(CreateTopicError::Exists(told)))
            | (Err(CreateTopicError::Exists(told)), Ok(made)) => (made, told),
            other => panic!("exactly one creates it: {other:?}"),
        };
        assert_eq!((made.id, made.partitions), (told.id, partitions));
        let parts = format!("parts/{}/", made.id);
        assert_eq!(count(&etcd, &parts).await, partitions as usize);
    }
    until("nothing is left of those that lost", || async { count(&etcd, "parts/").await == 253 })
        .await;
    assert_eq!(count(&etcd, "creating/").await, 0);
    two.sees("both topics", |view| view.topics.len() == 2).await;
}

#[tokio::test]
async fn topic_of_300_partitions_is_spread_seen_and_deleted() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut nodes = Vec::new();
    for id in 1..=3 {
        let mut node = Node::start(&etcd.config(), id).await;
        node.leased().await;
        nodes.push(node);
    }
    let topic = nodes[0].create_topic("orders", 300, 2).await;
    let view = nodes[1].sees("the topic", |view| view.topics.len() == 1).await;
    assert_eq!(view.topics[&topic.name].topic, topic);
    let even = Load { replicas: 200, leads: 100 };
    let replicas: Vec<_> = view.loads.values().map(|load| load.replicas).collect();
    assert_eq!(replicas, [even.replicas; 3]);
    let leads: usize = view.loads.values().map(|load| load.leads).sum();
    assert_eq!(leads, 3 * even.leads);
    let last = topic.partition(299).expect("has 300");
    assert_eq!(nodes[2].read(last).await.assigned.len(), 2);

    let deleted = within("a deletion", nodes[2].coordinator.delete_topic(&topic.name)).await;
    assert_eq!(deleted.expect("deleted").id, topic.id);
    assert_eq!(count(&etcd, "parts/").await, 0);
    let gone = |view: &crate::leadership::etcd::view::ClusterView| {
        view.topics.is_empty() && view.deleted.contains(&topic.id)
    };
    nodes[0].sees("the deletion", gone).await;
    let again = nodes[0].coordinator.delete_topic(&topic.name).await;
    assert!(matches!(again, Err(DeleteTopicError::Unknown(name)) if name == topic.name));
    let anew = nodes[0].create_topic("orders", 1, 1).await;
    assert_ne!(anew.id, topic.id);
}

#[tokio::test]
async fn replication_factor_is_a_number_of_nodes_that_live_or_all() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut one = Node::start(&etcd.config(), 1).await;
    let mut two = Node::start(&etcd.config(), 2).await;
    one.leased().await;
    two.leased().await;
    let three = TopicDraft { factor: ReplicationFactor::Replicas(3), ..draft("orders", 1) };
    let error = one.coordinator.create_topic(three).await;
    let expected = PlacementError::TooFewNodes { wanted: 3, nodes: 2 };
    assert!(matches!(error, Err(CreateTopicError::Placement(found)) if found == expected));
    let all = TopicDraft { factor: ReplicationFactor::All, ..draft("orders", 2) };
    let all = one.coordinator.create_topic(all).await;
    assert_eq!(all.expect("created").replication_factor, 2);
    let view = two.sees("the topic", |view| view.topics.len() == 1).await;
    let record = &view.topics[&topic_name("orders")];
    assert_eq!(
        (record.topic.factor(), record.topic.replication_factor),
        (ReplicationFactor::All, 2)
    );
}

#[tokio::test]
async fn what_a_creation_left_behind_is_swept_away_and_nothing_else() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut node = Node::start(&etcd.config(), 1).await;
    node.leased().await;
    let kept = node.create_topic("kept", 2, 1).await;
    let orphan = TopicId::random();
    let writes = (0..3).map(|index| {
        let partition = PartitionId::new(orphan, PartitionIndex::new(index));
        let key = keys().of(&Key::Part(partition, PartKey::Assigned));
        put(&key, Assigned { voters: vec![node.id], copies: vec![] }.encode(), 0)
    });
    let request = when(vec![], writes.collect(), vec![]);
    within("a write", etcd.connection().transact(request)).await.expect("written");
    // Whoever begins to watch looks for orphans.
    let _other = Node::start(&etcd.config(), 2).await;
    until("they are gone", || async { count(&etcd, &format!("parts/{orphan}")).await == 0 }).await;
    assert_eq!(count(&etcd, &format!("parts/{}", kept.id)).await, 2);
}
