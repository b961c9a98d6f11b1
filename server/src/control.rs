//! The control thread's work while the node runs: the requests of the shards, one after the other, and
//! what the shards have to say.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use async_channel::Receiver;
use forebay_engine::{ShardIndex, ShardMetrics, shard_of};
use forebay_format::{CleanEntry, NodeId, TopicId};
use futures_util::future::{BoxFuture, join_all, pending};
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::bridge::{
    ControlRequest, ControlRequests, Reply, ShardCommand, ShardEvent, ShardLink, report,
};
use crate::leadership::{
    ClusterWatch, Coordinator, CreateTopicError, DeleteTopicError, Leaders, Leadership, Removal,
    StateFileError, Topic, TopicChange, TopicDraft,
};

/// Where the shards say what they have to say.
pub(crate) type Events = Receiver<(ShardIndex, ShardEvent)>;

/// See the module.
pub(crate) struct Control<C> {
    coordinator: C,
    shards: Vec<ShardLink>,
    requests: ControlRequests,
    events: Events,
    /// Topics whose files are being removed; the id comes out when all are gone.
    removals: FuturesUnordered<BoxFuture<'static, Option<TopicId>>>,
    leaders: Arc<Leaders>,
    node: NodeId,
}

/// Why a node that was running ends by itself.
#[derive(Debug, thiserror::Error)]
#[error("shard {shard}: {message}")]
pub struct ShardFailed {
    /// Which of its shards.
    pub shard: u32,
    /// What happened.
    pub message: String,
}

impl<C: Coordinator> Control<C> {
    pub(crate) fn new(
        coordinator: C,
        shards: Vec<ShardLink>,
        requests: ControlRequests,
        events: Events,
        (node, leaders): (NodeId, Arc<Leaders>),
    ) -> Self {
        let removals = FuturesUnordered::new();
        Self { coordinator, shards, requests, events, removals, leaders, node }
    }

    /// The shards, in order.
    pub(crate) fn shards(&self) -> &[ShardLink] {
        &self.shards
    }

    /// The cluster as it is seen.
    pub(crate) fn watch(&self) -> ClusterWatch {
        self.coordinator.watch()
    }

    /// Goes on with the removals that an earlier life of the node has not finished.
    pub(crate) async fn resume_removals(&mut self) {
        for removal in self.coordinator.removals() {
            self.remove_files(removal).await;
        }
    }

    /// Serves until other nodes count on this one: those who have connected already are not to wait for that.
    ///
    /// # Errors
    /// A shard has failed.
    pub(crate) async fn joined(&mut self) -> Result<(), ShardFailed> {
        let joined = self.coordinator.joined();
        self.serve_until(joined).await
    }

    /// Serves until a shard fails.
    pub(crate) async fn serve(&mut self) -> ShardFailed {
        match self.serve_until(pending::<Infallible>()).await {
            Err(failed) => failed,
            Ok(never) => match never {},
        }
    }

    /// Serves until something has happened. What was begun is brought to its end first.
    async fn serve_until<T>(
        &mut self,
        happened: impl Future<Output = T>,
    ) -> Result<T, ShardFailed> {
        let mut happened = pin!(happened);
        loop {
            tokio::select! {
                Ok(request) = self.requests.recv() => self.answer(request).await,
                Some(topic) = self.removals.next() => self.removed(topic).await,
                change = self.coordinator.changed() => self.follow(change).await,
                event = next_event(&self.events) => {
                    let (shard, _) = event?;
                    tracing::debug!(%shard, "unexpected event");
                }
                result = &mut happened => return Ok(result),
            }
        }
    }

    /// What the node has agreed with, when it ends.
    pub(crate) fn into_coordinator(self) -> C {
        self.coordinator
    }

    /// Waits until every shard can serve. What their engines count comes back, in order.
    pub(crate) async fn all_ready(&self) -> Result<Vec<Arc<ShardMetrics>>, ShardFailed> {
        let mut ready = BTreeMap::new();
        while ready.len() < self.shards.len() {
            if let (shard, ShardEvent::Ready(metrics)) = next_event(&self.events).await? {
                ready.insert(shard, metrics);
            }
        }
        Ok(ready.into_values().collect())
    }

    /// After the drain was begun: waits until no shard has a stream left, then lets every shard make
    /// everything durable and end. What the next start may trust comes back.
    pub(crate) async fn drain_and_stop(&mut self) -> Result<Vec<CleanEntry>, ShardFailed> {
        // Streams of one shard append to partitions of others, so all are drained before any stops.
        let mut drained = 0;
        while drained < self.shards.len() {
            tokio::select! {
                // A last topic may be wanted before its stream ends.
                Ok(request) = self.requests.recv() => self.answer(request).await,
                event = next_event(&self.events) => {
                    if let (_, ShardEvent::Drained) = event? {
                        drained += 1;
                    }
                }
            }
        }
        for shard in &self.shards {
            shard.send(ShardCommand::Stop).await;
        }
        let mut entries = Vec::new();
        let mut stopped = 0;
        while stopped < self.shards.len() {
            if let (_, ShardEvent::Stopped(of_shard)) = next_event(&self.events).await? {
                entries.extend(of_shard);
                stopped += 1;
            }
        }
        while let Some(topic) = self.removals.next().await {
            self.removed(topic).await;
        }
        Ok(entries)
    }

