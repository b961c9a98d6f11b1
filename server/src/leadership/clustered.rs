//! A node among others: topics as etcd holds them, and what keeps the node's lease alive.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forebay_format::{PartitionId, TopicId, TopicName};
use tokio::task::JoinHandle;

use super::coordinator::{
    Coordinator, CreateTopicError, DeleteTopicError, Leadership, NodeRegistration, Registered,
    TopicChange, TopicDraft,
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
        Self { etcd, watch, known: BTreeMap::new(), changes: VecDeque::new(), probe }
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

    async fn topics(&mut self) -> Result<Vec<Arc<Topic>>, StateFileError> {
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

    fn removals(&self) -> Vec<Arc<Topic>> {
        Vec::new()
    }

    async fn removed(&mut self, _: TopicId) -> Result<(), StateFileError> {
        Ok(())
    }

    async fn lead(&mut self, _: PartitionId) -> Result<Option<Leadership>, StateFileError> {
        // The replicas see to that.
        Ok(None)
    }
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
