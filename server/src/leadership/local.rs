//! The state of a single node, which leads everything. It is small: read at the start, kept in memory,
//! and replaced as a whole with each change.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use forebay_format::{ClusterId, Epoch, PartitionId, ReplicaId, TopicId, TopicName};
use forebay_replication::metadata::Incarnation;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::watch;

use super::coordinator::{
    Coordinator, CreateTopicError, DeleteTopicError, Leadership, NodeRegistration, Registered,
    Removal, TopicChange, TopicDraft,
};
use super::file::{State, StateFile, StateFileError, TopicEntry};
use super::topic::Topic;
use super::{ClusterView, ClusterWatch, NodeRecord};
use crate::config::REPLICAS;

/// A node that is alone.
#[derive(Debug)]
pub(crate) struct LocalCoordinator {
    file: StateFile,
    cluster: ClusterId,
    present: Present,
    /// The one node there is, once registered.
    view: watch::Sender<Arc<ClusterView>>,
}

/// What is in the file.
#[derive(Debug, Clone, Default)]
struct Present {
    /// Of this life, once registered.
    node_epoch: u64,
    topics: BTreeMap<TopicName, Arc<Topic>>,
    /// Deleted, and their files perhaps not all gone.
    removing: Vec<Arc<Topic>>,
}

impl LocalCoordinator {
    /// Reads what an earlier life of the node left in its data directory.
    ///
    /// # Errors
    /// A file that cannot be trusted. Nothing is changed then.
    pub(crate) fn open(data: &Path, cluster: ClusterId) -> Result<Self, StateFileError> {
        let file = StateFile::new(data);
        let Some(state) = file.read::<State>()? else {
            refuse_forgotten_topics(data, &file)?;
            return Ok(Self {
                file,
                cluster,
                present: Present::default(),
                view: watch::Sender::default(),
            });
        };
        if state.cluster_id != cluster.to_string() {
            return Err(StateFileError::Foreign {
                path: file.path(),
                found: state.cluster_id,
                expected: cluster.to_string(),
            });
        }
        let read = |entries: Vec<TopicEntry>| {
            let topics = entries.into_iter().map(|entry| topic(entry).map(Arc::new));
            topics.collect::<Result<Vec<_>, _>>().map_err(|problem| file.damaged(problem))
        };
        let topics = read(state.topics)?.into_iter().map(|t| (t.name.clone(), t)).collect();
        let removing = read(state.removing)?;
        let present = Present { node_epoch: state.node_epoch, topics, removing };
        Ok(Self { file, cluster, present, view: watch::Sender::default() })
    }

    /// Stores what `change` makes of the state, and only then lets it be the present one.
    fn store(&mut self, change: impl FnOnce(&mut Present)) -> Result<(), StateFileError> {
        let mut next = self.present.clone();
        change(&mut next);
        self.file.replace(&State {
            cluster_id: self.cluster.to_string(),
            node_epoch: next.node_epoch,
            topics: next.topics.values().map(|topic| entry(topic)).collect(),
            removing: next.removing.iter().map(|topic| entry(topic)).collect(),
        })?;
        self.present = next;
        Ok(())
    }
}

/// Without the file, epochs would begin again at 1 and the topics' data would belong to nobody.
fn refuse_forgotten_topics(data: &Path, file: &StateFile) -> Result<(), StateFileError> {
    let unreadable =
        |source| StateFileError::Io { path: data.to_owned(), what: "list the directory", source };
    for entry in fs::read_dir(data).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        if let Some(topic) = name.to_str().filter(|name| name.parse::<TopicId>().is_ok()) {
            return Err(StateFileError::Missing { path: file.path(), topic: topic.to_owned() });
        }
    }
    Ok(())
}

fn topic(entry: TopicEntry) -> Result<Topic, String> {
    Ok(Topic {
        id: entry.id.parse().map_err(|error| format!("{error}"))?,
        name: TopicName::new(&entry.name).map_err(|error| error.to_string())?,
        partitions: entry.partitions.max(1),
        replication_factor: entry.replication_factor.max(1),
        on_every_node: false,
        settings: entry.settings,
    })
}

fn entry(topic: &Topic) -> TopicEntry {
    TopicEntry {
        id: topic.id.to_string(),
        name: topic.name.to_string(),
        partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        settings: topic.settings.clone(),
    }
}

impl Coordinator for LocalCoordinator {
    async fn register(&mut self, node: NodeRegistration) -> Result<Registered, StateFileError> {
        self.store(|state| state.node_epoch += 1)?;
        let record = NodeRecord {
            address: node.address,
            shard_addresses: node.shard_addresses,
            incarnation: Incarnation::new(self.present.node_epoch),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            directory: ReplicaId::from_u128(0),
        };
        let nodes = [(node.id, record)].into();
        self.view.send_replace(Arc::new(ClusterView { nodes, ..ClusterView::default() }));
        Ok(Registered { incarnation: Epoch::new(self.present.node_epoch) })
    }

    fn watch(&self) -> ClusterWatch {
        self.view.subscribe()
    }

    async fn changed(&mut self) -> TopicChange {
        // There are no others.
        std::future::pending().await
    }