    /// Takes a topic off the list of removals, when its files are gone.
    async fn removed(&mut self, topic: Option<TopicId>) {
        if let Some(topic) = topic
            && let Err(error) = self.coordinator.removed(topic).await
        {
            tracing::error!(%error, "a removed topic is still on the list");
        }
    }

    async fn answer(&mut self, request: ControlRequest) {
        match request {
            ControlRequest::CreateTopic { draft, reply } => reply.send(self.create(draft).await),
            ControlRequest::DeleteTopic { name, reply } => {
                let deleted = self.coordinator.delete_topic(&name).await;
                if let Ok(topic) = &deleted {
                    tracing::info!(topic = %topic.name, id = %topic.id, "topic deleted");
                    self.remove(topic.clone()).await;
                }
                reply.send(deleted as Result<_, DeleteTopicError>);
            }
            ControlRequest::Resolve { address, reply } => {
                // A name that takes long holds up nobody else.
                tokio::spawn(async move {
                    let found = tokio::net::lookup_host(&address).await;
                    reply.send(found.ok().and_then(|mut found| found.next()));
                });
            }
            ControlRequest::Report { reply } => {
                let shards = self.shards.clone();
                // Nor does a shard that does not answer.
                tokio::spawn(async move { reply.send(report(&shards).await) });
            }
            ControlRequest::Order { partition, order, reply } => {
                let shards = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
                let owner = shard_of(partition, shards).get() as usize;
                let Some(shard) = self.shards.get(owner).cloned() else { return };
                tokio::spawn(async move {
                    shard.send(ShardCommand::Order { partition, order, reply }).await;
                });
            }
        }
    }

    async fn create(&mut self, draft: TopicDraft) -> Result<Arc<Topic>, CreateTopicError> {
        let topic = self.coordinator.create_topic(draft).await?;
        self.add(&topic).await?;
        tracing::info!(topic = %topic.name, id = %topic.id, partitions = topic.partitions, "topic created");
        Ok(topic)
    }

    /// Has every shard serve a topic.
    async fn add(&mut self, topic: &Arc<Topic>) -> Result<(), StateFileError> {
        let leaderships = lead_all(&mut self.coordinator, topic).await?;
        self.leaders.lead_alone(self.node, &leaderships);
        let add = |done| ShardCommand::AddTopic {
            topic: topic.clone(),
            leaderships: leaderships.clone(),
            done,
        };
        self.tell_all(add).await;
        Ok(())
    }

    /// Does what somebody else's doing asks for.
    async fn follow(&mut self, change: TopicChange) {
        match change {
            TopicChange::Created(topic) => {
                if let Err(error) = self.add(&topic).await {
                    tracing::error!(topic = %topic.name, %error, "the topic cannot be served");
                }
            }
            TopicChange::Deleted(topic) => self.remove(topic).await,
        }
    }

    /// Tells every shard to forget a topic, and has its files removed meanwhile.
    async fn remove(&mut self, topic: Arc<Topic>) {
        self.leaders.forget(topic.id);
        let forget = |forgotten| ShardCommand::RemoveTopic { topic: topic.clone(), forgotten };
        self.tell_all(forget).await;
        self.remove_files(Removal::of(&topic)).await;
    }

    /// Begins to remove files that no shard serves.
    async fn remove_files(&mut self, removal: Removal) {
        let partitions: Arc<[_]> = removal.partitions.into();
        let mut waiting = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            let (removed, done) = Reply::new();
            let partitions = Arc::clone(&partitions);
            shard.send(ShardCommand::RemoveFiles { partitions, removed }).await;
            waiting.push(done);
        }
        self.removals.push(Box::pin(async move {
            let results = join_all(waiting.iter().map(Receiver::recv)).await;
            results.iter().all(|result| matches!(result, Ok(Ok(())))).then_some(removal.topic)
        }));
    }

    /// Sends a command to every shard, and waits until each has followed it.
    async fn tell_all(&self, mut command: impl FnMut(Reply<()>) -> ShardCommand) {
        let mut done = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            let (reply, followed) = Reply::new();
            shard.send(command(reply)).await;
            done.push(followed);
        }
        join_all(done.iter().map(Receiver::recv)).await;
    }
}

/// The next thing that a shard says by itself.
async fn next_event(events: &Events) -> Result<(ShardIndex, ShardEvent), ShardFailed> {
    match events.recv().await {
        Ok((shard, ShardEvent::Failed(message))) => {
            Err(ShardFailed { shard: shard.get(), message })
        }
        Ok(event) => Ok(event),
        Err(_) => Err(ShardFailed { shard: 0, message: "its thread is gone".to_owned() }),
    }
}

/// Takes the leadership of all partitions of a topic that this node can have.
pub(crate) async fn lead_all(
    coordinator: &mut impl Coordinator,
    topic: &Topic,
) -> Result<Arc<[Leadership]>, StateFileError> {
    let mut leaderships = Vec::new();
    for partition in topic.partition_ids() {
        leaderships.extend(coordinator.lead(partition).await?);
    }
    Ok(leaderships.into())
}
