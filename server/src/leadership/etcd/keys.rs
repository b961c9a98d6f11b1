//! R1: where in etcd what is kept. Pure: names only, no values.
//!
//! ```text
//! <prefix>cluster_id                             whose keys these are
//! <prefix>ids/next                               the next node id that is free
//! <prefix>nodes/<node>                           a node that lives; under its lease
//! <prefix>topics/<name>                          a topic; what is not here does not exist
//! <prefix>creating/<topic id>                    a topic on its way; under a lease of its own
//! <prefix>deleted/<topic id>                     a topic that was; its files may be removed
//! <prefix>parts/<topic id>/<partition>/assigned  the nodes that a partition is for
//!                                     /leader    who leads; under the node's lease
//!                                     /state     epoch, voters, in-sync set
//!                                     /replicas/<node>   what a node's disk holds
//! ```

use forebay_format::{NodeId, PartitionId, PartitionIndex, TopicId, TopicName};

/// All keys of a cluster begin with one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    prefix: String,
}

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    ClusterId,
    NextId,
    Node(NodeId),
    Topic(TopicName),
    Creating(TopicId),
    Deleted(TopicId),
    Part(PartitionId, PartKey),
}

/// A key of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartKey {
    Assigned,
    Leader,
    State,
    Replica(NodeId),
}

impl Keys {
    /// The keys that begin with `prefix`, which ends with a slash.
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// What all of them begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The text of a key.
    pub(crate) fn of(&self, key: &Key) -> String {
        let prefix = &self.prefix;
        match key {
            Key::ClusterId => format!("{prefix}cluster_id"),
            Key::NextId => format!("{prefix}ids/next"),
            Key::Node(node) => format!("{prefix}nodes/{node}"),
            Key::Topic(name) => format!("{prefix}topics/{name}"),
            Key::Creating(topic) => format!("{prefix}creating/{topic}"),
            Key::Deleted(topic) => format!("{prefix}deleted/{topic}"),
            Key::Part(partition, key) => self.part(*partition, *key),
        }
    }

    /// The text of a partition's key.
    pub(crate) fn part(&self, partition: PartitionId, key: PartKey) -> String {
        let folder = self.partition(partition);
        match key {
            PartKey::Assigned => format!("{folder}assigned"),
            PartKey::Leader => format!("{folder}leader"),
            PartKey::State => format!("{folder}state"),
            PartKey::Replica(node) => format!("{folder}replicas/{node}"),
        }
    }

    /// What all keys of a partition begin with, and no others.
    pub(crate) fn partition(&self, partition: PartitionId) -> String {
        format!("{}parts/{partition}/", self.prefix)
    }

    /// What the keys of all nodes begin with, and no others.
    pub(crate) fn nodes(&self) -> String {
        format!("{}nodes/", self.prefix)
    }

    /// What the keys of all topics begin with, and no others.
    pub(crate) fn topics(&self) -> String {
        format!("{}topics/", self.prefix)
    }

    /// What a key is; `None` for one that this release does not know.
    pub(crate) fn parse(&self, key: &[u8]) -> Option<Key> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?;
        let parts: Vec<&str> = rest.split('/').collect();
        let found = match parts.as_slice() {
            ["cluster_id"] => Key::ClusterId,
            ["ids", "next"] => Key::NextId,
            ["nodes", node] => Key::Node(NodeId::new(node.parse().ok()?)),
            ["topics", name] => Key::Topic(TopicName::new(name).ok()?),
            ["creating", topic] => Key::Creating(topic.parse().ok()?),
            ["deleted", topic] => Key::Deleted(topic.parse().ok()?),
            ["parts", topic, partition, rest @ ..] => {
                let partition = PartitionIndex::new(partition.parse().ok()?);
                let partition = PartitionId::new(topic.parse().ok()?, partition);
                let key = match rest {
                    ["assigned"] => PartKey::Assigned,
                    ["leader"] => PartKey::Leader,
                    ["state"] => PartKey::State,
                    ["replicas", node] => PartKey::Replica(NodeId::new(node.parse().ok()?)),
                    _ => return None,
                };
                Key::Part(partition, key)
            }
            _ => return None,
        };
        // `+1` and `01` are numbers too, but not how a key is written.
        (self.of(&found).as_bytes() == key).then_some(found)
    }
}

/// The exclusive end of the range of keys that begin with `prefix`.
pub(crate) fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    // etcd's way to say: up to the last key.
    vec![0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> Keys {
        Keys::new("/forebay/")
    }

    fn any_key() -> impl Strategy<Value = Key> {
        let topic = any::<u128>().prop_map(TopicId::from_u128);
        let name = "[a-zA-Z0-9_-]{1,20}";
        let node = || any::<u32>().prop_map(NodeId::new);
        let part = prop_oneof![
            Just(PartKey::Assigned),
            Just(PartKey::Leader),
            Just(PartKey::State),
            node().prop_map(PartKey::Replica),
        ];
        prop_oneof![
            Just(Key::ClusterId),
            Just(Key::NextId),
            node().prop_map(Key::Node),
            name.prop_map(|name| Key::Topic(TopicName::new(&name).expect("a name"))),
            topic.clone().prop_map(Key::Creating),
            topic.clone().prop_map(Key::Deleted),
            (topic, any::<u32>(), part).prop_map(|(topic, partition, key)| {
                Key::Part(PartitionId::new(topic, PartitionIndex::new(partition)), key)
            }),
        ]
    }

    proptest! {
        #[test]
        fn every_key_is_found_again(key in any_key()) {
            prop_assert_eq!(keys().parse(keys().of(&key).as_bytes()), Some(key));
        }

        #[test]
        fn bytes_that_are_no_key_are_none(bytes in any::<Vec<u8>>()) {
            prop_assert_eq!(keys().parse(&bytes), None);
        }
    }

    #[test]
    fn layout_is_as_documented() {
        let topic = TopicId::from_u128(0xab);
        let partition = PartitionId::new(topic, PartitionIndex::new(3));
        let of = |key| keys().of(&key);
        assert_eq!(of(Key::ClusterId), "/forebay/cluster_id");
        assert_eq!(of(Key::NextId), "/forebay/ids/next");
        assert_eq!(of(Key::Node(NodeId::new(7))), "/forebay/nodes/7");
        assert_eq!(
            of(Key::Part(partition, PartKey::Replica(NodeId::new(7)))),
            "/forebay/parts/000000000000000000000000000000ab/3/replicas/7"
        );
        assert_eq!(
            of(Key::Part(partition, PartKey::State)),
            format!("/forebay/parts/{topic}/3/state")
        );
    }

    #[test]
    fn what_is_written_otherwise_is_not_a_key() {
        for text in ["nodes/01", "nodes/+1", "nodes/", "parts/ab/3/state", "topics/a/b", "new", ""]
        {
            assert_eq!(keys().parse(format!("/forebay/{text}").as_bytes()), None, "{text}");
        }
        assert_eq!(keys().parse(b"/other/cluster_id"), None);
    }

    #[test]
    fn range_of_a_partition_holds_no_other_partition() {
        let of =
            |index| keys().partition(PartitionId::new(TopicId::ZERO, PartitionIndex::new(index)));
        let (start, end) = (of(1), end_of(&of(1)));
        for other in [0, 2, 10, 11, 100] {
            let key = of(other) + "state";
            assert!(!(start.as_bytes()..end.as_slice()).contains(&key.as_bytes()), "{other}");
        }
        assert!((start.as_bytes()..end.as_slice()).contains(&(of(1) + "state").as_bytes()));
    }
}