    fn joined(&self) -> BoxFuture<'static, ()> {
        Box::pin(ready(()))
    }

    async fn topics(&mut self) -> Result<Vec<Arc<Topic>>, StateFileError> {
        Ok(self.present.topics.values().cloned().collect())
    }

    async fn create_topic(&mut self, draft: TopicDraft) -> Result<Arc<Topic>, CreateTopicError> {
        if let Some(topic) = self.present.topics.get(&draft.name) {
            return Err(CreateTopicError::Exists(topic.clone()));
        }
        draft.check(self.present.topics.values().map(|topic| &**topic))?;
        let topic = Arc::new(Topic {
            id: TopicId::random(),
            name: draft.name,
            partitions: draft.partitions,
            replication_factor: REPLICAS,
            on_every_node: false,
            settings: draft.settings,
        });
        self.store(|state| drop(state.topics.insert(topic.name.clone(), topic.clone())))?;
        Ok(topic)
    }

    async fn delete_topic(&mut self, name: &TopicName) -> Result<Arc<Topic>, DeleteTopicError> {
        let known = self.present.topics.get(name).cloned();
        let topic = known.ok_or_else(|| DeleteTopicError::Unknown(name.clone()))?;
        self.store(|state| {
            state.topics.remove(name);
            state.removing.push(topic.clone());
        })?;
        Ok(topic)
    }

    fn removals(&self) -> Vec<Removal> {
        self.present.removing.iter().map(|topic| Removal::of(topic)).collect()
    }

    async fn removed(&mut self, topic: TopicId) -> Result<(), StateFileError> {
        self.store(|state| state.removing.retain(|removing| removing.id != topic))
    }

    async fn lead(&mut self, partition: PartitionId) -> Result<Option<Leadership>, StateFileError> {
        // Nobody else leads, and every life of the node has a higher epoch than the one before.
        Ok(Some(Leadership { partition, epoch: Epoch::new(self.present.node_epoch) }))
    }
}

#[cfg(test)]
mod tests {
    use forebay_format::NodeId;
    use forebay_replication::placement::ReplicationFactor;
    use futures_util::FutureExt;

    use super::*;

    fn now<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("a local coordinator never waits")
    }

    fn draft(name: &str) -> TopicDraft {
        TopicDraft {
            name: TopicName::new(name).expect("a name"),
            partitions: 3,
            factor: ReplicationFactor::Replicas(1),
            settings: BTreeMap::from([("segment_age".to_owned(), "1h".to_owned())]),
        }
    }

    fn registration() -> NodeRegistration {
        NodeRegistration { id: NodeId::new(1), address: "a:1".into(), shard_addresses: vec![] }
    }

    #[test]
    fn topics_and_a_growing_epoch_outlive_the_node() {
        let folder = tempfile::tempdir().expect("a folder");
        let cluster = ClusterId::random();
        let mut first = LocalCoordinator::open(folder.path(), cluster).expect("a new one");
        assert_eq!(now(first.register(registration())).unwrap().incarnation, Epoch::new(1));
        let created = now(first.create_topic(draft("orders"))).expect("created");
        now(first.create_topic(draft("gone"))).expect("created");
        now(first.delete_topic(&draft("gone").name)).expect("deleted");

        let mut second = LocalCoordinator::open(folder.path(), cluster).expect("opened again");
        assert_eq!(now(second.register(registration())).unwrap().incarnation, Epoch::new(2));
        assert_eq!(now(second.topics()).unwrap(), std::slice::from_ref(&created));
        let partition = created.partition(2).expect("has three");
        let leadership = now(second.lead(partition)).unwrap();
        assert_eq!(leadership, Some(Leadership { partition, epoch: Epoch::new(2) }));
    }

    #[test]
    fn a_topic_made_again_has_another_id() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut node = LocalCoordinator::open(folder.path(), ClusterId::random()).expect("new");
        let first = now(node.create_topic(draft("orders"))).expect("created");
        let again = now(node.create_topic(draft("orders")));
        assert!(matches!(again, Err(CreateTopicError::Exists(topic)) if topic == first));
        now(node.delete_topic(&first.name)).expect("deleted");
        let unknown = now(node.delete_topic(&first.name));
        assert!(matches!(unknown, Err(DeleteTopicError::Unknown(name)) if name == first.name));
        assert_ne!(now(node.create_topic(draft("orders"))).expect("created").id, first.id);
    }

    #[test]
    fn a_deleted_topic_is_remembered_until_its_files_are_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let cluster = ClusterId::random();
        let mut node = LocalCoordinator::open(folder.path(), cluster).expect("new");
        let topic = now(node.create_topic(draft("orders"))).expect("created");
        now(node.delete_topic(&topic.name)).expect("deleted");
        let mut again = LocalCoordinator::open(folder.path(), cluster).expect("opened again");
        assert_eq!(again.removals(), [Removal::of(&topic)]);
        now(again.removed(topic.id)).expect("stored");
        let again = LocalCoordinator::open(folder.path(), cluster).expect("opened again");
        assert!(again.removals().is_empty());
    }

    #[test]
    fn data_without_its_topics_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let id = TopicId::random().to_string();
        fs::create_dir(folder.path().join(&id)).expect("a folder");
        let error = LocalCoordinator::open(folder.path(), ClusterId::random());
        assert!(matches!(error, Err(StateFileError::Missing { topic, .. }) if topic == id));
    }

    #[test]
    fn the_file_of_another_cluster_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut node = LocalCoordinator::open(folder.path(), ClusterId::random()).expect("new");
        now(node.register(registration())).expect("registered");
        let error = LocalCoordinator::open(folder.path(), ClusterId::random());
        assert!(matches!(error, Err(StateFileError::Foreign { .. })));
    }

    #[test]
    fn more_partitions_than_the_limit_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut node = LocalCoordinator::open(folder.path(), ClusterId::random()).expect("new");
        let too_many = TopicDraft { partitions: 10_001, ..draft("wide") };
        let error = now(node.create_topic(too_many));
        assert!(matches!(error, Err(CreateTopicError::TooMany { max: 10_000, .. })));
    }
}
