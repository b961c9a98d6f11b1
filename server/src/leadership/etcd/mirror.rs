//! All keys of the cluster as they were at one revision, and what changes with each event. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use forebay_format::{NodeId, PartitionId, TopicId, TopicName};
use forebay_proto::etcd::mvccpb::{Event, KeyValue, event::EventType};
use forebay_replication::metadata::{Observation, ObservationSource, Revision};

use super::keys::{Key, Keys};
use super::partition::PartitionKeys;
use super::txn::revision;
use super::values::{Assigned, NodeRecord, TopicValue, Value, ValueError};
use super::view::{ClusterView, Load, TopicRecord};

/// See the module.
#[derive(Debug)]
pub(super) struct Mirror {
    keys: Keys,
    revision: Revision,
    parts: BTreeMap<PartitionId, PartitionKeys>,
    nodes: BTreeMap<NodeId, NodeRecord>,
    topics: BTreeMap<TopicName, TopicValue>,
    creating: BTreeSet<TopicId>,
    deleted: BTreeSet<TopicId>,
    loads: BTreeMap<NodeId, Load>,
    /// Keys of topics that cannot be read, and so topics of whose ids nothing is known.
    unreadable: BTreeSet<TopicName>,
    /// The key that was written last, to see whether a store still has the history that is mirrored here.
    anchor: Option<KeyValue>,
}

/// What is new.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) partitions: BTreeSet<PartitionId>,
    /// Whether nodes or topics have changed.
    pub(super) cluster: bool,
}

