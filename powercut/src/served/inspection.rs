//! Reads everything that a server shows: topics, partitions, records.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_client::{
    Client, ConsumeError, ConsumedBatch, Consumer, ConsumerOptions, Event, PartitionIndex,
    TopicDescription,
};

use super::partition::{SeenPartition, SeenRecord};
use super::verdict::SeenTopic;
use crate::subject::with_causes;

/// All records of one topic come within this time, or the server hangs.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// What a partition's state says when it serves.
const SERVES: &str = "ok";
/// Retention may move a log's start while it is read; then it is read again.
const ATTEMPTS_MAX: u32 = 5;

/// The server does not answer what it must be able to answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum InspectError {
    #[error("topics cannot be listed")]
    List(#[from] forebay_client::ListTopicsError),
    #[error("a topic that was listed cannot be described")]
    Describe(#[from] forebay_client::DescribeTopicError),
    #[error("a topic that was listed cannot be subscribed to")]
    Subscribe(#[from] forebay_client::SubscribeError),
}

/// Everything there is.
pub(super) async fn inspect(client: &Client) -> Result<Vec<SeenTopic>, InspectError> {
    let mut seen = Vec::new();
    for listed in client.admin().list_topics().await? {
        seen.push(inspect_topic(client, &listed.name, &listed.id).await?);
    }
    Ok(seen)
}

async fn inspect_topic(
    client: &Client,
    name: &str,
    topic_id: &str,
) -> Result<SeenTopic, InspectError> {
    let mut before = client.admin().describe_topic(name).await?;
    for _ in 0..ATTEMPTS_MAX {
        let records = read(client, &before).await?;
        let after = client.admin().describe_topic(name).await?;
        if starts(&before) == starts(&after) {
            let (name, topic_id) = (name.to_owned(), topic_id.to_owned());
            return Ok(SeenTopic { name, topic_id, partitions: put_together(&after, records) });
        }
        before = after;
    }
    let moving = "the start of the log moved again and again".to_owned();
    let refused = SeenPartition { refusal: Some(moving), ..SeenPartition::default() };
    let partitions = vec![refused; before.partitions.len()];
    Ok(SeenTopic { name: name.to_owned(), topic_id: topic_id.to_owned(), partitions })
}

fn starts(description: &TopicDescription) -> Vec<u64> {
    description.partitions.iter().map(|partition| partition.earliest.get()).collect()
}

/// What came of a partition, or why it could not be read.
type ReadPartition = Result<Vec<SeenRecord>, String>;

fn put_together(
    description: &TopicDescription,
    mut records: BTreeMap<PartitionIndex, ReadPartition>,
) -> Vec<SeenPartition> {
    let partitions = description.partitions.iter().map(|status| {
        let mut seen = SeenPartition {
            earliest: status.earliest.get(),
            committed: status.committed.get(),
            ..SeenPartition::default()
        };
        match records.remove(&status.partition) {
            _ if status.state != SERVES => seen.refusal = Some(status.state.clone()),
            None => {}
            Some(Ok(records)) => seen.records = records,
            Some(Err(refusal)) => seen.refusal = Some(refusal),
        }
        seen
    });
    partitions.collect()
}

/// Reads the partitions that have records, each up to the end that `description` names.
async fn read(
    client: &Client,
    description: &TopicDescription,
) -> Result<BTreeMap<PartitionIndex, ReadPartition>, InspectError> {
    let to_read: BTreeMap<PartitionIndex, u64> = description
        .partitions
        .iter()
        .filter(|status| status.state == SERVES && status.earliest < status.committed)
        .map(|status| (status.partition, status.committed.get()))
        .collect();
    if to_read.is_empty() {
        return Ok(BTreeMap::new());
    }
    let options = ConsumerOptions {
        partitions: to_read.keys().map(|partition| (*partition, None)).collect(),
        ..ConsumerOptions::default()
    };
    let mut consumer = client.consumer(&description.topic.name, options).await?;
    let mut reading = Reading { ends: to_read, found: BTreeMap::new() };
    if tokio::time::timeout(READ_WITHIN, reading.read_to_ends(&mut consumer)).await.is_err() {
        for (partition, end) in reading.ends {
            let refusal = format!("not read up to {end} within {READ_WITHIN:?}");
            reading.found.insert(partition, Err(refusal));
        }
    }
    Ok(reading.found)
}

struct Reading {
    /// Where partitions end that were not read to their end yet.
    ends: BTreeMap<PartitionIndex, u64>,
    found: BTreeMap<PartitionIndex, ReadPartition>,
}

impl Reading {
    async fn read_to_ends(&mut self, consumer: &mut Consumer) {
        while !self.ends.is_empty() {
            match consumer.next().await {
                Ok(Event::Batch(batch)) => self.take(&batch),
                Ok(Event::CaughtUp { .. }) => {}
                Err(error) => self.fail(&error),
            }
        }
    }

    fn take(&mut self, batch: &ConsumedBatch) {
        let partition = batch.partition();
        let found = self.found.entry(partition).or_insert_with(|| Ok(Vec::new()));
        let Ok(seen) = found else { return };
        if let Err(error) = take_records(batch, seen) {
            *found = Err(error);
            self.ends.remove(&partition);
            return;
        }
        let end = self.ends.get(&partition).copied().unwrap_or_default();
        if batch.next_offset().get() >= end {
            self.ends.remove(&partition);
        }
    }

    fn fail(&mut self, error: &ConsumeError) {
        let partition = match error {
            ConsumeError::OutOfRange { partition, .. }
            | ConsumeError::Refused { partition, .. }
            | ConsumeError::Damaged { partition, .. }
            | ConsumeError::Gap { partition, .. } => *partition,
        };
        self.ends.remove(&partition);
        self.found.insert(partition, Err(with_causes(error)));
    }
}

fn take_records(batch: &ConsumedBatch, seen: &mut Vec<SeenRecord>) -> Result<(), String> {
    let damaged = |error| with_causes(&error);
    for record in batch.records().map_err(damaged)? {
        let (offset, record) = record.map_err(damaged)?;
        seen.push(SeenRecord {
            offset: offset.get(),
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
        });
    }
    Ok(())
}
