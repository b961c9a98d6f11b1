//! Who this node is, and which cluster it belongs to: settled once at the start, and never changed.
//!
//! A directory that belongs to no cluster yet joins the one that etcd names, or founds one. One that does
//! belong to a cluster serves no other: an etcd that names another cluster, or none, is the wrong one, or
//! was emptied, and whatever it says of topics and epochs is not about this data.

use std::path::Path;

use forebay_format::{ClusterId, NodeId, ReplicaId};
use forebay_proto::etcd::mvccpb::KeyValue;
use forebay_replication::metadata::Incarnation;

use super::connection::Connection;
use super::error::EtcdError;
use super::keys::{Key, Keys};
use super::memory::{Memory, Remembered};
use super::txn::{absent, get, holds, modified, put, revision, when};
use super::values::{NextId, Value};
use crate::leadership::StateFileError;

/// Who this node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
}

/// Why a node cannot take part in a cluster.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// etcd refuses, or the settings lead to no etcd.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// What the node remembers of itself cannot be read or stored.
    #[error(transparent)]
    Memory(#[from] StateFileError),
    /// The data is another cluster's.
    #[error(
        "etcd key {key}: expected cluster {expected}, to which the data directory belongs, found {found}; \
         point cluster.etcd at the etcd of that cluster, or give an empty data directory"
    )]
    ClusterChanged {
        /// The key.
        key: String,
        /// The cluster of the data directory.
        expected: String,
        /// The cluster that etcd names.
        found: String,
    },
    /// The data is a cluster's that etcd knows nothing of.
    #[error(
        "etcd key {key}: expected cluster {expected}, to which the data directory belongs, found no such key; \
         it is another etcd or prefix, or it was emptied: restore it from a snapshot"
    )]
    ClusterGone {
        /// The key.
        key: String,
        /// The cluster of the data directory.
        expected: String,
    },
    /// The data is another node's.
    #[error(
        "node.id: expected {remembered}, to which the data directory belongs, found {configured}"
    )]
    NodeChanged {
        /// The node of the data directory.
        remembered: u32,
        /// The node of the settings.
        configured: u32,
    },
}

/// Settles who this node is. Durable in the data directory when it returns. Waits for etcd without limit.
///
/// # Errors
/// What waiting does not mend.
pub(super) async fn settle(
    connection: &Connection,
    keys: &Keys,
    data: &Path,
    configured: Option<NodeId>,
) -> Result<(Memory, Remembered), StartError> {
    let memory = Memory::new(data);
    let known = memory.recall()?;
    let cluster = cluster(connection, keys, known.map(|known| known.cluster)).await?;
    if let Some(known) = known {
        return match configured {
            Some(node) if node != known.node => Err(StartError::NodeChanged {
                remembered: known.node.get(),
                configured: node.get(),
            }),
            _ => Ok((memory, known)),
        };
    }
    let node = match configured {
        Some(node) => reserve(connection, keys, node).await?,
        None => allocate(connection, keys).await?,
    };
    let directory = ReplicaId::random();
    let incarnation = Incarnation::default();
    let remembered = Remembered { cluster, node, directory, incarnation };
    memory.remember(&remembered)?;
    Ok((memory, remembered))
}

async fn cluster(
    connection: &Connection,
    keys: &Keys,
    known: Option<ClusterId>,
) -> Result<ClusterId, StartError> {
    let key = keys.of(&Key::ClusterId);
    let found = match (read(connection, &key).await?, known) {
        (Some(pair), _) => decode(&pair)?,
        (None, Some(expected)) => {
            return Err(StartError::ClusterGone { key, expected: expected.to_string() });
        }
        (None, None) => found_cluster(connection, &key).await?,
    };
    match known {
        Some(expected) if expected != found => Err(StartError::ClusterChanged {
            key,
            expected: expected.to_string(),
            found: found.to_string(),
        }),
        _ => Ok(found),
    }
}

/// The first of those who come at the same time founds the cluster; the others join it.
async fn found_cluster(connection: &Connection, key: &str) -> Result<ClusterId, EtcdError> {
    let mine = ClusterId::random();
    let request = when(vec![absent(key)], vec![put(key, mine.encode(), 0)], vec![get(key)]);
    let done = connection.transact_until_answered(request).await?;
    // A first attempt whose answer got lost is found here as well.
    match done.found.into_iter().flatten().next() {
        Some(pair) => decode(&pair),
        None => Ok(mine),
    }
}

/// A node id that nobody has. One that was taken and not used, because the node ended right then, is
/// never used.
async fn allocate(connection: &Connection, keys: &Keys) -> Result<NodeId, EtcdError> {
    loop {
        let (pair, next) = next_id(connection, keys).await?;
        if raise(connection, keys, pair.as_ref(), next + 1).await? {
            return Ok(NodeId::new(next));
        }
    }
}

/// Sees to it that a node id which somebody chose is never given to another.
async fn reserve(connection: &Connection, keys: &Keys, node: NodeId) -> Result<NodeId, EtcdError> {
    loop {
        let (pair, next) = next_id(connection, keys).await?;
        let above = node.get().saturating_add(1);
        if next >= above || raise(connection, keys, pair.as_ref(), above).await? {
            return Ok(node);
        }
    }
}

async fn next_id(
    connection: &Connection,
    keys: &Keys,
) -> Result<(Option<KeyValue>, u32), EtcdError> {
    let pair = read(connection, &keys.of(&Key::NextId)).await?;
    let next = pair.as_ref().map(decode::<NextId>).transpose()?;
    Ok((pair, next.map_or(1, |next| next.next)))
}

/// Puts the next free id, unless somebody else has put one meanwhile. When the answer to a first attempt
/// got lost this says no, and an id may be skipped.
async fn raise(
    connection: &Connection,
    keys: &Keys,
    before: Option<&KeyValue>,
    next: u32,
) -> Result<bool, EtcdError> {
    let key = keys.of(&Key::NextId);
    let unchanged = match before {
        None => vec![absent(&key)],
        Some(pair) => {
            vec![modified(&key, revision(pair.mod_revision)), holds(&key, pair.value.clone())]
        }
    };
    let request = when(unchanged, vec![put(&key, NextId { next }.encode(), 0)], Vec::new());
    connection.transact_until_answered(request).await.map(|done| done.held)
}

async fn read(connection: &Connection, key: &str) -> Result<Option<KeyValue>, EtcdError> {
    let done = connection.read(vec![get(key)]).await?;
    Ok(done.found.into_iter().flatten().next())
}

fn decode<T: Value>(pair: &KeyValue) -> Result<T, EtcdError> {
    Ok(T::decode(&pair.key, &pair.value)?)
}
