//! Topics made and deleted through any number of restarts: asks again until there is an answer,
//! and notes request and answer.

use std::time::Duration;

use forebay_client::{
    Client, CreateTopicError, DeleteTopicError, DescribeTopicError, NewTopic, TopicMetadata,
};

use super::fact::{Fact, Incarnation, TopicPlan};
use super::recorder::Recorder;
use crate::subject::RigError;

/// Between two attempts while the server is away.
const PAUSE: Duration = Duration::from_millis(20);

/// Makes a topic.
pub(super) async fn create(
    client: &Client,
    recorder: &Recorder,
    plan: &TopicPlan,
) -> Result<(), RigError> {
    let settings = plan
        .retention
        .map(|retention| ("retention_size".to_owned(), format!("{}B", retention.size_bytes)));
    let topic = NewTopic {
        name: plan.name.clone(),
        partitions: Some(plan.partitions),
        settings: settings.into_iter().collect(),
        ..NewTopic::default()
    };
    recorder.note(Fact::CreateRequested(plan.clone()));
    let made = loop {
        match client.admin().create_topic(topic.clone()).await {
            Ok(made) => break made,
            // Made by an attempt whose answer was lost.
            Err(CreateTopicError::Exists { .. }) => break describe(client, &plan.name).await?,
            Err(CreateTopicError::Unreachable(_)) => {}
            Err(CreateTopicError::Refused { source, .. }) if source.is_retriable() => {}
            Err(error) => return Err(RigError::at("cannot create a topic")(error)),
        }
        tokio::time::sleep(PAUSE).await;
    };
    let Some(id) = made.id else {
        return Err(RigError::Unusable(format!("topic {} has no identity", plan.name)));
    };
    let (incarnation, topic_id) = (plan.incarnation, id.to_string());
    recorder.note(Fact::Created { incarnation, topic_id });
    Ok(())
}

async fn describe(client: &Client, name: &str) -> Result<TopicMetadata, RigError> {
    loop {
        match client.admin().describe_topic(name).await {
            Ok(description) => return Ok(description.topic),
            Err(DescribeTopicError::Unreachable(_)) => {}
            Err(DescribeTopicError::Refused { source, .. }) if source.is_retriable() => {}
            Err(error) => return Err(RigError::at("cannot describe a topic")(error)),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Deletes a topic.
pub(super) async fn delete(
    client: &Client,
    recorder: &Recorder,
    name: &str,
    incarnation: Incarnation,
) -> Result<(), RigError> {
    recorder.note(Fact::DeleteRequested { incarnation });
    loop {
        match client.admin().delete_topic(name).await {
            // Or deleted by an attempt whose answer was lost.
            Ok(()) | Err(DeleteTopicError::NotFound { .. }) => break,
            Err(DeleteTopicError::Unreachable(_)) => {}
            Err(DeleteTopicError::Refused { source, .. }) if source.is_retriable() => {}
            Err(error) => return Err(RigError::at("cannot delete a topic")(error)),
        }
        tokio::time::sleep(PAUSE).await;
    }
    recorder.note(Fact::Deleted { incarnation });
    Ok(())
}
