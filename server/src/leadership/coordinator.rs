//! What a node asks of whatever holds the cluster's common state.
//!
//! The order of a node's life: `register`, then `topics`, then `lead` for each partition it may lead.
//! Every method returns only when what it says is on stable storage.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use forebay_format::limits::{PARTITIONS_PER_NODE_MAX, PARTITIONS_PER_TOPIC_MAX, TOPICS_MAX};
use forebay_format::{Epoch, NodeId, PartitionId, TopicId, TopicName};
use forebay_replication::placement::{PlacementError, ReplicationFactor};
use futures_util::future::BoxFuture;

use super::ClusterWatch;
use super::etcd::EtcdError;
use super::file::StateFileError;
use super::topic::Topic;

/// How others find a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeRegistration {
    pub(crate) id: NodeId,
    /// `HOST:PORT` that every shard answers on.
    pub(crate) address: String,
    /// `HOST:PORT` of each shard alone.
    pub(crate) shard_addresses: Vec<String>,
}

/// A node's present life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Registered {
    /// Higher than in every earlier life of this node.
    pub(crate) incarnation: Epoch,
}

/// The right to try to lead a partition. It says nothing about others who still believe that they lead:
/// only the epoch, fenced on a majority, keeps them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leadership {
    pub(crate) partition: PartitionId,
    /// Higher than every epoch that this partition was led under before.
    pub(crate) epoch: Epoch,
}

/// A topic that somebody wants. Its settings were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicDraft {
    pub(crate) name: TopicName,
    pub(crate) partitions: u32,
    pub(crate) factor: ReplicationFactor,
    pub(crate) settings: BTreeMap<String, String>,
}

/// Why a topic was not created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateTopicError {
    #[error("topic {} exists already", .0.name)]
    Exists(Arc<Topic>),
    #[error("{what} may be at most {max}, found {found}")]
    TooMany { what: &'static str, found: u64, max: u64 },
    /// Whether the topic exists is unknown until the node has started again.
    #[error("cannot store the topic: {0}")]
    Store(#[from] StateFileError),
    #[error("cannot place the topic: {0}")]
    Placement(#[from] PlacementError),
    /// Whether the topic exists, or comes to exist, is unknown.
    #[error("cannot store the topic: {0}")]
    Etcd(#[from] EtcdError),
}

/// Why a topic was not deleted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeleteTopicError {
    #[error("there is no topic {0}")]
    Unknown(TopicName),
    /// Whether the topic exists is unknown until the node has started again.
    #[error("cannot store the deletion: {0}")]
    Store(#[from] StateFileError),
    /// Whether the topic exists is unknown.
    #[error("cannot store the deletion: {0}")]
    Etcd(#[from] EtcdError),
}

/// What somebody, perhaps on another node, has done to the topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TopicChange {
    /// It was made.
    Created(Arc<Topic>),
    /// It was deleted.
    Deleted(Arc<Topic>),
}

/// Files of a deleted topic that a node may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Removal {
    pub(crate) topic: TopicId,
    pub(crate) partitions: Vec<PartitionId>,
}

impl Removal {
    /// All that there can be of a topic.
    pub(crate) fn of(topic: &Topic) -> Self {
        Self { topic: topic.id, partitions: topic.partition_ids().collect() }
    }
}

/// The cluster's common state, as one node reaches it.
pub(crate) trait Coordinator {
    /// The cluster as it is seen, now and later.
    fn watch(&self) -> ClusterWatch;

    /// Waits for the next topic that was made or deleted by others than this very node. May be dropped.
    fn changed(&mut self) -> impl Future<Output = TopicChange>;

    /// Says that this node lives, and where.
    fn register(
        &mut self,
        node: NodeRegistration,
    ) -> impl Future<Output = Result<Registered, StateFileError>>;

    /// Waits until this node counts among the others. Until then no replica is placed on it. It can be served
    /// meanwhile.
    fn joined(&self) -> BoxFuture<'static, ()>;

    /// All topics.
    fn topics(&mut self) -> impl Future<Output = Result<Vec<Arc<Topic>>, StateFileError>>;

    /// Makes a topic with a new id.
    fn create_topic(
        &mut self,
        draft: TopicDraft,
    ) -> impl Future<Output = Result<Arc<Topic>, CreateTopicError>>;

    /// Ends a topic. The id is never used again; its files are still to be removed.
    fn delete_topic(
        &mut self,
        name: &TopicName,
    ) -> impl Future<Output = Result<Arc<Topic>, DeleteTopicError>>;

    /// What this node may still have of topics that were deleted.
    fn removals(&self) -> Vec<Removal>;

    /// Says that this node has no files of a deleted topic any more.
    fn removed(&mut self, topic: TopicId) -> impl Future<Output = Result<(), StateFileError>>;

    /// Takes the leadership of a partition, under a new epoch, or is told who has it (`None` here,
    /// where nobody else is).
    fn lead(
        &mut self,
        partition: PartitionId,
    ) -> impl Future<Output = Result<Option<Leadership>, StateFileError>>;
}

impl TopicDraft {
    /// A topic that somebody began to use without making it.
    pub(crate) fn with_defaults(name: TopicName, replication_factor: u32) -> Self {
        let factor = ReplicationFactor::Replicas(replication_factor as usize);
        Self { name, partitions: 1, factor, settings: BTreeMap::new() }
    }

    /// Whether there is room for it beside `topics`.
    pub(super) fn check<'a>(
        &self,
        topics: impl Iterator<Item = &'a Topic> + Clone,
    ) -> Result<(), CreateTopicError> {
        let too_many = |what, found, max| Err(CreateTopicError::TooMany { what, found, max });
        if self.partitions > PARTITIONS_PER_TOPIC_MAX {
            let max = PARTITIONS_PER_TOPIC_MAX.into();
            return too_many("the partitions of a topic", self.partitions.into(), max);
        }
        let count = topics.clone().count() as u64 + 1;
        if count > TOPICS_MAX as u64 {
            return too_many("the topics of a cluster", count, TOPICS_MAX as u64);
        }
        let before: u64 = topics.map(|topic| u64::from(topic.partitions)).sum();
        let partitions = before + u64::from(self.partitions);
        if partitions > PARTITIONS_PER_NODE_MAX as u64 {
            let max = PARTITIONS_PER_NODE_MAX as u64;
            return too_many("the partitions of a node", partitions, max);
        }
        Ok(())
    }
}
