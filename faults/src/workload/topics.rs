//! The topics of a round: made for it, so that nothing of an earlier one is in them.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_client::{Client, NewTopic};
use forebay_format::{PartitionIndex, TopicId};

use crate::error::{RigError, within};

/// From the making of a topic until each partition is led.
const LED_WITHIN: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(50);

/// A partition. Its place in [`Topics::partitions`] is that of its history.
#[derive(Debug, Clone)]
pub(crate) struct Partition {
    /// The topic's place.
    pub(crate) topic: usize,
    pub(crate) index: PartitionIndex,
    /// The nodes that hold it.
    pub(crate) replicas: Vec<u32>,
}

/// A topic.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: TopicId,
    pub(crate) partitions: u32,
    pub(crate) factor: u32,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Topics {
    pub(crate) all: Vec<Topic>,
    pub(crate) partitions: Vec<Partition>,
}

impl Topics {
    /// Makes topics of these names, partitions and factors, and waits until all is led.
    pub(crate) async fn make(
        client: &Client,
        wanted: &[(String, u32, u32)],
    ) -> Result<Self, RigError> {
        let mut topics = Self { all: Vec::new(), partitions: Vec::new() };
        for (name, partitions, factor) in wanted {
            let topic = NewTopic {
                name: name.clone(),
                partitions: Some(*partitions),
                replication_factor: Some(*factor),
                on_every_node: false,
                settings: BTreeMap::new(),
            };
            let made = client.admin().create_topic(topic).await;
            let made = made.map_err(RigError::at("cannot make a topic"))?;
            let id = made.id.ok_or_else(|| RigError::Unusable("a topic has no id".to_owned()))?;
            let topic = Topic { name: name.clone(), id, partitions: *partitions, factor: *factor };
            let replicas = replicas_once_led(client, &topic).await?;
            let at = topics.all.len();
            topics.partitions.extend(replicas.into_iter().zip(0..).map(|(replicas, index)| {
                Partition { topic: at, index: PartitionIndex::new(index), replicas }
            }));
            topics.all.push(topic);
        }
        Ok(topics)
    }

    /// The topic of the partition at a place.
    pub(crate) fn of(&self, place: usize) -> &Topic {
        &self.all[self.partitions[place].topic]
    }

    /// The place of a partition.
    pub(crate) fn place(&self, topic: usize, index: u32) -> Option<usize> {
        let is = |one: &Partition| one.topic == topic && one.index.get() == index;
        self.partitions.iter().position(is)
    }

    /// The place of a partition of etcd's.
    pub(crate) fn place_of(&self, topic: TopicId, index: u32) -> Option<usize> {
        let topic = self.all.iter().position(|one| one.id == topic)?;
        self.place(topic, index)
    }
}

async fn replicas_once_led(client: &Client, topic: &Topic) -> Result<Vec<Vec<u32>>, RigError> {
    let led = async {
        loop {
            if let Ok(cluster) = client.admin().metadata(&[&topic.name]).await
                && let Some(found) = cluster.topic(&topic.name)
                && found.partitions.len() == topic.partitions as usize
                && found.partitions.iter().all(|one| one.leader.is_some())
            {
                let ids = |one: &forebay_client::PartitionMetadata| {
                    one.replicas.iter().map(|node| node.get()).collect()
                };
                return found.partitions.iter().map(ids).collect();
            }
            tokio::time::sleep(POLL).await;
        }
    };
    within(LED_WITHIN, format!("every partition of {} is led", topic.name), led).await
}