impl Mirror {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            keys,
            revision: Revision::ABSENT,
            parts: BTreeMap::new(),
            nodes: BTreeMap::new(),
            topics: BTreeMap::new(),
            creating: BTreeSet::new(),
            deleted: BTreeSet::new(),
            loads: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            anchor: None,
        }
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn anchor(&self) -> Option<&KeyValue> {
        self.anchor.as_ref()
    }

    /// Begins anew, with all keys that there are at `revision`. Everything may have changed.
    pub(super) fn list(&mut self, pairs: &[KeyValue], revision: Revision) -> Changes {
        let before = std::mem::replace(self, Self::new(self.keys.clone()));
        for pair in pairs {
            self.put(pair);
        }
        self.revision = revision;
        let partitions = before.parts.keys().chain(self.parts.keys()).copied().collect();
        Changes { partitions, cluster: true }
    }

    /// Takes in events, which lead to one moment.
    pub(super) fn apply(&mut self, events: &[Event]) -> Changes {
        let mut changes = Changes::default();
        for event in events {
            let Some(pair) = &event.kv else { continue };
            let key = match event.r#type() {
                EventType::Put => self.put(pair),
                EventType::Delete => self.remove(&pair.key),
            };
            match key {
                Some(Key::Part(partition, _)) => drop(changes.partitions.insert(partition)),
                Some(Key::Node(_) | Key::Topic(_) | Key::Deleted(_)) => changes.cluster = true,
                Some(Key::ClusterId | Key::NextId | Key::Creating(_)) | None => {}
            }
            self.revision = self.revision.max(revision(pair.mod_revision));
        }
        changes
    }

    fn put(&mut self, pair: &KeyValue) -> Option<Key> {
        if self.anchor.as_ref().is_none_or(|anchor| anchor.mod_revision <= pair.mod_revision) {
            self.anchor = Some(pair.clone());
        }
        let key = self.keys.parse(&pair.key)?;
        if let Err(error) = self.read(&key, pair) {
            tracing::warn!(%error, "a value in etcd cannot be read");
        }
        Some(key)
    }

    fn read(&mut self, key: &Key, pair: &KeyValue) -> Result<(), ValueError> {
        match key {
            Key::ClusterId | Key::NextId => {}
            Key::Node(node) => {
                self.nodes.remove(node);
                self.nodes.insert(*node, NodeRecord::decode(&pair.key, &pair.value)?);
            }
            Key::Topic(name) => {
                self.topics.remove(name);
                self.unreadable.insert(name.clone());
                let topic = TopicValue::decode(&pair.key, &pair.value)?;
                if topic.name == *name {
                    self.unreadable.remove(name);
                    self.topics.insert(name.clone(), topic);
                }
            }
            Key::Creating(topic) => drop(self.creating.insert(*topic)),
            Key::Deleted(topic) => drop(self.deleted.insert(*topic)),
            Key::Part(partition, key) => {
                self.change(*partition, |keys| keys.put(*key, pair));
                let unreadable = &self.parts.get(partition).map(|keys| &keys.unreadable);
                let own = unreadable.and_then(|all| all.iter().find(|(other, _)| other == key));
                return own.map_or(Ok(()), |(_, error)| Err(error.clone()));
            }
        }
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Option<Key> {
        let key = self.keys.parse(key)?;
        match &key {
            Key::ClusterId | Key::NextId => {}
            Key::Node(node) => drop(self.nodes.remove(node)),
            Key::Topic(name) => {
                self.topics.remove(name);
                self.unreadable.remove(name);
            }
            Key::Creating(topic) => drop(self.creating.remove(topic)),
            Key::Deleted(topic) => drop(self.deleted.remove(topic)),
            Key::Part(partition, key) => self.change(*partition, |keys| keys.remove(*key)),
        }
        Some(key)
    }

    /// Changes a partition's keys, and the load of the nodes with them.
    fn change(&mut self, partition: PartitionId, change: impl FnOnce(&mut PartitionKeys)) {
        let keys = self.parts.entry(partition).or_default();
        let before = keys.assigned.clone();
        change(keys);
        if keys.assigned != before {
            let after = keys.assigned.clone();
            self.weigh(before.as_ref(), |load| load.saturating_sub(1));
            self.weigh(after.as_ref(), |load| load + 1);
        }
        if self.parts.get(&partition).is_some_and(PartitionKeys::is_empty) {
            self.parts.remove(&partition);
        }
    }

    fn weigh(&mut self, assigned: Option<&Assigned>, change: fn(usize) -> usize) {
        let Some(assigned) = assigned else { return };
        for node in assigned.voters.iter().chain(&assigned.copies) {
            let load = self.loads.entry(*node).or_default();
            load.replicas = change(load.replicas);
        }
        if let Some(first) = assigned.voters.first() {
            let load = self.loads.entry(*first).or_default();
            load.leads = change(load.leads);
        }
    }

    /// All partitions that have keys.
    pub(super) fn partitions(&self) -> impl Iterator<Item = PartitionId> {
        self.parts.keys().copied()
    }

    /// What the protocol is told of a partition; `None` while a value of it cannot be read.
    pub(super) fn observation(&self, partition: PartitionId) -> Option<Observation> {
        let nothing = PartitionKeys::default();
        let keys = self.parts.get(&partition).unwrap_or(&nothing);
        keys.observation(ObservationSource::Watch, self.revision).ok()
    }

    /// Nodes and topics.
    pub(super) fn view(&self) -> ClusterView {
        let record =
            |value: &TopicValue| Arc::new(TopicRecord::new(value, self.replicas(value.id)));
        ClusterView {
            nodes: self.nodes.clone(),
            topics: self.topics.iter().map(|(name, value)| (name.clone(), record(value))).collect(),
            deleted: self.deleted.clone(),
            loads: self.loads.clone(),
        }
    }

    /// How many replicas a topic's partitions were given.
    fn replicas(&self, topic: TopicId) -> usize {
        let first = PartitionId::new(topic, forebay_format::PartitionIndex::new(0));
        let assigned = self.parts.get(&first).and_then(|keys| keys.assigned.as_ref());
        assigned.map_or(1, |assigned| assigned.voters.len() + assigned.copies.len())
    }

    /// Partitions of topics that do not exist: their creation or deletion was not finished, and whoever
    /// was at it is gone. Ids are never used again, so they stay orphans.
    pub(super) fn orphans(&self) -> Vec<PartitionId> {
        // A topic that cannot be read may be any of them.
        if !self.unreadable.is_empty() {
            return Vec::new();
        }
        let known: BTreeSet<TopicId> = self
            .topics
            .values()
            .map(|topic| topic.id)
            .chain(self.creating.iter().copied())
            .collect();
        self.partitions().filter(|partition| !known.contains(&partition.topic)).collect()
    }
}

#[cfg(test)]
#[path = "tests/mirror.rs"]
mod tests;
