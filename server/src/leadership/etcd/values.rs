//! What stands in etcd's keys: JSON that `etcdctl` shows legibly, and the protocol's types made of it.
//!
//! Every value says its `format`. Fields that this release does not know are ignored; a format that it
//! does not know, and whatever else cannot be read, is an error that names the key. Nothing here panics.

use std::collections::BTreeMap;

use forebay_format::{
    ClusterId, Epoch, NodeId, Offset, ParseIdError, Position, ReplicaId, TopicId, TopicName,
};
use forebay_replication::metadata::{
    Incarnation, LeaderKey, Member, PartitionState, UncleanElection,
};
use forebay_replication::placement::ReplicationFactor;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The format that this release writes, and the only one that it reads.
const FORMAT: u32 = 1;

/// A value that cannot be read. It was written by a later release, by hand, or not at all as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("etcd key {key}: {problem}")]
pub struct ValueError {
    pub(crate) key: String,
    pub(crate) problem: String,
}

/// A type that is the value of a key.
pub(crate) trait Value: Sized {
    /// How it stands in etcd.
    type Json: Serialize + DeserializeOwned;

    fn to_json(&self) -> Self::Json;

    fn from_json(json: Self::Json) -> Result<Self, String>;

    /// The bytes of the value.
    fn encode(&self) -> Vec<u8> {
        let value = Formatted { format: FORMAT, value: self.to_json() };
        serde_json::to_vec(&value).expect("numbers, texts and lists become JSON")
    }

    /// The value of these bytes, which stand under `key`.
    fn decode(key: &[u8], bytes: &[u8]) -> Result<Self, ValueError> {
        let read = || {
            let Format { format } = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
            if format != FORMAT {
                return Err(format!("expected format {FORMAT}, found {format}"));
            }
            let json = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
            Self::from_json(json)
        };
        let key = || String::from_utf8_lossy(key).into_owned();
        read().map_err(|problem| ValueError { key: key(), problem })
    }
}

/// What is read first.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[derive(Serialize)]
struct Formatted<T> {
    format: u32,
    #[serde(flatten)]
    value: T,
}

fn id<T: std::str::FromStr<Err = ParseIdError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: ParseIdError| error.to_string())
}

fn nodes(ids: Vec<u32>) -> Vec<NodeId> {
    ids.into_iter().map(NodeId::new).collect()
}

