//! Take-overs, and the guards that they depend on.

use forebay_format::{Epoch, PartitionId};
use forebay_proto::etcd::mvccpb::KeyValue;
use forebay_replication::metadata::{
    Incarnation, Keyed, LeaderGuard, LeaderKey, LeaderWrite, Outcome, Revision, Transaction,
    TransactionKind,
};

use super::process::{Etcd, keys};
use super::support::{Node, within};
use crate::leadership::etcd::keys::{Key, PartKey};
use crate::leadership::etcd::txn::{get, put, when};
use crate::leadership::etcd::values::{NodeRecord, Value};

/// A node with a lease, and a partition of its own that has a state.
async fn node_with_partition(etcd: &Etcd) -> (Node, PartitionId) {
    let mut node = Node::start(&etcd.config(), 1).await;
    node.leased().await;
    let partition = node.create_topic("orders", 1, 1).await.partition(0).expect("has one");
    assert!(matches!(node.report(partition).await, Outcome::Committed(_)));
    let members = vec![node.member()];
    assert!(matches!(node.first_state(partition, members).await, Outcome::Committed(_)));
    (node, partition)
}

async fn value(etcd: &Etcd, key: &str) -> KeyValue {
    let done = within("a read", etcd.connection().read(vec![get(key)])).await.expect("read");
    done.found.into_iter().flatten().next().expect("the key is there")
}

async fn overwrite(etcd: &Etcd, key: &str, value: Vec<u8>, lease: i64) {
    let request = when(vec![], vec![put(key, value, lease)], vec![]);
    within("a write", etcd.connection().transact(request)).await.expect("written");
}

#[tokio::test]
async fn of_two_nodes_that_take_over_at_once_exactly_one_does() {
    let Some(etcd) = Etcd::start().await else { return };
    let (mut one, mut two) =
        (Node::start(&etcd.config(), 1).await, Node::start(&etcd.config(), 2).await);
    one.leased().await;
    two.leased().await;
    let topic = one.create_topic("orders", 8, 2).await;
    for partition in topic.partition_ids() {
        one.report(partition).await;
        two.report(partition).await;
        let members = vec![one.member(), two.member()];
        let first = one.first_state(partition, members.clone()).await;
        assert!(matches!(first, Outcome::Committed(_)));
        assert_eq!(two.first_state(partition, members).await, Outcome::Conflict);

        let read = one.read(partition).await;
        assert_eq!(two.read(partition).await.state, read.state);
        let (of_one, of_two) = (one.take_over(&read), two.take_over(&read));
        let (n1, n2) =
            tokio::join!(one.propose(partition, &of_one), two.propose(partition, &of_two),);
        let outcomes = tokio::join!(one.outcome(n1), two.outcome(n2));
        let (winner, revision) = match outcomes {
            (Outcome::Committed(revision), Outcome::Conflict) => (&one, revision),
            (Outcome::Conflict, Outcome::Committed(revision)) => (&two, revision),
            other => panic!("exactly one takes over: {other:?}"),
        };
        let (id, life) = (winner.id, winner.life.expect("a lease"));
        let after = one.read(partition).await;
        let leader = after.leader.expect("a leader");
        assert_eq!((leader.value.node, leader.value.incarnation), (id, life.0));
        assert_eq!((leader.created, leader.modified), (revision, revision));
        let state = after.state.expect("a state");
        assert_eq!((state.value.leader, state.value.epoch), (Some(id), Epoch::new(1)));
        assert_eq!(state.modified, revision);
    }
}

#[tokio::test]
async fn state_that_is_not_the_one_known_is_a_conflict_at_the_right_revision_too() {
    let Some(etcd) = Etcd::start().await else { return };
    let (mut node, partition) = node_with_partition(&etcd).await;
    let read = node.read(partition).await;
    let state = read.state.clone().expect("a state");
    let take_over = node.take_over(&read);
    let guarded_by = |state| {
        let mut transaction = take_over.clone();
        transaction.guard.state = state;
        transaction
    };
    // As after a restore: the same revision, and another value.
    let other = Keyed { value: state.value.with_isr(vec![]), ..state.clone() };
    assert_eq!(node.transact(partition, &guarded_by(Some(other))).await, Outcome::Conflict);
    let earlier = Revision::new(state.modified.get() - 1);
    let earlier = Keyed { modified: earlier, ..state };
    assert_eq!(node.transact(partition, &guarded_by(Some(earlier))).await, Outcome::Conflict);
    assert_eq!(node.transact(partition, &guarded_by(None)).await, Outcome::Conflict);
    let done = node.transact(partition, &take_over).await;
    assert!(matches!(done, Outcome::Committed(_)));
    assert_eq!(node.transact(partition, &take_over).await, Outcome::Conflict);
}

