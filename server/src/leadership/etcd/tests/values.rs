//! Values: what is written is read again, what a later release adds is ignored, and whatever else is an
//! error that names its key.

use forebay_format::PartitionIndex;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::leadership::etcd::keys::{Key, Keys, PartKey};

fn node() -> impl Strategy<Value = NodeId> {
    any::<u32>().prop_map(NodeId::new)
}

fn member() -> impl Strategy<Value = Member> {
    let replica = any::<u128>().prop_map(ReplicaId::from_u128);
    (node(), replica).prop_map(|(node, replica)| Member { node, replica })
}

fn unclean() -> impl Strategy<Value = UncleanElection> {
    any::<[u64; 4]>().prop_map(|[epoch, kept, end, lost]| UncleanElection {
        epoch: Epoch::new(epoch),
        kept: Position::new(Epoch::new(kept), Offset::new(end)),
        lost_upto: Offset::new(lost),
    })
}

fn state() -> impl Strategy<Value = PartitionState> {
    let who = (option::of(node()), option::of(node()), vec(node(), 0..5), vec(node(), 0..5));
    let sets = (
        vec(member(), 1..5),
        option::of(vec(member(), 0..5)),
        option::of(vec(node(), 0..5)),
        vec(unclean(), 0..3),
    );
    (any::<[u64; 2]>(), who, sets).prop_map(|([epoch, version], who, sets)| PartitionState {
        epoch: Epoch::new(epoch),
        leader: who.0,
        replicas: sets.0,
        next: sets.1,
        target: sets.2,
        copies: who.2,
        isr: who.3,
        version,
        unclean: sets.3,
        successor: who.1,
    })
}

proptest! {
    #[test]
    fn states_are_read_as_they_were_written(state in state()) {
        prop_assert_eq!(PartitionState::decode(b"k", &state.encode()), Ok(state));
    }

    #[test]
    fn small_values_are_read_as_they_were_written(member in member(), incarnation in any::<u64>()) {
        prop_assert_eq!(Member::decode(b"k", &member.encode()), Ok(member));
        let leader = LeaderKey { node: member.node, incarnation: Incarnation::new(incarnation) };
        prop_assert_eq!(LeaderKey::decode(b"k", &leader.encode()), Ok(leader));
    }

    #[test]
    fn topics_are_read_as_they_were_written(
        name in "[a-z]{1,9}", partitions in 1..u32::MAX, factor in 0_usize..9,
    ) {
        let factor = match factor {
            0 => ReplicationFactor::All,
            replicas => ReplicationFactor::Replicas(replicas),
        };
        let topic = TopicValue {
            id: TopicId::random(),
            name: TopicName::new(&name).expect("a name"),
            partitions,
            factor,
            settings: BTreeMap::from([(name.clone(), name)]),
        };
        prop_assert_eq!(TopicValue::decode(b"k", &topic.encode()), Ok(topic));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), cut in any::<prop::sample::Index>(), state in state()) {
        PartitionState::decode(b"k", &bytes).expect_err("not a value");
        let whole = state.encode();
        PartitionState::decode(b"k", &whole[..cut.index(whole.len())]).expect_err("not whole");
    }
}

#[test]
fn golden_texts_are_pinned() {
    let member = Member { node: NodeId::new(1), replica: ReplicaId::from_u128(0xab) };
    let state = PartitionState::first(vec![member]);
    let text = String::from_utf8(state.encode()).expect("JSON");
    assert_eq!(
        text,
        r#"{"format":1,"epoch":0,"leader":null,"replicas":[{"node":1,"replica":"000000000000000000000000000000ab"}],"next":null,"target":null,"copies":[],"isr":[1],"version":1,"unclean":[],"successor":null}"#
    );
    let leader = LeaderKey { node: NodeId::new(3), incarnation: Incarnation::new(9) };
    assert_eq!(leader.encode(), br#"{"format":1,"node":3,"incarnation":9}"#);
    let assigned = Assigned { voters: vec![NodeId::new(3)], copies: vec![] };
    assert_eq!(assigned.encode(), br#"{"format":1,"nodes":[3],"copies":[]}"#);
}

#[test]
fn fields_of_a_later_release_are_ignored() {
    let text = br#"{"format":1,"node":3,"incarnation":9,"mood":"calm"}"#;
    let leader = LeaderKey { node: NodeId::new(3), incarnation: Incarnation::new(9) };
    assert_eq!(LeaderKey::decode(b"k", text), Ok(leader));
}

#[test]
fn what_cannot_be_read_is_named_by_its_key() {
    let partition = forebay_format::PartitionId::new(TopicId::ZERO, PartitionIndex::new(3));
    let key = Keys::new("/f/").of(&Key::Part(partition, PartKey::Leader));
    let error = |text: &str| {
        LeaderKey::decode(key.as_bytes(), text.as_bytes()).expect_err(text).to_string()
    };
    let named = format!("etcd key {key}: ");
    assert_eq!(
        error(r#"{"format":2,"node":3,"incarnation":9}"#),
        format!("{named}expected format 1, found 2")
    );
    for text in ["", "{", "[]", r#"{"format":1}"#, r#"{"format":1,"node":-1,"incarnation":9}"#] {
        assert!(error(text).starts_with(&named), "{text}");
    }
    let topic = r#"{"format":1,"id":"00000000000000000000000000000001","name":"a","partitions":1,"replication_factor":0}"#;
    let error = TopicValue::decode(b"k", topic.as_bytes()).expect_err("no replica").to_string();
    assert_eq!(error, "etcd key k: expected a replication factor of at least 1, or \"all\"");
}
