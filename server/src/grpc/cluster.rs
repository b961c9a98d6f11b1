//! `ClusterService`: topics, and where their partitions are served.

use std::rc::Rc;

use forebay_format::TopicName;
use forebay_proto::v1;
use forebay_proto::v1::cluster_service_server::ClusterService;
use futures_util::{StreamExt, stream};
use send_wrapper::SendWrapper;
use tonic::{Request, Response, Status};

use super::convert;
use super::services::Services;
use super::status::{Failure, Refusal};
use crate::bridge::ControlRequest;
use crate::catalog::ServedTopic;
use crate::config::{REPLICAS, WriteConcern};
use crate::leadership::TopicDraft;

/// Partitions of one topic that are asked at a time. Each answer may open a log.
const PARTITIONS_ASKED_AT_A_TIME: usize = 16;

/// The service of one shard. Never leaves the shard, whatever the generated code asks for.
pub(super) struct ClusterApi(SendWrapper<Rc<Services>>);

impl ClusterApi {
    pub(super) fn new(services: Rc<Services>) -> Self {
        Self(SendWrapper::new(services))
    }

    /// Runs a call on this shard.
    async fn answer<T>(
        &self,
        call: impl AsyncFnOnce(&Services) -> Result<T, Failure>,
    ) -> Result<Response<T>, Status> {
        let services = self.0.clone();
        SendWrapper::new(async move {
            call(&services).await.map(Response::new).map_err(Failure::into_status)
        })
        .await
    }
}

#[tonic::async_trait]
impl ClusterService for ClusterApi {
    async fn get_metadata(
        &self,
        request: Request<v1::GetMetadataRequest>,
    ) -> Result<Response<v1::GetMetadataResponse>, Status> {
        self.answer(async |services| get_metadata(services, &request.into_inner())).await
    }

    async fn create_topic(
        &self,
        request: Request<v1::CreateTopicRequest>,
    ) -> Result<Response<v1::CreateTopicResponse>, Status> {
        self.answer(async |services| create_topic(services, request.into_inner()).await).await
    }

    async fn list_topics(
        &self,
        _: Request<v1::ListTopicsRequest>,
    ) -> Result<Response<v1::ListTopicsResponse>, Status> {
        self.answer(async |services| {
            let all = services.catalog.all();
            let topics = all.iter().map(|served| convert::topic_summary(&served.topic)).collect();
            Ok(v1::ListTopicsResponse { topics })
        })
        .await
    }

    async fn describe_topic(
        &self,
        request: Request<v1::DescribeTopicRequest>,
    ) -> Result<Response<v1::DescribeTopicResponse>, Status> {
        self.answer(async |services| describe_topic(services, &request.into_inner().name).await)
            .await
    }

    async fn delete_topic(
        &self,
        request: Request<v1::DeleteTopicRequest>,
    ) -> Result<Response<v1::DeleteTopicResponse>, Status> {
        self.answer(async |services| {
            let name = TopicName::new(&request.into_inner().name)?;
            let delete = |reply| ControlRequest::DeleteTopic { name, reply };
            services.control.ask(delete).await.map_err(|_gone| Refusal::Stopping)??;
            Ok(v1::DeleteTopicResponse {})
        })
        .await
    }
}

fn get_metadata(
    services: &Services,
    request: &v1::GetMetadataRequest,
) -> Result<v1::GetMetadataResponse, Failure> {
    let topics = if request.topics.is_empty() {
        services.catalog.all()
    } else {
        services.topics(&request.topics)?
    };
    let (facts, view) = (&services.facts, services.watch.borrow());
    Ok(v1::GetMetadataResponse {
        cluster_id: facts.cluster.to_string(),
        nodes: view.nodes.iter().map(|(id, node)| convert::node(*id, node, services)).collect(),
        topics: topics.iter().map(|served| convert::topic_metadata(served, services)).collect(),
    })
}

async fn create_topic(
    services: &Services,
    request: v1::CreateTopicRequest,
) -> Result<v1::CreateTopicResponse, Failure> {
    let name = TopicName::new(&request.name)?;
    let settings = request.settings.into_iter().collect();
    let with_defaults = services.facts.config.topics.defaults.with(&settings)?;
    let replication_factor = match request.replication_factor {
        0 => services.replication_factor(),
        wanted => wanted,
    };
    if services.replicas.is_none() && replication_factor > REPLICAS {
        return Err(Refusal::Request {
            field: "replication_factor",
            message: format!("a single node keeps {REPLICAS} replica, not {replication_factor}"),
        }
        .into());
    }
    if let WriteConcern::Replicas(wanted) = with_defaults.write_concern
        && wanted > replication_factor
    {
        let message = format!(
            "write_concern: the topic has {replication_factor} replicas of each partition, not {wanted}"
        );
        return Err(Refusal::Request { field: "settings", message }.into());
    }
    let partitions = request.partitions.max(1);
    let draft = TopicDraft { name, partitions, replication_factor, settings };
    let topic = services.create(draft).await?;
    let served = services.topic(topic.name.as_str())?;
    let topic = Some(convert::topic_metadata(&served, services));
    Ok(v1::CreateTopicResponse { topic })
}

async fn describe_topic(
    services: &Services,
    name: &str,
) -> Result<v1::DescribeTopicResponse, Failure> {
    let served = services.topic(name)?;
    let partitions = stream::iter(0..served.topic.partitions)
        .map(|partition| partition_status(&served, partition))
        .buffered(PARTITIONS_ASKED_AT_A_TIME)
        .collect()
        .await;
    Ok(v1::DescribeTopicResponse {
        topic: Some(convert::topic_metadata(&served, services)),
        replication_factor: served.topic.replication_factor,
        settings: served.topic.settings.clone().into_iter().collect(),
        partitions,
    })
}

async fn partition_status(served: &ServedTopic, partition: u32) -> v1::PartitionStatus {
    let handle = served.partition(partition).expect("a partition below the topic's count");
    match handle.status().await {
        Ok(status) => v1::PartitionStatus {
            partition,
            earliest_offset: status.earliest.get(),
            committed_offset: status.committed.get(),
            size_bytes: status.size_bytes,
            segments: u32::try_from(status.segments).unwrap_or(u32::MAX),
            state: "ok".to_owned(),
        },
        Err(error) => {
            v1::PartitionStatus { partition, state: error.to_string(), ..Default::default() }
        }
    }
}
