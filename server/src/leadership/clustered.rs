//! A node among others: topics as etcd holds them, and what keeps the node's lease alive.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forebay_format::{PartitionId, PartitionIndex, TopicId, TopicName};
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;

use super::coordinator::{
    Coordinator, CreateTopicError, DeleteTopicError, Leadership, NodeRegistration, Registered,
    Removal, TopicChange, TopicDraft,
};
use super::etcd::facade::EtcdCoordinator;
use super::file::StateFileError;
use super::topic::Topic;
use super::{ClusterView, ClusterWatch};
use crate::clock;

/// The file that is written and synced to see that the data disk works.
const PROBE_FILE: &str = "probe.disk";

/// How often that is done.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct ClusterCoordinator {
    etcd: Arc<EtcdCoordinator>,
    watch: ClusterWatch,
    /// The data directory.
    data: PathBuf,
    /// The topics that the shards were told of.
    known: BTreeMap<TopicId, Arc<Topic>>,
    /// What they are still to be told.
    changes: VecDeque<TopicChange>,
    probe: JoinHandle<()>,
}

impl ClusterCoordinator {
    /// Begins to show that the disk of this data directory works.
    pub(crate) fn new(etcd: EtcdCoordinator, data: &Path) -> Self {
        let etcd = Arc::new(etcd);
        let probe = tokio::spawn(probe_disk(Arc::clone(&etcd), data.join(PROBE_FILE)));
        let watch = etcd.cluster();
        let (known, changes) = Default::default();
        Self { etcd, watch, data: data.to_owned(), known, changes, probe }
    }

    /// Gives the lease back: others may lead at once.
    pub(crate) async fn stop(self) {
        self.probe.abort();
        self.probe.await.ok();
        if let Some(etcd) = Arc::into_inner(self.etcd)
            && let Err(error) = etcd.stop().await
        {
            tracing::warn!(%error, "the lease was not given back and runs out by itself");
        }
    }

    /// Queues what is different from what the shards know.
    fn compare(&mut self) {
        let view: Arc<ClusterView> = Arc::clone(&self.watch.borrow_and_update());
        let there = |id: &TopicId| view.topics.values().any(|record| record.topic.id == *id);
        let gone: Vec<TopicId> = self.known.keys().filter(|id| !there(id)).copied().collect();
        for id in gone {
            // One that etcd has merely forgotten is served on: only what was deleted goes.
            if view.deleted.contains(&id)
                && let Some(topic) = self.known.remove(&id)
            {
                self.changes.push_back(TopicChange::Deleted(topic));
            }
        }
        for record in view.topics.values() {
            if let std::collections::btree_map::Entry::Vacant(new) =
                self.known.entry(record.topic.id)
            {
                new.insert(Arc::clone(&record.topic));
                self.changes.push_back(TopicChange::Created(Arc::clone(&record.topic)));
            }
        }
    }
}

impl Coordinator for ClusterCoordinator {
    async fn register(&mut self, _: NodeRegistration) -> Result<Registered, StateFileError> {
        // Was done at the start, with the lease.
        Ok(Registered { incarnation: forebay_format::Epoch::ZERO })
    }

    fn watch(&self) -> ClusterWatch {
        self.watch.clone()
    }

    async fn changed(&mut self) -> TopicChange {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return change;
            }
            if self.watch.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            self.compare();
        }
    }

    fn joined(&self) -> BoxFuture<'static, ()> {
        Box::pin(self.etcd.leased())
    }

    async fn topics(&mut self) -> Result<Vec<Arc<Topic>>, StateFileError> {
        self.etcd.listed().await;
        self.compare();
        self.changes.clear();
        Ok(self.known.values().cloned().collect())
    }

    async fn create_topic(&mut self, draft: TopicDraft) -> Result<Arc<Topic>, CreateTopicError> {
        let topic = self.etcd.create_topic(draft).await?;
        self.known.insert(topic.id, Arc::clone(&topic));
        Ok(topic)
    }

    async fn delete_topic(&mut self, name: &TopicName) -> Result<Arc<Topic>, DeleteTopicError> {
        let topic = self.etcd.delete_topic(name).await?;
        self.known.remove(&topic.id);
        Ok(topic)
    }

    fn removals(&self) -> Vec<Removal> {
        let deleted = self.watch.borrow().deleted.clone();
        files_of(&self.data, &deleted).unwrap_or_else(|error| {
            tracing::warn!(%error, "files of deleted topics, if there are any, are left to the next start");
            Vec::new()
        })
    }

    async fn removed(&mut self, _: TopicId) -> Result<(), StateFileError> {
        // What is not on the disk is not on the list.
        Ok(())
    }

    async fn lead(&mut self, _: PartitionId) -> Result<Option<Leadership>, StateFileError> {
        // The replicas see to that.
        Ok(None)
    }
}

/// What a data directory has of these topics.
fn files_of(data: &Path, topics: &BTreeSet<TopicId>) -> io::Result<Vec<Removal>> {
    let mut removals = Vec::new();
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        let topic = entry.file_name().to_str().and_then(|name| name.parse::<TopicId>().ok());
        let Some(topic) = topic.filter(|topic| topics.contains(topic)) else { continue };
        let mut partitions = Vec::new();
        for entry in fs::read_dir(entry.path())? {
            let number = entry?.file_name().to_str().and_then(|name| name.parse().ok());
            let partition = |number| PartitionId::new(topic, PartitionIndex::new(number));
            partitions.extend(number.map(partition));
        }
        if !partitions.is_empty() {
            removals.push(Removal { topic, partitions });
        }
    }
    Ok(removals)
}

/// Writes and syncs a small file, again and again: a node whose disk hangs must lose its leaderships (R3).
async fn probe_disk(etcd: Arc<EtcdCoordinator>, file: PathBuf) {
    loop {
        let begun_at = clock::boottime();
        let path = file.clone();
        let probed = tokio::task::spawn_blocking(move || write_and_sync(&path)).await;
        match probed {
            Ok(Ok(())) => etcd.disk_probed(begun_at),
            Ok(Err(error)) => {
                tracing::warn!(%error, path = %file.display(), "the data disk does not take a write");
            }
            Err(_) => return,
        }
        tokio::time::sleep(PROBE_EVERY).await;
    }
}

fn write_and_sync(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(b"forebay")?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_deleted_topics_are_found_and_no_others() {
        let data = tempfile::tempdir().expect("a folder");
        let (gone, kept) = (TopicId::from_u128(7), TopicId::from_u128(8));
        for place in [format!("{gone}/0"), format!("{gone}/12"), format!("{kept}/0")] {
            fs::create_dir_all(data.path().join(place)).expect("a folder");
        }
        for other in ["quarantine", "spare"] {
            fs::create_dir(data.path().join(other)).expect("a folder");
        }
        let mut found = files_of(data.path(), &[gone, TopicId::from_u128(9)].into()).expect("read");
        found[0].partitions.sort_unstable();
        let partitions = [0, 12].map(|number| PartitionId::new(gone, PartitionIndex::new(number)));
        assert_eq!(found, [Removal { topic: gone, partitions: partitions.into() }]);
    }
}
