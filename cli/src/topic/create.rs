//! `forebay topic create`.

use std::fmt::{self, Write};

use forebay_client::{CreateTopicError, NewTopic};
use serde::Serialize;

use crate::{
    arguments::{Create, Factor},
    client::connect,
    failure::Failure,
    output::{self, Report},
    trouble,
};

#[derive(Debug, Serialize)]
struct Created {
    name: String,
    topic_id: Option<String>,
    partitions: usize,
}

pub(super) async fn run(create: Create) -> Result<(), Failure> {
    let topic = NewTopic {
        name: create.name,
        partitions: Some(create.partitions),
        replication_factor: match create.replication_factor {
            Some(Factor::Replicas(replicas)) => Some(replicas),
            Some(Factor::All) | None => None,
        },
        on_every_node: create.replication_factor == Some(Factor::All),
        settings: create.settings.into_iter().collect(),
    };
    let made = connect(&create.connect)?.admin().create_topic(topic).await;
    let made = made.map_err(|error| match error {
        CreateTopicError::Unreachable(error) => trouble::unreachable(&error),
        CreateTopicError::Exists { name, .. } => {
            Failure::error(format!("topic {name} exists already"))
                .hint(format!("`forebay topic describe {name}` shows it."))
        }
        error @ CreateTopicError::Refused { .. } => trouble::refused(&error),
    })?;
    let created = Created {
        name: made.name,
        topic_id: made.id.map(|id| id.to_string()),
        partitions: made.partitions.len(),
    };
    output::print(create.print.format, &created)
}

impl Report for Created {
    fn text(&self, wide: bool, out: &mut String) -> fmt::Result {
        let plural = if self.partitions == 1 { "" } else { "s" };
        write!(out, "created {} with {} partition{plural}", self.name, self.partitions)?;
        if let Some(id) = self.topic_id.as_deref().filter(|_| wide) {
            write!(out, ", id {id}")?;
        }
        out.write_char('\n')
    }
}
