//! The consumer as its user sees it. It has no task of its own: streams are read while somebody
//! waits for the next event, and what nobody reads stays with the server.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use forebay_format::{Offset, PartitionIndex, ProducerId};
use tokio::time::sleep;

use super::{
    ConsumeError, ConsumedBatch, ConsumerOptions, OutOfRange, ReadFrom, StartAt, SubscribeError,
    position::{Position, Positions},
    sessions::{Destination, Happened, Sessions},
    stream::Item,
};
use crate::{
    admin::MetadataError,
    backoff::Backoff,
    call::CallEnded,
    client::Client,
    connection::Carried,
    metadata::{ClusterMetadata, PartitionMetadata},
    outage::Stuck,
    refusal::Refusal,
};

/// What a consumer delivers.
#[derive(Debug)]
pub enum Event {
    /// Records.
    Batch(Box<ConsumedBatch>),
    /// Everything committed in this partition was delivered.
    CaughtUp {
        /// The partition.
        partition: PartitionIndex,
        /// First offset in the log.
        earliest: Offset,
        /// Exclusive end of what is committed.
        committed: Offset,
    },
}

/// Reads partitions of one topic, each in order and without gaps. It gets over lost connections and
/// server restarts by itself, and goes on behind the last record that it delivered.
pub struct Consumer {
    client: Client,
    topic: String,
    out_of_range: OutOfRange,
    read_from: ReadFrom,
    /// Spreads the consumers of a topic over its replicas.
    salt: usize,
    positions: Positions,
    sessions: Sessions,
    /// Partitions that no stream reads, to be placed again.
    unplaced: Vec<PartitionIndex>,
    placing: Option<Boxed<Result<ClusterMetadata, MetadataError>>>,
    /// Errors that the caller has not heard of yet.
    errors: Vec<ConsumeError>,
    backoff: Backoff,
    /// Seeks so far: the number of the last one.
    seeks: u64,
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("topic", &self.topic)
            .field("positions", &self.positions)
            .finish_non_exhaustive()
    }
}

impl Consumer {
    pub(crate) async fn subscribe(
        client: Client,
        topic: String,
        options: ConsumerOptions,
    ) -> Result<Self, SubscribeError> {
        let cluster = client.admin().metadata(&[&topic]).await?;
        let Some(found) = cluster.topic(&topic) else {
            return Err(SubscribeError::NoTopic { topic });
        };
        let positions = positions_of(&topic, found.partitions.len(), &options)?;
        let mut consumer = Self {
            client,
            topic,
            out_of_range: options.out_of_range,
            read_from: options.read_from,
            salt: usize::from(ProducerId::random().to_bytes()[0]),
            unplaced: positions.keys().copied().collect(),
            positions,
            sessions: Sessions::default(),
            placing: None,
            errors: Vec::new(),
            backoff: Backoff::new(0x3c3c),
            seeks: 0,
        };
        consumer.place(&cluster);
        Ok(consumer)
    }

    /// The next event. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When a partition can be read no further; the others go on.
    pub async fn next(&mut self) -> Result<Event, ConsumeError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next records.
    ///
    /// # Errors
    /// As for [`Self::next`].
    pub async fn next_batch(&mut self) -> Result<Box<ConsumedBatch>, ConsumeError> {
        loop {
            if let Event::Batch(batch) = self.next().await? {
                return Ok(batch);
            }
        }
    }

    /// The offset that comes next in a partition, once it is known.
    pub fn position(&self, partition: PartitionIndex) -> Option<Offset> {
        self.positions.get(&partition)?.next()
    }

