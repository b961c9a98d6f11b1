//! The consumer as its user sees it. It has no task of its own: streams are read while somebody
//! waits for the next event, and what nobody reads stays with the server.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use forebay_format::{Offset, PartitionIndex};
use tokio::time::sleep;

use super::{
    ConsumeError, ConsumedBatch, ConsumerOptions, OutOfRange, StartAt, SubscribeError,
    position::{Position, Positions},
    stream::{ConsumeStream, Item},
};
use crate::{
    admin::MetadataError, backoff::Backoff, call::CallEnded, client::Client,
    metadata::ClusterMetadata, refusal::Refusal,
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
    positions: Positions,
    sessions: Vec<Session>,
    /// Partitions that no session reads, to be placed again.
    unplaced: Vec<PartitionIndex>,
    placing: Option<Boxed<Result<ClusterMetadata, MetadataError>>>,
    /// Errors that the caller has not heard of yet.
    errors: Vec<ConsumeError>,
    backoff: Backoff,
    /// Which session is asked first: they take turns.
    turn: usize,
    /// Seeks so far: the number of the last one.
    seeks: u64,
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A stream, or one that is being opened.
struct Session {
    partitions: Vec<PartitionIndex>,
    phase: Phase,
}

enum Phase {
    Opening(Boxed<Result<ConsumeStream, CallEnded>>),
    Open(ConsumeStream),
}

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
            unplaced: positions.keys().copied().collect(),
            positions,
            sessions: Vec::new(),
            placing: None,
            errors: Vec::new(),
            backoff: Backoff::new(0x3c3c),
            turn: 0,
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
        let session = self.sessions.iter_mut().find(|one| one.partitions.contains(&partition));
        match session {
            Some(Session { phase: Phase::Open(stream), .. }) => {
                self.seeks += 1;
                stream.seek(partition, start, self.seeks);
                self.positions.insert(partition, Position::after_seek(start, self.seeks));
            }
            Some(Session { partitions, phase: Phase::Opening(_) }) => {
                // It is being asked for at the old place already: another stream for this one.
                partitions.retain(|one| *one != partition);
                let nothing_left = partitions.is_empty();
                self.positions.insert(partition, Position::new(start));
                self.unplaced.push(partition);
                if nothing_left {
                    self.sessions.retain(|one| !one.partitions.is_empty());
                }
            }
            None => {
                self.positions.insert(partition, Position::new(start));
                if !self.unplaced.contains(&partition) {
                    self.unplaced.push(partition);
                }
            }
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, ConsumeError>> {
        loop {
            if let Some(error) = self.errors.pop() {
                return Poll::Ready(Err(error));
            }
            let placed = self.poll_placing(cx);
            match self.poll_sessions(cx) {
                Poll::Ready(Some(event)) => return Poll::Ready(event),
                // A stream ended or moved on: its partitions want a new place.
                Poll::Ready(None) => {}
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
            Err(error) => tracing::debug!(topic = self.topic, %error, "no metadata"),
        }
        true
    }

    /// Opens a stream per address for the partitions that have none. Partitions without a leader
    /// stay where they are.
    fn place(&mut self, cluster: &ClusterMetadata) {
        let Some(topic) = cluster.topic(&self.topic) else {
            self.topic_is_gone();
            return;
        };
        // Its own address first; then whichever endpoint answers, which hands the request on.
        let fallback = (self.backoff.failures() > 0 && self.backoff.failures().is_multiple_of(2))
            .then(|| self.client.last_endpoint());
        let mut by_address: BTreeMap<String, Vec<PartitionIndex>> = BTreeMap::new();
        self.unplaced.retain(|partition| {
            let known = topic.partitions.iter().find(|one| one.partition == *partition);
            let Some(address) = known.and_then(|one| cluster.address_of(one)) else { return true };
            let address = fallback.clone().unwrap_or_else(|| address.to_owned());
            by_address.entry(address).or_default().push(*partition);
            false
        });
        for (address, partitions) in by_address {
            let starts = partitions
                .iter()
                .filter_map(|one| Some((*one, self.positions.get_mut(one)?.resume())))
                .collect();
            let opening =
                ConsumeStream::open(self.client.clone(), address, self.topic.clone(), starts);
            let phase = Phase::Opening(Box::pin(opening));
            self.sessions.push(Session { partitions, phase });
        }
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

    /// Ready with nothing when a session is gone.
    fn poll_sessions(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event, ConsumeError>>> {
        for step in 0..self.sessions.len() {
            let at = (self.turn + step) % self.sessions.len();
            match self.sessions[at].poll_item(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(item)) => {
                    self.turn = at;
                    match self.take(at, item) {
                        Some(event) => return Poll::Ready(Some(event)),
                        None => return Poll::Ready(None),
                    }
                }
                Poll::Ready(Err(ended)) => {
                    self.ended(at, ended);
                    return Poll::Ready(None);
                }
            }
        }
        // Nothing is ready: who comes next starts the next round.
        self.turn = self.turn.wrapping_add(1) % self.sessions.len().max(1);
        Poll::Pending
    }

    fn take(&mut self, session: usize, item: Item) -> Option<Result<Event, ConsumeError>> {
        if !self.sessions[session].partitions.contains(&item.partition()) {
            // Another stream reads it by now.
            return None;
        }
        match item {
            Item::Batch(batch) => {
                self.backoff.succeeded();
                let partition = batch.partition();
                let position = self.positions.get_mut(&partition)?;
                match position.admit(batch) {
                    Ok(batch) => Some(Ok(Event::Batch(Box::new(batch?)))),
                    Err(error) => {
                        self.drop_partition(session, partition);
                        Some(Err(error))
                    }
                }
            }
            Item::Damaged(partition, source) => {
                let expected = self.position(partition);
                self.drop_partition(session, partition);
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
                self.backoff.succeeded();
                Some(Ok(Event::CaughtUp { partition, earliest, committed }))
            }
            Item::Stopped(partition, refusal) => self.stopped(session, partition, refusal),
        }
    }

    fn stopped(
        &mut self,
        session: usize,
        partition: PartitionIndex,
        source: Refusal,
    ) -> Option<Result<Event, ConsumeError>> {
        if let Some(session) = self.sessions.get_mut(session) {
            session.partitions.retain(|one| *one != partition);
        }
        if source.is_retriable() {
            self.unplaced.push(partition);
            return None;
        }
        if source.code != tonic::Code::OutOfRange {
            return Some(Err(ConsumeError::Refused { partition, source: Box::new(source) }));
        }
        if self.out_of_range == OutOfRange::Earliest {
            self.positions.insert(partition, Position::new(StartAt::Earliest));
            self.unplaced.push(partition);
            return None;
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
    fn drop_partition(&mut self, session: usize, partition: PartitionIndex) {
        self.close(session);
        self.unplaced.retain(|one| *one != partition);
    }

    fn close(&mut self, session: usize) {
        let session = self.sessions.swap_remove(session);
        self.unplaced.extend(session.partitions);
    }

    fn ended(&mut self, session: usize, ended: CallEnded) {
        let Session { partitions, .. } = self.sessions.swap_remove(session);
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
                self.unplaced.extend(partitions);
            }
        }
    }
}

impl Session {
    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Result<Item, CallEnded>> {
        loop {
            match &mut self.phase {
                Phase::Open(stream) => return stream.poll_item(cx),
                Phase::Opening(opening) => match opening.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(stream)) => self.phase = Phase::Open(stream),
                    Poll::Ready(Err(ended)) => return Poll::Ready(Err(ended)),
                },
            }
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
