//! Topics: create, list, describe, delete; and metadata. Calls that are rare, made through the
//! generated code. Nothing is retried here beyond asking the next endpoint: a person waits. A call
//! that changes something goes to another endpoint only when the last one cannot have seen it.

use std::{collections::BTreeMap, time::Duration};

use forebay_proto::v1::{self, cluster_service_client::ClusterServiceClient};
use thiserror::Error;
use tonic::{Code, Response, Status, transport::Channel};

use crate::{
    asking::{Changes, Failure, Unreachable, ask},
    client::{Client, channel},
    metadata::{ClusterMetadata, PartitionStatus, TopicDescription, TopicMetadata, TopicSummary},
    refusal::Refusal,
};

/// How long one endpoint may take to answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A name that topics may have, and hardly one has.
const NO_TOPIC: &str = "__is-anybody-there__";

/// How long a node may take to show that it is there.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Why metadata could not be had.
#[derive(Debug, Error)]
pub enum MetadataError {
    /// Nobody answered. Worth another try.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The server refused.
    #[error("metadata refused")]
    Refused(#[source] Box<Refusal>),
}

/// Why a topic was not created.
#[derive(Debug, Error)]
pub enum CreateTopicError {
    /// There is one of this name.
    #[error("topic {name} exists")]
    Exists {
        /// The name.
        name: String,
        /// The server's words.
        source: Box<Refusal>,
    },
    /// No answer came. It may have been created.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The server refused, for example a setting it does not know.
    #[error("topic {name} not created")]
    Refused {
        /// The name.
        name: String,
        /// The server's words.
        source: Box<Refusal>,
    },
}

/// Why a topic could not be described.
#[derive(Debug, Error)]
pub enum DescribeTopicError {
    /// There is none of this name.
    #[error("topic {name} does not exist")]
    NotFound {
        /// The name.
        name: String,
        /// The server's words.
        source: Box<Refusal>,
    },
    /// Nobody answered. Worth another try.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The server refused.
    #[error("topic {name} not described")]
    Refused {
        /// The name.
        name: String,
        /// The server's words.
        source: Box<Refusal>,
    },
}

/// Why topics could not be listed.
#[derive(Debug, Error)]
pub enum ListTopicsError {
    /// Nobody answered. Worth another try.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The server refused.
    #[error("topics not listed")]
    Refused(#[source] Box<Refusal>),
}

/// Why a topic was not deleted.
#[derive(Debug, Error)]
pub enum DeleteTopicError {
    /// There is none of this name.
    #[error("topic {name} does not exist")]
    NotFound {
        /// The name.
        name: String,
        /// The server's words.
        source: Box<Refusal>,
    },
    /// No answer came. It may have been deleted.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The server refused.
    #[error("topic {name} not deleted")]
    Refused {
        /// The name.
        name: String,
        /// The server's words.
        source: Box<Refusal>,
    },
}

/// A topic to be made.
#[derive(Debug, Clone, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; `None`: one.
    pub partitions: Option<u32>,
    /// On how many nodes each is stored; `None`: the server's default.
    pub replication_factor: Option<u32>,
    /// On every node, also on those that join later, whatever the factor.
    pub on_every_node: bool,
    /// Settings by name, for example `retention_size` = `4GiB`.
    pub settings: BTreeMap<String, String>,
}

/// The calls about topics, made with the connections of a [`Client`].
#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
}

impl Admin {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Nodes, and the partitions of `topics` (of every topic, when none is named). A topic that does
    /// not exist is missing in the answer; so is everything else when the server takes one that is
    /// missing as a reason to say nothing.
    ///
    /// # Errors
    /// When nobody answers, or the server refuses.
    pub async fn metadata(&self, topics: &[&str]) -> Result<ClusterMetadata, MetadataError> {
        let topics: Vec<String> = topics.iter().map(|&topic| topic.to_owned()).collect();
        let request = v1::GetMetadataRequest { topics };
        let call =
            |mut service: Service, request| async move { service.get_metadata(request).await };
        match self.any_endpoint(Changes::Nothing, request, call).await {
            Ok(response) => {
                let cluster = ClusterMetadata::from(response);
                Ok(cluster.answered_at(&self.client.last_endpoint()))
            }
            Err(Failure::Unreachable(unreachable)) => Err(unreachable.into()),
            Err(Failure::Refused(refusal)) if refusal.code == Code::NotFound => {
                Ok(ClusterMetadata::default())
            }
            Err(Failure::Refused(refusal)) => Err(MetadataError::Refused(refusal)),
        }
    }