fn numbers(nodes: &[NodeId]) -> Vec<u32> {
    nodes.iter().map(|node| node.get()).collect()
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MemberJson {
    node: u32,
    replica: String,
}

impl Value for Member {
    type Json = MemberJson;

    fn to_json(&self) -> MemberJson {
        MemberJson { node: self.node.get(), replica: self.replica.to_string() }
    }

    fn from_json(json: MemberJson) -> Result<Self, String> {
        Ok(Self { node: NodeId::new(json.node), replica: id::<ReplicaId>(&json.replica)? })
    }
}

fn members(members: Vec<MemberJson>) -> Result<Vec<Member>, String> {
    members.into_iter().map(Member::from_json).collect()
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LeaderJson {
    node: u32,
    incarnation: u64,
}

impl Value for LeaderKey {
    type Json = LeaderJson;

    fn to_json(&self) -> LeaderJson {
        LeaderJson { node: self.node.get(), incarnation: self.incarnation.get() }
    }

    fn from_json(json: LeaderJson) -> Result<Self, String> {
        let incarnation = Incarnation::new(json.incarnation);
        Ok(Self { node: NodeId::new(json.node), incarnation })
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct PositionJson {
    epoch: u64,
    end: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct UncleanJson {
    epoch: u64,
    kept: PositionJson,
    lost_upto: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StateJson {
    epoch: u64,
    leader: Option<u32>,
    replicas: Vec<MemberJson>,
    next: Option<Vec<MemberJson>>,
    target: Option<Vec<u32>>,
    #[serde(default)]
    copies: Vec<u32>,
    isr: Vec<u32>,
    version: u64,
    #[serde(default)]
    unclean: Vec<UncleanJson>,
    successor: Option<u32>,
}

impl Value for PartitionState {
    type Json = StateJson;

    fn to_json(&self) -> StateJson {
        let members = |members: &[Member]| members.iter().map(Value::to_json).collect();
        let unclean = |election: &UncleanElection| UncleanJson {
            epoch: election.epoch.get(),
            kept: PositionJson { epoch: election.kept.epoch.get(), end: election.kept.end.get() },
            lost_upto: election.lost_upto.get(),
        };
        StateJson {
            epoch: self.epoch.get(),
            leader: self.leader.map(NodeId::get),
            replicas: members(&self.replicas),
            next: self.next.as_deref().map(members),
            target: self.target.as_deref().map(numbers),
            copies: numbers(&self.copies),
            isr: numbers(&self.isr),
            version: self.version,
            unclean: self.unclean.iter().map(unclean).collect(),
            successor: self.successor.map(NodeId::get),
        }
    }

    fn from_json(json: StateJson) -> Result<Self, String> {
        let unclean = |election: UncleanJson| {
            let kept =
                Position::new(Epoch::new(election.kept.epoch), Offset::new(election.kept.end));
            let lost_upto = Offset::new(election.lost_upto);
            UncleanElection { epoch: Epoch::new(election.epoch), kept, lost_upto }
        };
        let replicas = members(json.replicas)?;
        if replicas.is_empty() {
            return Err("expected at least one replica, found none".to_owned());
        }
        Ok(Self {
            epoch: Epoch::new(json.epoch),
            leader: json.leader.map(NodeId::new),
            replicas,
            next: json.next.map(members).transpose()?,
            target: json.target.map(nodes),
            copies: nodes(json.copies),
            isr: nodes(json.isr),
            version: json.version,
            unclean: json.unclean.into_iter().map(unclean).collect(),
            successor: json.successor.map(NodeId::new),
        })
    }
}

/// The nodes that a partition is for, as they were chosen when its topic was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assigned {
    /// The voters, in the order of preference. Invariant: at least one.
    pub(crate) voters: Vec<NodeId>,
    /// Nodes of further copies.
    pub(crate) copies: Vec<NodeId>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AssignedJson {
    nodes: Vec<u32>,
    #[serde(default)]
    copies: Vec<u32>,
}

impl Value for Assigned {
    type Json = AssignedJson;

    fn to_json(&self) -> AssignedJson {
        AssignedJson { nodes: numbers(&self.voters), copies: numbers(&self.copies) }
    }

    fn from_json(json: AssignedJson) -> Result<Self, String> {
        if json.nodes.is_empty() {
            return Err("expected at least one node, found none".to_owned());
        }
        Ok(Self { voters: nodes(json.nodes), copies: nodes(json.copies) })
    }
}

/// A node that lives, as the others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeRecord {
    /// `HOST:PORT` that every shard answers on.
    pub(crate) address: String,
    /// `HOST:PORT` of each shard alone.
    pub(crate) shard_addresses: Vec<String>,
    /// Which life of the node it is.
    pub(crate) incarnation: Incarnation,
    /// Of the program.
    pub(crate) version: String,
    /// Whose data directory it is: two directories with one node id are told apart by it.
    pub(crate) directory: ReplicaId,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NodeJson {
    address: String,
    shard_addresses: Vec<String>,
    incarnation: u64,
    version: String,
    directory: String,
}

impl Value for NodeRecord {
    type Json = NodeJson;

    fn to_json(&self) -> NodeJson {
        NodeJson {
            address: self.address.clone(),
            shard_addresses: self.shard_addresses.clone(),
            incarnation: self.incarnation.get(),
            version: self.version.clone(),
            directory: self.directory.to_string(),
        }
    }

    fn from_json(json: NodeJson) -> Result<Self, String> {
        Ok(Self {
            address: json.address,
            shard_addresses: json.shard_addresses,
            incarnation: Incarnation::new(json.incarnation),
            version: json.version,
            directory: id(&json.directory)?,
        })
    }
}

/// A topic. The name is that of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicValue {
    pub(crate) id: TopicId,
    pub(crate) name: TopicName,
    /// At least 1.
    pub(crate) partitions: u32,
    pub(crate) factor: ReplicationFactor,
    pub(crate) settings: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum FactorJson {
    Replicas(usize),
    Word(String),
}

/// The factor of a topic that every node has a replica of.
const ALL: &str = "all";

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TopicJson {
    id: String,
    name: String,
    partitions: u32,
    replication_factor: FactorJson,
    #[serde(default)]
    settings: BTreeMap<String, String>,
}

impl Value for TopicValue {
    type Json = TopicJson;

    fn to_json(&self) -> TopicJson {
        TopicJson {
            id: self.id.to_string(),
            name: self.name.to_string(),
            partitions: self.partitions,
            replication_factor: match self.factor {
                ReplicationFactor::Replicas(replicas) => FactorJson::Replicas(replicas),
                ReplicationFactor::All => FactorJson::Word(ALL.to_owned()),
            },
            settings: self.settings.clone(),
        }
    }

    fn from_json(json: TopicJson) -> Result<Self, String> {
        let factor = match json.replication_factor {
            FactorJson::Replicas(replicas) if replicas > 0 => ReplicationFactor::Replicas(replicas),
            FactorJson::Word(word) if word == ALL => ReplicationFactor::All,
            FactorJson::Replicas(_) | FactorJson::Word(_) => {
                return Err("expected a replication factor of at least 1, or \"all\"".to_owned());
            }
        };
        if json.partitions == 0 {
            return Err("expected at least one partition, found none".to_owned());
        }
        Ok(Self {
            id: id(&json.id)?,
            name: TopicName::new(&json.name).map_err(|error| error.to_string())?,
            partitions: json.partitions,
            factor,
            settings: json.settings,
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ClusterJson {
    cluster_id: String,
}

impl Value for ClusterId {
    type Json = ClusterJson;

    fn to_json(&self) -> ClusterJson {
        ClusterJson { cluster_id: self.to_string() }
    }

    fn from_json(json: ClusterJson) -> Result<Self, String> {
        id(&json.cluster_id)
    }
}

/// The next node id that nobody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NextId {
    pub(crate) next: u32,
}

impl Value for NextId {
    type Json = Self;

    fn to_json(&self) -> Self {
        *self
    }

    fn from_json(json: Self) -> Result<Self, String> {
        Ok(json)
    }
}

#[cfg(test)]
#[path = "tests/values.rs"]
mod tests;
