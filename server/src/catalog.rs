//! The topics, as one shard knows them: what the control thread has told it, and the engine's handles.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use forebay_engine::{LogSettings, PartitionRef, PartitionSpec, Shard, ShardIndex, shard_of};
use forebay_format::{PartitionId, TopicId, TopicName};

use crate::config::{ByteSize, Span, TopicSettings};
use crate::leadership::{Leadership, Topic};
use crate::replication::{MinReplicas, Replicas, Terms};

/// A topic that is served.
#[derive(Debug)]
pub(crate) struct ServedTopic {
    pub(crate) topic: Arc<Topic>,
    /// Its own settings over the node's.
    pub(crate) settings: TopicSettings,
    engine: Shard,
}

impl ServedTopic {
    /// A handle to a partition, if the topic has so many.
    pub(crate) fn partition(&self, index: u32) -> Option<PartitionRef> {
        self.topic.partition(index).map(|id| self.engine.partition(id))
    }
}

/// All topics.
pub(crate) struct Catalog {
    engine: Shard,
    shard: ShardIndex,
    shards: u32,
    defaults: TopicSettings,
    /// Of a node among others; alone, the logs are the engine's own.
    replicas: Option<Replicas>,
    topics: RefCell<BTreeMap<TopicName, Rc<ServedTopic>>>,
}

impl Catalog {
    /// No topics yet.
    pub(crate) fn new(
        engine: Shard,
        shard: ShardIndex,
        shards: u32,
        defaults: TopicSettings,
        replicas: Option<Replicas>,
    ) -> Self {
        Self { engine, shard, shards, defaults, replicas, topics: RefCell::default() }
    }

    /// The topic of this name.
    pub(crate) fn get(&self, name: &str) -> Option<Rc<ServedTopic>> {
        self.topics.borrow().get(name).cloned()
    }

    /// All topics, by name.
    pub(crate) fn all(&self) -> Vec<Rc<ServedTopic>> {
        self.topics.borrow().values().cloned().collect()
    }

    /// Serves a topic. The engine takes the partitions that are this shard's, and that the node has.
    pub(crate) fn add(&self, topic: Arc<Topic>, leaderships: &[Leadership]) {
        let settings = self.defaults.with(&topic.settings).unwrap_or_else(|error| {
            // They were checked when the topic was made, by a release that knew them.
            tracing::error!(topic = %topic.name, %error, "the node's defaults are used");
            self.defaults.clone()
        });
        if let Some(replicas) = &self.replicas {
            replicas.add_topic(topic.id, terms(&topic, &settings));
        }
        for leadership in leaderships {
            if !self.owns(leadership.partition) {
                continue;
            }
            self.engine.add_partition(PartitionSpec {
                id: leadership.partition,
                epoch: leadership.epoch,
                settings: log_settings(&settings),
            });
        }
        let name = topic.name.clone();
        let engine = self.engine.clone();
        let served = Rc::new(ServedTopic { topic, settings, engine });
        self.topics.borrow_mut().insert(name, served);
    }

    /// Whether a partition is this shard's.
    pub(crate) fn owns(&self, partition: PartitionId) -> bool {
        shard_of(partition, self.shards) == self.shard
    }

    /// Stops serving a topic, unless another one has taken its name since.
    pub(crate) fn remove(&self, name: &TopicName, id: TopicId) {
        let mut topics = self.topics.borrow_mut();
        if topics.get(name.as_str()).is_some_and(|served| served.topic.id == id) {
            topics.remove(name.as_str());
        }
        if let Some(replicas) = &self.replicas {
            replicas.remove_topic(id);
        }
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog")
            .field("topics", &self.topics.borrow().len())
            .finish_non_exhaustive()
    }
}

fn terms(topic: &Topic, settings: &TopicSettings) -> Terms {
    let min_replicas = if topic.settings.contains_key("min_replicas") {
        MinReplicas::OfTopic(settings.min_replicas)
    } else {
        MinReplicas::OfNode(settings.min_replicas)
    };
    Terms { log: log_settings(settings), min_replicas, factor: topic.factor() }
}

fn log_settings(settings: &TopicSettings) -> LogSettings {
    LogSettings {
        batch_bytes_max: settings.max_batch_size.as_usize(),
        segment_bytes: settings.segment_size.get(),
        segment_age: settings.segment_age.as_duration(),
        retention_bytes: settings.retention_size.map(ByteSize::get),
        retention_age: settings.retention_time.map(Span::as_duration),
    }
}
