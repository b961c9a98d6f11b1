//! The keys of one partition as they were read, and what the protocol is told of them. Pure.

use std::collections::BTreeMap;

use forebay_format::NodeId;
use forebay_proto::etcd::mvccpb::KeyValue;
use forebay_replication::metadata::{
    Keyed, LeaderKey, Member, Observation, ObservationSource, PartitionState, Revision,
};

use super::keys::PartKey;
use super::txn::revision;
use super::values::{Assigned, Value, ValueError};

/// A value with the bytes that it was read from. Another release may write the same value otherwise, and
/// guards compare bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored<T> {
    pub(super) keyed: Keyed<T>,
    pub(super) bytes: Vec<u8>,
}

impl<T: Value> Stored<T> {
    pub(super) fn read(pair: &KeyValue) -> Result<Self, ValueError> {
        let value = T::decode(&pair.key, &pair.value)?;
        let (created, modified) = (revision(pair.create_revision), revision(pair.mod_revision));
        Ok(Self { keyed: Keyed { value, created, modified }, bytes: pair.value.clone() })
    }
}

/// What is known of the keys of a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PartitionKeys {
    pub(super) assigned: Option<Assigned>,
    pub(super) leader: Option<Stored<LeaderKey>>,
    pub(super) state: Option<Stored<PartitionState>>,
    pub(super) replicas: BTreeMap<NodeId, Member>,
    /// Keys whose values cannot be read, and why. As long as there is one, nothing is said of the
    /// partition: a state that cannot be read is not a state that is absent.
    pub(super) unreadable: Vec<(PartKey, ValueError)>,
}

impl PartitionKeys {
    /// A key was written.
    pub(super) fn put(&mut self, key: PartKey, pair: &KeyValue) {
        self.unreadable.retain(|(other, _)| *other != key);
        if let Err(error) = self.read(key, pair) {
            self.remove(key);
            self.unreadable.push((key, error));
        }
    }

    fn read(&mut self, key: PartKey, pair: &KeyValue) -> Result<(), ValueError> {
        match key {
            PartKey::Assigned => self.assigned = Some(Assigned::decode(&pair.key, &pair.value)?),
            PartKey::Leader => self.leader = Some(Stored::read(pair)?),
            PartKey::State => self.state = Some(Stored::read(pair)?),
            PartKey::Replica(node) => {
                let member = Member::decode(&pair.key, &pair.value)?;
                if member.node != node {
                    let key = String::from_utf8_lossy(&pair.key).into_owned();
                    let problem = format!("expected node {node}, found {}", member.node);
                    return Err(ValueError { key, problem });
                }
                self.replicas.insert(node, member);
            }
        }
        Ok(())
    }

    /// A key is gone.
    pub(super) fn remove(&mut self, key: PartKey) {
        self.unreadable.retain(|(other, _)| *other != key);
        match key {
            PartKey::Assigned => self.assigned = None,
            PartKey::Leader => self.leader = None,
            PartKey::State => self.state = None,
            PartKey::Replica(node) => drop(self.replicas.remove(&node)),
        }
    }

    /// Whether no key is left.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What the protocol is told, as of `revision`.
    ///
    /// # Errors
    /// The first value that cannot be read.
    pub(super) fn observation(
        &self,
        source: ObservationSource,
        revision: Revision,
    ) -> Result<Observation, ValueError> {
        if let Some((_, error)) = self.unreadable.first() {
            return Err(error.clone());
        }
        Ok(Observation {
            source,
            revision,
            leader: self.leader.as_ref().map(|leader| leader.keyed.clone()),
            state: self.state.as_ref().map(|state| state.keyed.clone()),
            assigned: self.assigned.as_ref().map_or_else(Vec::new, |it| it.voters.clone()),
            reported: self.replicas.values().copied().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(value: &[u8]) -> KeyValue {
        KeyValue {
            key: b"k".to_vec(),
            value: value.to_vec(),
            create_revision: 3,
            mod_revision: 4,
            ..KeyValue::default()
        }
    }

    #[test]
    fn value_that_cannot_be_read_silences_its_partition_until_it_is_written_anew() {
        let mut keys = PartitionKeys::default();
        let assigned = Assigned { voters: vec![NodeId::new(1)], copies: vec![] };
        keys.put(PartKey::Assigned, &pair(&assigned.encode()));
        let observe =
            |keys: &PartitionKeys| keys.observation(ObservationSource::Watch, Revision::new(9));
        assert_eq!(observe(&keys).expect("readable").assigned, assigned.voters);
        keys.put(PartKey::State, &pair(b"?"));
        observe(&keys).expect_err("its state cannot be read");
        keys.remove(PartKey::State);
        assert_eq!(observe(&keys).expect("readable again").state, None);
        keys.remove(PartKey::Assigned);
        assert!(keys.is_empty());
    }

    #[test]
    fn member_under_the_key_of_another_node_is_refused() {
        let mut keys = PartitionKeys::default();
        let replica = forebay_format::ReplicaId::random();
        let member = Member { node: NodeId::new(1), replica };
        keys.put(PartKey::Replica(NodeId::new(2)), &pair(&member.encode()));
        let observed = keys.observation(ObservationSource::Watch, Revision::new(9));
        assert_eq!(
            observed.expect_err("whose is it").to_string(),
            "etcd key k: expected node 2, found 1"
        );
    }
}
