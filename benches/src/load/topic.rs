//! The topic of a load: made with a bound on its size, deleted afterwards.

use std::{collections::BTreeMap, path::Path, sync::OnceLock};

use forebay_client::{Client, CreateTopicError, NewTopic};
use forebay_format::TopicId;

use super::LoadError;
use crate::{args::LoadArgs, units::Size};

/// What must stay free beside the topic: segments that are not deleted yet, and room to breathe.
const MARGIN_BYTES: u64 = 1 << 30;

/// A topic that exists.
#[derive(Debug)]
pub struct Topic {
    name: String,
    /// Made by us, so that it may be deleted.
    made: bool,
}

impl Topic {
    /// Makes the topic, after looking whether there is room. One that exists is used as it is. What
    /// was made is told through `made` at once: whoever gives up this run must know what it left.
    ///
    /// # Errors
    /// When there is no room, or the server does not make it.
    pub async fn make(
        client: &Client,
        args: &LoadArgs,
        data: Option<&Path>,
        made: &OnceLock<TopicId>,
    ) -> Result<Self, LoadError> {
        if let Some(data) = data {
            check_room(data, args.retention_size)?;
        }
        let per_partition = Size(args.retention_size.0 / u64::from(args.partitions.max(1)));
        let settings = BTreeMap::from([("retention_size".to_owned(), per_partition.to_string())]);
        let topic = NewTopic {
            name: args.topic.clone(),
            partitions: Some(args.partitions),
            replication_factor: args.replication_factor,
            settings,
            ..NewTopic::default()
        };
        match client.admin().create_topic(topic).await {
            Ok(topic) => {
                if let Some(id) = topic.id {
                    let _only_one_is_made = made.set(id);
                }
                Ok(Self { name: args.topic.clone(), made: true })
            }
            Err(CreateTopicError::Exists { .. }) => Self::existing(client, args).await,
            Err(error) => Err(error.into()),
        }
    }

    /// A topic that must exist.
    ///
    /// # Errors
    /// When it does not, or has another number of partitions.
    pub async fn existing(client: &Client, args: &LoadArgs) -> Result<Self, LoadError> {
        let found = client.admin().describe_topic(&args.topic).await?.partitions.len();
        if found != args.partitions as usize {
            let topic = args.topic.clone();
            return Err(LoadError::Partitions { topic, found, expected: args.partitions });
        }
        Ok(Self { name: args.topic.clone(), made: false })
    }

    /// Whether it was made by us.
    pub fn is_new(&self) -> bool {
        self.made
    }

    /// Deletes it if it was made by us and is not to be kept.
    ///
    /// # Errors
    /// When the server does not delete it.
    pub async fn clean_up(self, client: &Client, keep: bool) -> Result<(), LoadError> {
        if self.made && !keep {
            client.admin().delete_topic(&self.name).await?;
        }
        Ok(())
    }
}

/// Deletes the topic of this name unless it is another one by now.
///
/// # Errors
/// When nobody answers, or the server does not delete it.
pub async fn delete_if_same(client: &Client, name: &str, id: TopicId) -> Result<(), LoadError> {
    let now = client.admin().describe_topic(name).await?.topic;
    if now.id == Some(id) {
        client.admin().delete_topic(name).await?;
    }
    Ok(())
}

fn check_room(data: &Path, needed: Size) -> Result<(), LoadError> {
    let disk = rustix::fs::statvfs(data).map_err(std::io::Error::from)?;
    let free = Size(disk.f_bavail.saturating_mul(disk.f_frsize));
    let needed = Size(needed.0.saturating_add(needed.0 / 4).saturating_add(MARGIN_BYTES));
    if free < needed {
        return Err(LoadError::NoRoom { directory: data.to_owned(), free, needed });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_would_fill_the_disk_is_refused() {
        let here = Path::new(".");
        check_room(here, Size(0)).unwrap();
        let error = check_room(here, Size(u64::MAX / 2)).unwrap_err();
        assert!(matches!(error, LoadError::NoRoom { .. }), "{error}");
    }
}
