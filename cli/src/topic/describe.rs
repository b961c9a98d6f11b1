//! `forebay topic describe`.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

use forebay_client::{PartitionMetadata, PartitionStatus, TopicDescription};
use serde::Serialize;

use super::factor;
use crate::{
    arguments::Describe,
    client::connect,
    failure::Failure,
    output::{self, Report, Table},
    trouble,
};

#[derive(Debug, Serialize)]
struct Description {
    name: String,
    topic_id: Option<String>,
    replication_factor: u32,
    on_every_node: bool,
    settings: BTreeMap<String, String>,
    partitions: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    partition: u32,
    /// Node id; nothing when there is no leader now.
    leader: Option<u32>,
    epoch: u64,
    shard: u32,
    replicas: Vec<u32>,
    in_sync: Vec<u32>,
    earliest_offset: u64,
    /// Exclusive end of what can be read.
    committed_offset: u64,
    size_bytes: u64,
    segments: u32,
    state: String,
}

pub(super) async fn run(describe: Describe) -> Result<(), Failure> {
    let description = connect(&describe.connect)?.admin().describe_topic(&describe.name).await;
    let description = description.map_err(|error| trouble::describing(&error))?;
    output::print(describe.print.format, &Description::from(description))
}

impl From<TopicDescription> for Description {
    fn from(description: TopicDescription) -> Self {
        let served = &description.topic.partitions;
        let line = |status: PartitionStatus| {
            let served = served.iter().find(|served| served.partition == status.partition);
            Line::new(status, served)
        };
        Self {
            partitions: description.partitions.into_iter().map(line).collect(),
            name: description.topic.name,
            topic_id: description.topic.id.map(|id| id.to_string()),
            replication_factor: description.replication_factor,
            on_every_node: description.on_every_node,
            settings: description.settings,
        }
    }
}

impl Line {
    /// `served` says who serves the partition, if that is known.
    fn new(status: PartitionStatus, served: Option<&PartitionMetadata>) -> Self {
        let (replicas, in_sync) =
            served.map_or((&[][..], &[][..]), |served| (&served.replicas, &served.in_sync));
        Self {
            partition: status.partition.get(),
            leader: served.and_then(|served| Some(served.leader?.get())),
            epoch: served.map_or(0, |served| served.epoch.get()),
            shard: served.map_or(0, |served| served.shard),
            replicas: replicas.iter().map(|node| node.get()).collect(),
            in_sync: in_sync.iter().map(|node| node.get()).collect(),
            earliest_offset: status.earliest.get(),
            committed_offset: status.committed.get(),
            size_bytes: status.size_bytes,
            segments: status.segments,
            state: status.state,
        }
    }
}

impl Report for Description {
    fn text(&self, wide: bool, out: &mut String) -> fmt::Result {
        writeln!(out, "topic        {}", self.name)?;
        if let Some(id) = self.topic_id.as_deref().filter(|_| wide) {
            writeln!(out, "id           {id}")?;
        }
        writeln!(out, "replication  {}", factor(self.replication_factor, self.on_every_node))?;
        for (name, value) in &self.settings {
            writeln!(out, "setting      {name} = {value}")?;
        }
        let mut table = Table::with_heading([
            "PARTITION",
            "LEADER",
            "EPOCH",
            "EARLIEST",
            "END",
            "SIZE",
            "STATE",
            "SHARD",
            "SEGMENTS",
            "REPLICAS",
            "IN SYNC",
        ]);
        for partition in &self.partitions {
            table.row([
                partition.partition.to_string(),
                partition.leader.map_or_else(|| "none".to_owned(), |node| node.to_string()),
                partition.epoch.to_string(),
                partition.earliest_offset.to_string(),
                partition.committed_offset.to_string(),
                output::bytes(partition.size_bytes),
                partition.state.clone(),
                partition.shard.to_string(),
                partition.segments.to_string(),
                list(&partition.replicas),
                list(&partition.in_sync),
            ]);
        }
        if !wide {
            for column in ["SHARD", "SEGMENTS", "REPLICAS", "IN SYNC"] {
                table.drop_column(column);
            }
        }
        write!(out, "\n{table}")
    }
}

fn list(nodes: &[u32]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