    /// Makes a topic. It is on stable storage when this returns.
    ///
    /// # Errors
    /// When it exists, when the server refuses it, or when nobody answers: then it may exist or not.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<TopicMetadata, CreateTopicError> {
        let name = topic.name.clone();
        let request = v1::CreateTopicRequest {
            name: topic.name,
            partitions: topic.partitions.unwrap_or_default(),
            replication_factor: topic.replication_factor.unwrap_or_default(),
            settings: topic.settings.into_iter().collect(),
            on_every_node: topic.on_every_node,
        };
        let call =
            |mut service: Service, request| async move { service.create_topic(request).await };
        match self.any_endpoint(Changes::Something, request, call).await {
            Ok(response) => Ok(response.topic.unwrap_or_default().into()),
            Err(Failure::Unreachable(unreachable)) => Err(unreachable.into()),
            Err(Failure::Refused(source)) if source.code == Code::AlreadyExists => {
                Err(CreateTopicError::Exists { name, source })
            }
            Err(Failure::Refused(source)) => Err(CreateTopicError::Refused { name, source }),
        }
    }

    /// Every topic.
    ///
    /// # Errors
    /// When nobody answers, or the server refuses.
    pub async fn list_topics(&self) -> Result<Vec<TopicSummary>, ListTopicsError> {
        let request = v1::ListTopicsRequest {};
        let call =
            |mut service: Service, request| async move { service.list_topics(request).await };
        match self.any_endpoint(Changes::Nothing, request, call).await {
            Ok(response) => Ok(response.topics.into_iter().map(Into::into).collect()),
            Err(Failure::Unreachable(unreachable)) => Err(unreachable.into()),
            Err(Failure::Refused(refusal)) => Err(ListTopicsError::Refused(refusal)),
        }
    }

    /// A topic with offset ranges and sizes of its partitions.
    ///
    /// # Errors
    /// When there is no such topic, the server refuses, or nobody answers.
    pub async fn describe_topic(&self, name: &str) -> Result<TopicDescription, DescribeTopicError> {
        let request = v1::DescribeTopicRequest { name: name.to_owned() };
        let call =
            |mut service: Service, request| async move { service.describe_topic(request).await };
        let name = name.to_owned();
        match self.any_endpoint(Changes::Nothing, request, call).await {
            Ok(response) => Ok(response.into()),
            Err(Failure::Unreachable(unreachable)) => Err(unreachable.into()),
            Err(Failure::Refused(source)) if source.code == Code::NotFound => {
                Err(DescribeTopicError::NotFound { name, source })
            }
            Err(Failure::Refused(source)) => Err(DescribeTopicError::Refused { name, source }),
        }
    }

    /// Whether a node answers there.
    pub(crate) async fn answers(&self, address: &str) -> bool {
        let Ok((_, channel)) = channel(address.to_owned()) else { return false };
        let mut service = ClusterServiceClient::new(channel);
        // Of a topic that nobody has, so that little is sent.
        let asked =
            service.get_metadata(v1::GetMetadataRequest { topics: vec![NO_TOPIC.to_owned()] });
        matches!(tokio::time::timeout(ANSWER_TIMEOUT, asked).await, Ok(Ok(_)))
    }

    /// What can be read of each partition of a topic, by index.
    ///
    /// # Errors
    /// As for [`Self::describe_topic`].
    pub async fn offsets(&self, topic: &str) -> Result<Vec<PartitionStatus>, DescribeTopicError> {
        Ok(self.describe_topic(topic).await?.partitions)
    }

    /// Deletes a topic. The deletion is on stable storage when this returns; space is given back
    /// soon after.
    ///
    /// # Errors
    /// When there is no such topic, the server refuses, or nobody answers: then it may be deleted.
    pub async fn delete_topic(&self, name: &str) -> Result<(), DeleteTopicError> {
        let request = v1::DeleteTopicRequest { name: name.to_owned() };
        let call =
            |mut service: Service, request| async move { service.delete_topic(request).await };
        let name = name.to_owned();
        match self.any_endpoint(Changes::Something, request, call).await {
            Ok(v1::DeleteTopicResponse {}) => Ok(()),
            Err(Failure::Unreachable(unreachable)) => Err(unreachable.into()),
            Err(Failure::Refused(source)) if source.code == Code::NotFound => {
                Err(DeleteTopicError::NotFound { name, source })
            }
            Err(Failure::Refused(source)) => Err(DeleteTopicError::Refused { name, source }),
        }
    }

    /// Asks one endpoint after the other until one answers.
    async fn any_endpoint<Q, A, F>(
        &self,
        changes: Changes,
        request: Q,
        call: impl Fn(Service, Q) -> F,
    ) -> Result<A, Failure>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let call = |channel, request| call(ClusterServiceClient::new(channel), request);
        ask(&self.client, (changes, CALL_TIMEOUT), request, call).await
    }
}

type Service = ClusterServiceClient<Channel>;
