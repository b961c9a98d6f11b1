//! Topics: made and ended so that at every moment each of them is there as a whole, or not at all.
//!
//! What makes a topic exist is its key under `topics/`, written last and removed first. A small topic is
//! made by one transaction. A large one has too many partitions for that: `creating/<id>` is put under a
//! lease of its own, every step is guarded on it, and the last one puts the topic and removes it. Whoever
//! ends on the way leaves partitions that belong to no topic, and those are swept away (`sweep`).

use std::sync::Arc;
use std::time::Duration;

use forebay_format::{NodeId, PartitionId, PartitionIndex, TopicId, TopicName};
use forebay_proto::etcd::etcdserverpb::{Compare, LeaseGrantRequest, RequestOp};
use forebay_proto::etcd::mvccpb::KeyValue;
use forebay_replication::placement::{Placement, place};
use futures_util::FutureExt;

use super::connection::{Asked, Connection};
use super::error::EtcdError;
use super::grant::revoke;
use super::keys::{Key, Keys, PartKey};
use super::sweep::remove_partitions;
use super::txn::{absent, created, delete, get, get_all, holds, modified, put, revision, when};
use super::values::{Assigned, TopicValue, Value};
use super::view::{ClusterView, TopicRecord};
use crate::leadership::coordinator::{CreateTopicError, DeleteTopicError, TopicDraft};
use crate::leadership::topic::Topic;

/// Partitions that are written in one transaction. The topic itself and the mark of its creation come on top.
const CHUNK: usize = 100;

/// A creation that takes longer is given up by whoever sees it.
const CREATION_TTL_S: i64 = 60;

/// How long a caller waits for a topic to be made or ended.
const PATIENCE: Duration = Duration::from_secs(15);

/// Makes and ends topics.
#[derive(Debug, Clone)]
pub(super) struct Topics {
    pub(super) connection: Connection,
    pub(super) keys: Keys,
}

/// A topic on its way.
struct Creation<'a> {
    topic: &'a TopicValue,
    key: String,
    placed: Vec<Placement>,
}

impl Topics {
    /// Makes a topic, with its replicas on the nodes that live and have least to do. On stable storage in
    /// etcd when it returns.
    ///
    /// # Errors
    /// See [`CreateTopicError`]; after one of etcd, whether the topic exists is unknown.
    pub(super) async fn create(
        &self,
        draft: TopicDraft,
        view: &ClusterView,
    ) -> Result<Arc<Topic>, CreateTopicError> {
        let key = self.keys.of(&Key::Topic(draft.name.clone()));
        self.in_time(Box::pin(async {
            draft.check(view.topics.values().map(|record| &*record.topic))?;
            let reads = vec![get(&key), get_all(&self.keys.nodes())];
            let found = self.connection.read(reads).await.map_err(CreateTopicError::Etcd)?.found;
            let [there, nodes] = found.as_slice() else { return Err(unexpected().into()) };
            if let Some(pair) = there.first() {
                return Err(exists(pair, view));
            }
            let mut loads: Vec<_> = nodes
                .iter()
                .filter_map(|pair| self.node(pair))
                .map(|node| view.load(node))
                .collect();
            let placed = place(&mut loads, draft.partitions as usize, draft.factor)?;
            let topic = TopicValue {
                id: TopicId::random(),
                name: draft.name,
                partitions: draft.partitions,
                factor: draft.factor,
                settings: draft.settings,
            };
            let replicas = placed.first().map_or(1, |it| it.voters.len() + it.copies.len());
            let creation = Creation { topic: &topic, key, placed };
            let taken = if creation.placed.len() <= CHUNK {
                self.create_at_once(&creation).await?
            } else {
                self.create_in_steps(&creation).await?
            };
            match taken {
                Some(pair) => Err(exists(&pair, view)),
                None => Ok(TopicRecord::new(&topic, replicas).topic),
            }
        }))
        .await
    }

    fn node(&self, pair: &KeyValue) -> Option<NodeId> {
        match self.keys.parse(&pair.key) {
            Some(Key::Node(node)) => Some(node),
            _ => None,
        }
    }

    /// Says which topic has the name, if it is not this one.
    async fn create_at_once(&self, creation: &Creation<'_>) -> Result<Option<KeyValue>, EtcdError> {
        let mut writes = self.assignments(creation, 0..creation.placed.len());
        writes.push(put(&creation.key, creation.topic.encode(), 0));
        self.put_topic(creation, vec![absent(&creation.key)], writes).await
    }

    async fn create_in_steps(
        &self,
        creation: &Creation<'_>,
    ) -> Result<Option<KeyValue>, EtcdError> {
        let call = |asked: Asked| {
            let request = asked.request(LeaseGrantRequest { ttl: CREATION_TTL_S, id: 0 });
            async move { asked.lease().lease_grant(request).await }.boxed()
        };
        let lease = self.connection.ask_until_answered(call).await?.id;
        let made = self.steps(creation, lease).await;
        // It is not needed any more, whatever came of it; if this fails, it runs out.
        revoke(&self.connection, lease).await.ok();
        if !matches!(made, Ok(None)) {
            // Nobody can finish it now. What this misses is swept away by whoever sees it.
            let all: Vec<_> =
                (0..creation.topic.partitions).map(|index| creation.partition(index)).collect();
            remove_partitions(&self.connection, &self.keys, creation.topic.id, &all).await.ok();
        }
        made
    }

