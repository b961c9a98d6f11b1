//! The mirror: events lead to the same as a listing, and orphans are only what nobody can want any more.

use std::collections::BTreeMap;

use forebay_format::PartitionIndex;
use forebay_replication::metadata::PartitionState;
use forebay_replication::placement::ReplicationFactor;

use super::*;
use crate::leadership::etcd::keys::PartKey;

struct Store {
    mirror: Mirror,
    revision: i64,
}

fn partition(topic: TopicId, index: u32) -> PartitionId {
    PartitionId::new(topic, PartitionIndex::new(index))
}

impl Store {
    fn new() -> Self {
        Self { mirror: Mirror::new(Keys::new("/f/")), revision: 0 }
    }

    fn pair(&mut self, key: &Key, value: Vec<u8>) -> KeyValue {
        self.revision += 1;
        let key = self.mirror.keys.of(key).into_bytes();
        KeyValue {
            key,
            value,
            create_revision: self.revision,
            mod_revision: self.revision,
            ..KeyValue::default()
        }
    }

    fn put(&mut self, key: &Key, value: Vec<u8>) -> Changes {
        let pair = self.pair(key, value);
        self.mirror.apply(&[Event { r#type: EventType::Put.into(), kv: Some(pair), prev_kv: None }])
    }

    fn delete(&mut self, key: &Key) -> Changes {
        let pair = self.pair(key, Vec::new());
        let kv = Some(pair);
        self.mirror.apply(&[Event { r#type: EventType::Delete.into(), kv, prev_kv: None }])
    }
}

fn assigned(nodes: &[u32]) -> Vec<u8> {
    let voters = nodes.iter().copied().map(NodeId::new).collect();
    Assigned { voters, copies: vec![] }.encode()
}

fn topic(id: TopicId) -> TopicValue {
    TopicValue {
        id,
        name: TopicName::new("orders").expect("a name"),
        partitions: 1,
        factor: ReplicationFactor::All,
        settings: BTreeMap::new(),
    }
}

#[test]
fn partition_is_observed_at_the_revision_of_the_last_event() {
    let (mut store, id) = (Store::new(), TopicId::random());
    let of = partition(id, 0);
    let changes = store.put(&Key::Part(of, PartKey::Assigned), assigned(&[1, 2]));
    assert_eq!((changes.partitions, changes.cluster), (BTreeSet::from([of]), false));
    let observation = store.mirror.observation(of).expect("readable");
    assert_eq!(observation.assigned, [NodeId::new(1), NodeId::new(2)]);
    assert_eq!(observation.revision, Revision::new(1));
    store.delete(&Key::Part(of, PartKey::Assigned));
    let gone = store.mirror.observation(of).expect("readable");
    assert_eq!((gone.assigned.len(), gone.revision), (0, Revision::new(2)));
    assert_eq!(store.mirror.partitions().count(), 0, "nothing is kept of it");
}

#[test]
fn listing_tells_of_partitions_that_are_gone_too() {
    let (mut store, id) = (Store::new(), TopicId::random());
    store.put(&Key::Part(partition(id, 0), PartKey::Assigned), assigned(&[1]));
    let pair = store.pair(&Key::Part(partition(id, 1), PartKey::Assigned), assigned(&[1]));
    let changes = store.mirror.list(&[pair], Revision::new(9));
    assert_eq!(changes.partitions, BTreeSet::from([partition(id, 0), partition(id, 1)]));
    assert_eq!(store.mirror.revision(), Revision::new(9));
}

#[test]
fn loads_follow_the_assignments() {
    let (mut store, id) = (Store::new(), TopicId::random());
    for index in 0..3 {
        store.put(&Key::Part(partition(id, index), PartKey::Assigned), assigned(&[1, 2]));
    }
    store.put(&Key::Part(partition(id, 0), PartKey::Assigned), assigned(&[2]));
    store.delete(&Key::Part(partition(id, 1), PartKey::Assigned));
    let load = |node| store.mirror.view().loads[&NodeId::new(node)];
    assert_eq!(load(1), Load { replicas: 1, leads: 1 });
    assert_eq!(load(2), Load { replicas: 2, leads: 1 });
}

#[test]
fn orphans_are_partitions_whose_topic_neither_exists_nor_is_being_created() {
    let (mut store, id) = (Store::new(), TopicId::random());
    let name = topic(id).name;
    store.put(&Key::Creating(id), b"{}".to_vec());
    store.put(&Key::Part(partition(id, 0), PartKey::Assigned), assigned(&[1]));
    assert_eq!(store.mirror.orphans(), [], "being created");
    store.put(&Key::Topic(name.clone()), topic(id).encode());
    store.delete(&Key::Creating(id));
    assert_eq!(store.mirror.orphans(), [], "exists");
    assert_eq!(store.mirror.view().topics[&name].topic.id, id);
    store.put(&Key::Topic(name.clone()), b"from the future".to_vec());
    assert_eq!(store.mirror.orphans(), [], "may be the one that cannot be read");
    store.delete(&Key::Topic(name));
    assert_eq!(store.mirror.orphans(), [partition(id, 0)]);
}

#[test]
fn value_that_cannot_be_read_silences_its_partition_and_no_other() {
    let (mut store, id) = (Store::new(), TopicId::random());
    for index in 0..2 {
        store.put(&Key::Part(partition(id, index), PartKey::Assigned), assigned(&[1]));
    }
    store.put(&Key::Part(partition(id, 0), PartKey::State), b"{}".to_vec());
    assert_eq!(store.mirror.observation(partition(id, 0)), None);
    assert!(store.mirror.observation(partition(id, 1)).is_some());
    let member = forebay_replication::metadata::Member {
        node: NodeId::new(1),
        replica: forebay_format::ReplicaId::random(),
    };
    let state = PartitionState::first(vec![member]);
    store.put(&Key::Part(partition(id, 0), PartKey::State), state.encode());
    let observed = store.mirror.observation(partition(id, 0)).expect("readable again");
    assert_eq!(observed.state.map(|state| state.value), Some(state));
}