#[tokio::test]
async fn state_that_another_release_wrote_in_other_words_is_the_same() {
    let Some(etcd) = Etcd::start().await else { return };
    let (mut node, partition) = node_with_partition(&etcd).await;
    let key = keys().part(partition, PartKey::State);
    let text = String::from_utf8(value(&etcd, &key).await.value).expect("JSON");
    let other_words = text.replacen('{', "{ \"since\": \"tomorrow\", ", 1);
    overwrite(&etcd, &key, other_words.into_bytes(), 0).await;
    let read = node.read(partition).await;
    let take_over = node.take_over(&read);
    let done = node.transact(partition, &take_over).await;
    assert!(matches!(done, Outcome::Committed(_)), "{done:?}");
}

#[tokio::test]
async fn node_key_with_another_value_is_a_conflict_at_the_right_revision_too() {
    let Some(etcd) = Etcd::start().await else { return };
    let (mut node, partition) = node_with_partition(&etcd).await;
    let read = node.read(partition).await;
    let take_over = node.take_over(&read);
    let key = keys().of(&Key::Node(node.id));
    let pair = value(&etcd, &key).await;
    let mut record = NodeRecord::decode(&pair.key, &pair.value).expect("readable");
    record.address = "elsewhere:1".to_owned();
    overwrite(&etcd, &key, record.encode(), pair.lease).await;
    assert_eq!(node.transact(partition, &take_over).await, Outcome::Conflict);
    overwrite(&etcd, &key, pair.value, pair.lease).await;
    let done = node.transact(partition, &take_over).await;
    assert!(matches!(done, Outcome::Committed(_)), "{done:?}");
}

#[tokio::test]
async fn transaction_of_another_life_is_a_conflict() {
    let Some(etcd) = Etcd::start().await else { return };
    let (mut node, partition) = node_with_partition(&etcd).await;
    let read = node.read(partition).await;
    let take_over = node.take_over(&read);
    let (incarnation, created) = node.life.expect("a lease");
    let other = Incarnation::new(incarnation.get() + 1);
    let earlier = Revision::new(created.get() - 1);
    for (incarnation, node_created) in [(other, created), (incarnation, earlier)] {
        let mut transaction = take_over.clone();
        (transaction.guard.incarnation, transaction.guard.node_created) =
            (incarnation, node_created);
        assert_eq!(node.transact(partition, &transaction).await, Outcome::Conflict);
    }
    assert!(matches!(node.transact(partition, &take_over).await, Outcome::Committed(_)));
}

#[tokio::test]
async fn leader_writes_only_under_its_own_leader_key_and_lays_it_down() {
    let Some(etcd) = Etcd::start().await else { return };
    let (mut node, partition) = node_with_partition(&etcd).await;
    let read = node.read(partition).await;
    let take_over = node.take_over(&read);
    let Outcome::Committed(revision) = node.transact(partition, &take_over).await else {
        panic!("took over");
    };
    let now = node.read(partition).await;
    let (state, own) = (now.state.expect("a state"), now.leader.expect("a leader"));
    assert_eq!((state.modified, own.created), (revision, revision));
    let mut hand_over = Transaction {
        kind: TransactionKind::HandOver,
        leader: LeaderWrite::Delete,
        state: Some(state.value.with_successor(None)),
        ..take_over
    };
    hand_over.guard.state = Some(state);
    let other_life = Incarnation::new(own.value.incarnation.get() + 1);
    let stranger = LeaderKey { incarnation: other_life, ..own.value };
    for not_its_own in [
        LeaderGuard::Absent,
        LeaderGuard::Is(Keyed { created: Revision::new(revision.get() - 1), ..own.clone() }),
        LeaderGuard::Is(Keyed { value: stranger, ..own.clone() }),
    ] {
        hand_over.guard.leader = not_its_own;
        assert_eq!(node.transact(partition, &hand_over).await, Outcome::Conflict);
    }
    hand_over.guard.leader = LeaderGuard::Is(own);
    let done = node.transact(partition, &hand_over).await;
    assert!(matches!(done, Outcome::Committed(_)), "{done:?}");
    assert_eq!(node.read(partition).await.leader, None);
}

#[tokio::test]
async fn report_for_a_topic_that_was_deleted_brings_nothing_back() {
    let Some(etcd) = Etcd::start().await else { return };
    let (mut node, partition) = node_with_partition(&etcd).await;
    let name = super::support::topic_name("orders");
    within("a deletion", node.coordinator.delete_topic(&name)).await.expect("deleted");
    assert_eq!(node.report(partition).await, Outcome::Conflict);
    let read = node.read(partition).await;
    assert_eq!((read.assigned.len(), read.reported.len(), read.state), (0, 0, None));
}
