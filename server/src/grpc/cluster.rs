//! `ClusterService`: topics, and where their partitions are served.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use forebay_format::{NodeId, PartitionId, TopicName};
use forebay_proto::v1;
use forebay_proto::v1::cluster_service_server::ClusterService;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, stream};
use send_wrapper::SendWrapper;
use tonic::{Request, Response, Status};

use super::carry::{self, Carrying, Destination};
use super::convert;
use super::creation::{self, Place};
use super::services::Services;
use super::status::{Failure, Refusal};
use crate::bridge::ControlRequest;
use crate::catalog::ServedTopic;
use crate::net;

const DESCRIBE_TOPIC: &str = "/forebay.v1.ClusterService/DescribeTopic";

/// The state of a partition of which there is nothing to say.
const OK: &str = "ok";

/// How long leaders may take to describe what they lead.
const LEADERS_PATIENCE: Duration = Duration::from_secs(2);

/// How long one of them may take, before it is looked whether another one leads.
const LEADER_PATIENCE: Duration = Duration::from_secs(1);

/// When a partition has no leader that answers, another one is looked for this often.
const ASK_AGAIN: Duration = Duration::from_millis(100);

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
        let (metadata, _, request) = request.into_parts();
        let headers = metadata.into_headers();
        self.answer(async |services| {
            let carrying = Carrying::of(&headers, services);
            describe_topic(services, &request.name, carrying).await
        })
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
    let nodes = services.replicas.is_some().then(|| services.watch.borrow().nodes.len());
    let place = Place {
        defaults: &services.facts.config.topics.defaults,
        replication_factor: services.replication_factor(),
        nodes,
    };
    let draft = creation::draft(request, place)?;
    let topic = services.create(draft).await?;
    let served = services.topic(topic.name.as_str())?;
    let topic = Some(convert::topic_metadata(&served, services));
    Ok(v1::CreateTopicResponse { topic })
}

async fn describe_topic(
    services: &Services,
    name: &str,
    carrying: Carrying,
) -> Result<v1::DescribeTopicResponse, Failure> {
    let served = services.topic(name)?;
    let mut partitions: Vec<_> = stream::iter(0..served.topic.partitions)
        .map(|partition| partition_status(&served, partition))
        .buffered(PARTITIONS_ASKED_AT_A_TIME)
        .collect()
        .await;
    if carrying.is_allowed() {
        ask_leaders(services, &served, &mut partitions).await;
    }
    Ok(v1::DescribeTopicResponse {
        topic: Some(convert::topic_metadata(&served, services)),
        replication_factor: served.topic.replication_factor,
        on_every_node: served.topic.on_every_node,
        settings: served.topic.settings.clone().into_iter().collect(),
        partitions,
    })
}

/// Has each partition described by the node that leads it: a replica that follows knows less, and this node may
/// have none. Where nobody answers in time as the leader it stays as it is, and says so.
async fn ask_leaders(
    services: &Services,
    served: &ServedTopic,
    partitions: &mut [v1::PartitionStatus],
) {
    let mut left: BTreeSet<PartitionId> = served.topic.partition_ids().collect();
    let asked = async {
        loop {
            left.retain(|partition| !services.leaders.serves(*partition));
            ask_once(services, served, partitions, &mut left).await;
            if left.is_empty() {
                return;
            }
            // There may be a leader in a moment.
            net::sleep(ASK_AGAIN).await;
        }
    };
    net::timeout(LEADERS_PATIENCE, asked).await;
    let node = services.facts.node.id;
    for id in left {
        if let Some(status) = partitions.get_mut(id.partition.get() as usize)
            && status.state == OK
        {
            status.state = format!("no leader answers: as node {node} knows it");
        }
    }
}

/// Asks those who lead now, each once. Whoever answers is no longer `left`.
async fn ask_once(
    services: &Services,
    served: &ServedTopic,
    partitions: &mut [v1::PartitionStatus],
    left: &mut BTreeSet<PartitionId>,
) {
    let led: BTreeMap<u32, (PartitionId, Destination)> = left
        .iter()
        .filter_map(|id| Some((id.partition.get(), (*id, Destination::of_leader(services, *id)?))))
        .collect();
    let nodes: BTreeMap<NodeId, Destination> = led.values().map(|(_, to)| (to.node, *to)).collect();
    let request = v1::DescribeTopicRequest { name: served.topic.name.to_string() };
    let asked = nodes.into_values().map(async |to| {
        let answer =
            carry::ask::<v1::DescribeTopicResponse>(services, to, DESCRIBE_TOPIC, &request);
        (to.node, net::timeout(LEADER_PATIENCE, answer).await.flatten())
    });
    let mut asked: FuturesUnordered<_> = asked.collect();
    while let Some((node, answer)) = asked.next().await {
        for status in answer.into_iter().flat_map(|answer| answer.partitions) {
            let at = status.partition as usize;
            let asked = led.get(&status.partition).filter(|(_, to)| to.node == node);
            if let (Some((id, _)), Some(place)) = (asked, partitions.get_mut(at)) {
                left.remove(id);
                *place = status;
            }
        }
    }
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
            state: OK.to_owned(),
        },
        Err(error) => {
            v1::PartitionStatus { partition, state: error.to_string(), ..Default::default() }
        }
    }
}
