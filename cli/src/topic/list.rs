//! `forebay topic list`.

use std::fmt::{self, Write};

use forebay_client::{ListTopicsError, TopicSummary};
use serde::Serialize;

use super::factor;
use crate::{
    arguments::List,
    client::connect,
    failure::Failure,
    output::{self, Report, Table},
    trouble,
};

#[derive(Debug, Serialize)]
struct Topics {
    topics: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    name: String,
    topic_id: String,
    partitions: u32,
    replication_factor: u32,
    on_every_node: bool,
}

pub(super) async fn run(list: List) -> Result<(), Failure> {
    let topics = connect(&list.connect)?.admin().list_topics().await;
    let topics = topics.map_err(|error| match error {
        ListTopicsError::Unreachable(error) => trouble::unreachable(&error),
        error @ ListTopicsError::Refused(_) => trouble::refused(&error),
    })?;
    let topics = topics.into_iter().map(Line::from).collect();
    output::print(list.print.format, &Topics { topics })
}

impl From<TopicSummary> for Line {
    fn from(topic: TopicSummary) -> Self {
        Self {
            name: topic.name,
            topic_id: topic.id,
            partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            on_every_node: topic.on_every_node,
        }
    }
}

impl Report for Topics {
    fn text(&self, wide: bool, out: &mut String) -> fmt::Result {
        let mut table = Table::with_heading(["NAME", "PARTITIONS", "REPLICATION", "TOPIC ID"]);
        for topic in &self.topics {
            table.row([
                topic.name.clone(),
                topic.partitions.to_string(),
                factor(topic.replication_factor, topic.on_every_node),
                topic.topic_id.clone(),
            ]);
        }
        if !wide {
            table.drop_column("TOPIC ID");
        }
        write!(out, "{table}")
    }
}