    async fn steps(
        &self,
        creation: &Creation<'_>,
        lease: i64,
    ) -> Result<Option<KeyValue>, EtcdError> {
        let mark = self.keys.of(&Key::Creating(creation.topic.id));
        let value = creation.topic.encode();
        let first_step =
            when(vec![absent(&mark)], vec![put(&mark, value.clone(), lease)], vec![get(&mark)]);
        let begun = self.connection.transact_until_answered(first_step).await?;
        // A first attempt whose answer got lost has put it: nobody else has this id.
        let pair = begun.found.into_iter().flatten().next();
        let since = pair.map_or(begun.revision, |pair| revision(pair.create_revision));
        let marked = || vec![created(&mark, since), holds(&mark, value.clone())];
        let partitions = creation.placed.len();
        for first in (0..partitions).step_by(CHUNK) {
            let writes = self.assignments(creation, first..partitions.min(first + CHUNK));
            // The same writes twice do no harm.
            let done =
                self.connection.transact_until_answered(when(marked(), writes, vec![])).await?;
            if !done.held {
                return Err(given_up());
            }
        }
        let mut conditions = marked();
        conditions.push(absent(&creation.key));
        let writes = vec![put(&creation.key, creation.topic.encode(), 0), delete(&mark)];
        self.put_topic(creation, conditions, writes).await
    }

    /// The write that makes the topic exist. Says which topic has the name, if it is not this one.
    async fn put_topic(
        &self,
        creation: &Creation<'_>,
        conditions: Vec<Compare>,
        writes: Vec<RequestOp>,
    ) -> Result<Option<KeyValue>, EtcdError> {
        let request = when(conditions, writes, vec![get(&creation.key)]);
        let done = self.connection.transact_until_answered(request).await?;
        if done.held {
            return Ok(None);
        }
        match done.found.into_iter().flatten().next() {
            // A first attempt whose answer got lost has made it.
            Some(pair) if TopicValue::decode(&pair.key, &pair.value)?.id == creation.topic.id => {
                Ok(None)
            }
            Some(pair) => Ok(Some(pair)),
            // The mark of its creation is gone.
            None => Err(given_up()),
        }
    }

    fn assignments(
        &self,
        creation: &Creation<'_>,
        range: std::ops::Range<usize>,
    ) -> Vec<RequestOp> {
        let assign = |(index, placement): (usize, &Placement)| {
            let partition = creation.partition(u32::try_from(index).unwrap_or(u32::MAX));
            let Placement { voters, copies } = placement.clone();
            let key = self.keys.part(partition, PartKey::Assigned);
            put(&key, Assigned { voters, copies }.encode(), 0)
        };
        creation.placed.iter().enumerate().skip(range.start).take(range.len()).map(assign).collect()
    }

    /// Ends a topic. Whoever looks finds it gone, durably, when this returns; its partitions' keys go
    /// then, or are swept away later.
    ///
    /// # Errors
    /// See [`DeleteTopicError`]; after one of etcd, whether the topic exists is unknown.
    pub(super) async fn delete(&self, name: &TopicName) -> Result<Arc<Topic>, DeleteTopicError> {
        let topic = self.in_time(Box::pin(self.end(name))).await?;
        let all: Vec<_> = topic.topic.partition_ids().collect();
        let removal = remove_partitions(&self.connection, &self.keys, topic.topic.id, &all);
        if let Err(error) = removal.await {
            tracing::debug!(%error, topic = %name, "the partitions of a deleted topic are left to be swept away");
        }
        Ok(topic.topic)
    }

    async fn end(&self, name: &TopicName) -> Result<TopicRecord, DeleteTopicError> {
        let key = self.keys.of(&Key::Topic(name.clone()));
        loop {
            let found =
                self.connection.read(vec![get(&key)]).await.map_err(DeleteTopicError::Etcd)?;
            let pair = found.found.into_iter().flatten().next();
            let pair = pair.ok_or_else(|| DeleteTopicError::Unknown(name.clone()))?;
            let value = TopicValue::decode(&pair.key, &pair.value).map_err(EtcdError::from)?;
            let tombstone = self.keys.of(&Key::Deleted(value.id));
            let unchanged =
                vec![modified(&key, revision(pair.mod_revision)), holds(&key, pair.value)];
            let writes = vec![delete(&key), put(&tombstone, value.encode(), 0)];
            let request = when(unchanged, writes, vec![get(&tombstone)]);
            let done = self
                .connection
                .transact_until_answered(request)
                .await
                .map_err(DeleteTopicError::Etcd)?;
            // A tombstone: a first attempt whose answer got lost, or somebody else, has ended it.
            if done.held || done.found.iter().any(|pairs| !pairs.is_empty()) {
                return Ok(TopicRecord::new(&value, 1));
            }
        }
    }

    async fn in_time<T, E: From<EtcdError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_elapsed| {
            let timeout_ms = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
            Err(EtcdError::Timeout { endpoint: "any member".to_owned(), timeout_ms }.into())
        })
    }
}

impl Creation<'_> {
    fn partition(&self, index: u32) -> PartitionId {
        PartitionId::new(self.topic.id, PartitionIndex::new(index))
    }
}

fn exists(pair: &KeyValue, view: &ClusterView) -> CreateTopicError {
    match TopicValue::decode(&pair.key, &pair.value) {
        Ok(value) => {
            let known = view.topics.get(&value.name).map(|record| &record.topic);
            let known = known.filter(|topic| topic.id == value.id).cloned();
            CreateTopicError::Exists(known.unwrap_or_else(|| TopicRecord::new(&value, 1).topic))
        }
        Err(error) => CreateTopicError::Etcd(error.into()),
    }
}

fn given_up() -> EtcdError {
    let problem = format!("the creation took longer than {CREATION_TTL_S} s and was given up");
    EtcdError::Unavailable { endpoint: "any member".to_owned(), problem }
}

fn unexpected() -> EtcdError {
    let problem = "an answer lacks what was asked for".to_owned();
    EtcdError::Unavailable { endpoint: "any member".to_owned(), problem }
}
