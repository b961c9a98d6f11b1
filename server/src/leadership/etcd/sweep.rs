//! Removes what a creation or deletion of a topic has left behind, when whoever was at it is gone. Any
//! node does it that sees it; twice does no harm.

use std::collections::BTreeSet;

use forebay_format::{PartitionId, TopicId};

use super::connection::Connection;
use super::error::EtcdError;
use super::keys::{Key, Keys};
use super::txn::{absent, delete_all, get, get_all, when};
use super::values::{TopicValue, Value};

/// Partitions whose keys are removed at a time. etcd does nothing else meanwhile.
pub(super) const CHUNK: usize = 64;

/// Removes the keys of these partitions, which belong to no topic as far as is known here. One attempt;
/// what fails is seen again.
pub(super) async fn sweep(connection: &Connection, keys: &Keys, orphans: &[PartitionId]) {
    let topics: BTreeSet<TopicId> = orphans.iter().map(|orphan| orphan.topic).collect();
    for topic in topics {
        let of_topic: Vec<_> = orphans.iter().copied().filter(|it| it.topic == topic).collect();
        match remove_orphans(connection, keys, topic, &of_topic).await {
            Ok(0) => {}
            Ok(removed) => {
                tracing::info!(%topic, removed, "removed partitions of a topic that does not exist");
            }
            Err(error) => tracing::debug!(%error, %topic, "partitions of no topic are still there"),
        }
    }
}

/// What is known here may be old, and even of before etcd was restored: it is looked once more.
async fn remove_orphans(
    connection: &Connection,
    keys: &Keys,
    topic: TopicId,
    orphans: &[PartitionId],
) -> Result<usize, EtcdError> {
    let creating = keys.of(&Key::Creating(topic));
    let reads = vec![get_all(&keys.topics()), get(&creating)];
    let done = connection.transact(when(Vec::new(), reads, Vec::new())).await?;
    let [topics, creators] = done.found.as_slice() else { return Ok(0) };
    for pair in topics {
        if TopicValue::decode(&pair.key, &pair.value)?.id == topic {
            return Ok(0);
        }
    }
    if !creators.is_empty() {
        return Ok(0);
    }
    remove_partitions(connection, keys, topic, orphans).await
}

/// Removes the keys of partitions of a topic that does not exist any more, or never will. Says of how many.
///
/// # Errors
/// Some are left.
pub(super) async fn remove_partitions(
    connection: &Connection,
    keys: &Keys,
    topic: TopicId,
    partitions: &[PartitionId],
) -> Result<usize, EtcdError> {
    let creating = keys.of(&Key::Creating(topic));
    let mut removed = 0;
    for chunk in partitions.chunks(CHUNK) {
        let removals = chunk.iter().map(|partition| delete_all(&keys.partition(*partition)));
        let request = when(vec![absent(&creating)], removals.collect(), Vec::new());
        if connection.transact(request).await?.held {
            removed += chunk.len();
        }
    }
    Ok(removed)
}