    /// The partitions that are read.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionIndex> + '_ {
        self.positions.keys().copied()
    }

    /// Goes on somewhere else in a partition, which is read from then on if it was not before.
    pub fn seek(&mut self, partition: PartitionIndex, start: StartAt) {
        self.seeks += 1;
        if self.sessions.seek(partition, start.into(), self.seeks) {
            self.positions.insert(partition, Position::after_seek(start, self.seeks));
            return;
        }
        self.positions.insert(partition, Position::new(start));
        if !self.unplaced.contains(&partition) {
            self.unplaced.push(partition);
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, ConsumeError>> {
        loop {
            if let Some(error) = self.errors.pop() {
                return Poll::Ready(Err(error));
            }
            let placed = self.poll_placing(cx);
            match self.sessions.poll(cx) {
                Poll::Ready(Happened::Item(item)) => {
                    if let Some(event) = self.take(item) {
                        return Poll::Ready(event);
                    }
                }
                Poll::Ready(Happened::Ended(partitions, ended)) => self.ended(partitions, ended),
                Poll::Pending if placed => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// True when partitions were placed, so that new streams want to be polled.
    fn poll_placing(&mut self, cx: &mut Context<'_>) -> bool {
        if self.unplaced.is_empty() {
            self.placing = None;
            return false;
        }
        let placing = self.placing.get_or_insert_with(|| {
            let (client, topic) = (self.client.clone(), self.topic.clone());
            let wait = self.backoff.next();
            Box::pin(async move {
                sleep(wait).await;
                client.admin().metadata(&[&topic]).await
            })
        });
        let Poll::Ready(found) = placing.as_mut().poll(cx) else { return false };
        self.placing = None;
        match found {
            Ok(cluster) => self.place(&cluster),
            Err(error) => {
                tracing::debug!(topic = self.topic, %error, "no metadata");
                self.is_stuck(&error);
            }
        }
        true
    }

    /// Lets the partitions that have no stream join one to their address, and opens it where there is
    /// none. Partitions without a leader are read from whichever node answers, as far as that has them, when
    /// waiting has not helped.
    fn place(&mut self, cluster: &ClusterMetadata) {
        let Some(topic) = cluster.topic(&self.topic) else {
            self.topic_is_gone();
            return;
        };
        // The replica that was chosen first; then in turns whichever endpoint answers, which hands the request
        // on, and the leader.
        let failures = self.backoff.failures();
        let fallback = (failures > 0 && failures.is_multiple_of(2))
            .then(|| (self.client.last_endpoint(), Carried::IfNeedBe));
        let read_from = if failures > 1 { ReadFrom::Leader } else { self.read_from };
        // Another replica than the one that failed.
        let turn = self.salt.wrapping_add(failures as usize);
        let mut by_address: BTreeMap<Destination, Vec<PartitionIndex>> = BTreeMap::new();
        self.unplaced.retain(|partition| {
            let known = topic.partitions.iter().find(|one| one.partition == *partition);
            let own = known.and_then(|one| source(cluster, one, read_from, turn));
            // One that is asked already is not asked a second time beside that.
            let other = fallback.clone().filter(|(address, _)| {
                own.as_ref().is_none_or(|(own_address, _)| address != own_address)
            });
            let Some(address) = other.or(own) else { return true };
            by_address.entry(address).or_default().push(*partition);
            false
        });
        for (address, partitions) in by_address {
            self.read_at(address, &partitions);
        }
    }

    fn read_at(&mut self, address: Destination, partitions: &[PartitionIndex]) {
        let joins = self.sessions.has(&address);
        let mut starts = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let Some(position) = self.positions.get_mut(partition) else { continue };
            self.seeks += u64::from(joins);
            starts.push((*partition, position.resume(joins.then_some(self.seeks)), self.seeks));
        }
        if joins {
            for (partition, start, seek_id) in starts {
                self.sessions.join(&address, (partition, start), seek_id);
            }
            return;
        }
        let starts: Vec<_> = starts.into_iter().map(|(one, start, _)| (one, start)).collect();
        self.sessions.open(self.client.clone(), address, self.topic.clone(), &starts);
    }

    /// Lets whoever wonders know, unless it is the first try that has failed.
    fn is_stuck(&self, cause: &(dyn std::error::Error + 'static)) {
        if self.backoff.failures() > 0 {
            self.client.outages().began(Stuck::Consumer(self.topic.clone()), cause);
        }
    }

    fn gets_on(&mut self) {
        self.backoff.succeeded();
        self.client.outages().over(|| Stuck::Consumer(self.topic.clone()));
    }

    fn topic_is_gone(&mut self) {
        let source = Refusal {
            code: tonic::Code::NotFound,
            ..Refusal::unavailable(format!("topic {} does not exist any more", self.topic))
        };
        for partition in self.unplaced.drain(..) {
            self.errors.push(ConsumeError::Refused { partition, source: Box::new(source.clone()) });
        }
    }

    /// `None` when the caller need not hear of it.
    fn take(&mut self, item: Item) -> Option<Result<Event, ConsumeError>> {
        match item {
            Item::Batch(batch) => {
                self.gets_on();
                let partition = batch.partition();
                let position = self.positions.get_mut(&partition)?;
                match position.admit(batch) {
                    Ok(batch) => Some(Ok(Event::Batch(Box::new(batch?)))),
                    Err(error) => {
                        self.drop_partition(partition);
                        Some(Err(error))
                    }
                }
            }
            Item::Damaged(partition, source) => {
                let expected = self.position(partition);
                self.drop_partition(partition);
                Some(Err(ConsumeError::Damaged { partition, expected, source }))
            }
            Item::Positioned(partition, offset, seek_id) => {
                self.positions.get_mut(&partition)?.positioned(offset, seek_id);
                None
            }
            Item::CaughtUp { partition, .. } if self.positions.get(&partition)?.is_seeking() => {
                None
            }
            Item::CaughtUp { partition, earliest, committed } => {
                self.gets_on();
                Some(Ok(Event::CaughtUp { partition, earliest, committed }))
            }
            // The server had not seen the seek yet, and will answer it.
            Item::Stopped(partition, _, seek_id)
                if !self.positions.get(&partition)?.ends_with(seek_id) =>
            {
                None
            }
            Item::Stopped(partition, refusal, _) => self.stopped(partition, refusal),
        }
    }

    fn stopped(
        &mut self,
        partition: PartitionIndex,
        source: Refusal,
    ) -> Option<Result<Event, ConsumeError>> {
        if source.code == tonic::Code::OutOfRange && self.out_of_range == OutOfRange::Earliest {
            if !self.positions.get(&partition)?.is_seeking() {
                // On the same stream: a reader that is overtaken again and again needs no other.
                self.seek(partition, StartAt::Earliest);
                return None;
            }
            // After a pause, for it may be the earliest offset itself that is refused.
            self.sessions.leave(partition);
            self.seek(partition, StartAt::Earliest);
            return None;
        }
        self.sessions.leave(partition);
        if source.is_retriable() {
            self.is_stuck(&source);
            self.unplaced.push(partition);
            return None;
        }
        if source.code != tonic::Code::OutOfRange {
            return Some(Err(ConsumeError::Refused { partition, source: Box::new(source) }));
        }
        Some(Err(ConsumeError::OutOfRange {
            partition,
            wanted: self.position(partition),
            earliest: source.number("earliest").map(Offset::new),
            latest: source.number("latest").map(Offset::new),
            source: Box::new(source),
        }))
    }

    /// Reads a partition no further. Its stream cannot drop one partition, so the others move on.
    fn drop_partition(&mut self, partition: PartitionIndex) {
        self.unplaced.extend(self.sessions.close(partition));
    }

    fn ended(&mut self, partitions: Vec<PartitionIndex>, ended: CallEnded) {
        match ended {
            CallEnded::Refused(source) if !source.is_retriable() => {
                for partition in partitions {
                    let source = Box::new(source.clone());
                    self.errors.push(ConsumeError::Refused { partition, source });
                }
            }
            ended => {
                let error = &ended as &dyn std::error::Error;
                tracing::debug!(topic = self.topic, error, "consume stream lost");
                self.is_stuck(&ended);
                self.unplaced.extend(partitions);
            }
        }
    }
}

/// Where a partition is read.
fn source(
    cluster: &ClusterMetadata,
    partition: &PartitionMetadata,
    read_from: ReadFrom,
    turn: usize,
) -> Option<Destination> {
    let never = |address: &str| (address.to_owned(), Carried::Never);
    let leader = || cluster.address_of(partition).map(never);
    match read_from {
        ReadFrom::Leader => leader(),
        ReadFrom::Any => {
            let there: Vec<_> = cluster.replicas_of(partition).collect();
            let turn = turn.wrapping_add(partition.partition.get() as usize);
            let chosen = there.get(turn % there.len().max(1)).copied();
            chosen.map(never).or_else(leader)
        }
        ReadFrom::Node(node) => {
            let there = cluster.nodes.iter().find(|one| one.id == node);
            there.map(|one| (one.address.clone(), Carried::IfNeedBe)).or_else(leader)
        }
    }
}

fn positions_of(
    topic: &str,
    partitions: usize,
    options: &ConsumerOptions,
) -> Result<Positions, SubscribeError> {
    if options.partitions.is_empty() {
        let indexes = 0..u32::try_from(partitions).expect("partitions are u32");
        let all = indexes.map(|one| (PartitionIndex::new(one), Position::new(options.start)));
        return Ok(all.collect());
    }
    let mut positions = Positions::new();
    for &(partition, start) in &options.partitions {
        if partition.get() as usize >= partitions {
            let topic = topic.to_owned();
            return Err(SubscribeError::NoSuchPartition { topic, partition, partitions });
        }
        positions.insert(partition, Position::new(start.unwrap_or(options.start)));
    }
    Ok(positions)
}

#[cfg(test)]
mod tests {
    use forebay_format::NodeId;
    use forebay_proto::v1;

    use super::*;

    fn cluster() -> ClusterMetadata {
        let node = |id: u32| v1::Node {
            node_id: id,
            address: format!("n{id}:1"),
            shard_addresses: vec![format!("n{id}:2")],
            ..v1::Node::default()
        };
        let partition = |index: u32, leader: Option<u32>| v1::PartitionMetadata {
            partition: index,
            leader,
            replicas: vec![1, 2, 3],
            ..Default::default()
        };
        let topic = v1::TopicMetadata {
            name: "t".to_owned(),
            topic_id: String::new(),
            partitions: vec![partition(0, Some(2)), partition(1, None)],
        };
        let nodes = [1, 2, 4].map(node).to_vec();
        v1::GetMetadataResponse { cluster_id: String::new(), nodes, topics: vec![topic] }.into()
    }

    fn at(partition: usize, read_from: ReadFrom, turn: usize) -> Option<(String, Carried)> {
        let cluster = cluster();
        source(&cluster, &cluster.topics[0].partitions[partition], read_from, turn)
    }

    fn never(address: &str) -> (String, Carried) {
        (address.to_owned(), Carried::Never)
    }

    #[test]
    fn replicas_take_turns_and_the_leader_is_read_where_nothing_else_was_said() {
        assert_eq!(at(0, ReadFrom::Leader, 9), Some(never("n2:2")));
        assert_eq!(at(1, ReadFrom::Leader, 9), None);
        // Of three replicas one is not there.
        let turns = [0, 1, 2].map(|turn| at(0, ReadFrom::Any, turn));
        assert_eq!(turns, ["n1:2", "n2:2", "n1:2"].map(|address| Some(never(address))));
    }

    #[test]
    fn a_node_that_was_named_may_fetch_what_it_has_not_got() {
        let four = Some(("n4:1".to_owned(), Carried::IfNeedBe));
        assert_eq!(at(1, ReadFrom::Node(NodeId::new(4)), 0), four);
        assert_eq!(
            at(0, ReadFrom::Node(NodeId::new(3)), 0),
            Some(never("n2:2")),
            "it is not there"
        );
    }
}
