//! What the services of a shard work with, and how they find and make topics.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use forebay_engine::{AppendError, ReadError, ReserveError, WriteRefusal};
use forebay_format::limits::TOPICS_MAX;
use forebay_format::{ClusterId, NodeId, PartitionId, TopicName};
use forebay_proto::v1;

use super::carry::Carrying;
use super::metrics::ServerMetrics;
use super::open_requests::OpenRequests;
use super::status::{Failure, Refusal};
use crate::bridge::{ControlLink, ControlRequest};
use crate::catalog::{Catalog, ServedTopic};
use crate::config::{Config, REPLICAS, REPLICAS_OF_CLUSTER};
use crate::faults::Faults;
use crate::leadership::{
    ClusterWatch, CreateTopicError, Leaders, NodeRegistration, Topic, TopicDraft,
};
use crate::net::StopSignal;
use crate::operations::Operations;
use crate::replication::Replicas;

/// What the node says about itself.
#[derive(Debug)]
pub(crate) struct NodeFacts {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeRegistration,
    pub(crate) config: Config,
    /// Where they are enabled.
    pub(crate) faults: Option<Faults>,
}

/// See the module. One for each shard.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) catalog: Catalog,
    /// Of a node among others.
    pub(crate) replicas: Option<Replicas>,
    pub(crate) leaders: Arc<Leaders>,
    /// The nodes.
    pub(crate) watch: ClusterWatch,
    /// What people are told of nodes and events.
    pub(crate) operations: Operations,
    pub(crate) control: ControlLink,
    pub(crate) facts: Arc<NodeFacts>,
    /// Streams end when this is said.
    pub(crate) drain: StopSignal,
    pub(crate) metrics: Arc<ServerMetrics>,
    /// Requests that a stopping node waits for.
    pub(crate) open_requests: OpenRequests,
}

impl Services {
    /// The topic of this name.
    pub(crate) fn topic(&self, name: &str) -> Result<Rc<ServedTopic>, Failure> {
        let name = TopicName::new(name)?;
        self.catalog.get(name.as_str()).ok_or_else(|| Refusal::UnknownTopic(name).into())
    }

    /// The topic of this name, if it has this id too, or the id is empty.
    pub(crate) fn topic_with_id(&self, name: &str, id: &str) -> Result<Rc<ServedTopic>, Failure> {
        let served = self.topic(name)?;
        if !id.is_empty() && id != served.topic.id.to_string() {
            let topic = served.topic.name.clone();
            return Err(Refusal::OtherTopic { topic, id: served.topic.id.to_string() }.into());
        }
        Ok(served)
    }

    /// Those of these topics that exist, each once.
    pub(crate) fn topics(&self, names: &[String]) -> Result<Vec<Rc<ServedTopic>>, Failure> {
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        if names.len() > TOPICS_MAX {
            let message = format!("expected at most {TOPICS_MAX} topics, found {}", names.len());
            return Err(Refusal::Request { field: "topics", message }.into());
        }
        let mut found = Vec::new();
        for name in names {
            found.extend(self.catalog.get(TopicName::new(name)?.as_str()));
        }
        Ok(found)
    }

    /// The topic of this name, and of this id if that is not empty; without, it is made where that is
    /// allowed.
    pub(crate) async fn topic_to_produce(
        &self,
        name: &str,
        id: &str,
    ) -> Result<Rc<ServedTopic>, Failure> {
        if !id.is_empty() {
            return self.topic_with_id(name, id);
        }
        let name = TopicName::new(name)?;
        if let Some(served) = self.catalog.get(name.as_str()) {
            return Ok(served);
        }
        if !self.facts.config.topics.auto_create {
            return Err(Refusal::UnknownTopic(name).into());
        }
        let draft = TopicDraft::with_defaults(name.clone(), self.replication_factor());
        match self.create(draft).await {
            // Somebody was faster.
            Ok(_) | Err(CreateOutcome::Refused(CreateTopicError::Exists(_))) => {}
            Err(CreateOutcome::Refused(error)) => return Err(error.into()),
            Err(CreateOutcome::Stopping) => return Err(Refusal::Stopping.into()),
        }
        self.catalog.get(name.as_str()).ok_or_else(|| Refusal::UnknownTopic(name).into())
    }

    /// Replicas of each partition of a topic for which nobody has said how many.
    pub(crate) fn replication_factor(&self) -> u32 {
        if self.replicas.is_some() { REPLICAS_OF_CLUSTER } else { REPLICAS }
    }

    /// Who a peer says that it is.
    ///
    /// # Errors
    /// It is of another cluster, or means another node.
    pub(crate) fn greet(&self, hello: &v1::PeerHello) -> Result<NodeId, Refusal> {
        greeted(hello, self.facts.cluster, self.facts.node.id)
    }

    /// Why an append failed, with the leader's name where that is what is wrong.
    /// One that lets itself be carried does not hear of that.
    pub(crate) fn append_failure(
        &self,
        partition: PartitionId,
        carrying: Carrying,
        error: AppendError,
    ) -> Failure {
        match error {
            AppendError::NotAdmitted(WriteRefusal::NotLeader { leader }) => {
                self.not_leader(partition, carrying, leader)
            }
            AppendError::Refused(ReserveError::Unknown) => {
                self.not_here(partition, carrying, error.into())
            }
            error => error.into(),
        }
    }

    /// Likewise for a read.
    pub(crate) fn read_failure(
        &self,
        partition: PartitionId,
        carrying: Carrying,
        error: ReadError,
    ) -> Failure {
        match error {
            ReadError::Unknown => self.not_here(partition, carrying, error.into()),
            // R13: the reader is ahead of this replica, and neither is wrong.
            ReadError::OutOfRange { requested, latest, .. }
                if requested > latest
                    && self.replicas.is_some()
                    && !self.leaders.serves(partition) =>
            {
                self.not_leader(partition, carrying, None)
            }
            ReadError::Ahead { .. } => self.not_leader(partition, carrying, None),
            error => error.into(),
        }
    }

    /// The partition may be on other nodes.
    fn not_here(&self, partition: PartitionId, carrying: Carrying, otherwise: Failure) -> Failure {
        match &self.replicas {
            Some(_) => self.not_leader(partition, carrying, None),
            None => otherwise,
        }
    }

    /// Somebody else leads, or nobody.
    pub(crate) fn not_leader(
        &self,
        partition: PartitionId,
        carrying: Carrying,
        leader: Option<NodeId>,
    ) -> Failure {
        let standing = self.leaders.of(partition);
        let leader = leader.or(standing.leader).filter(|id| *id != self.facts.node.id);
        let Some(leader) = leader.filter(|_| !carrying.is_allowed()) else {
            return Refusal::NoLeader.into();
        };
        let address = self.watch.borrow().nodes.get(&leader).map(|node| node.address.clone());
        let (address, epoch) = (address.unwrap_or_default(), standing.epoch);
        Refusal::NotLeader { leader, address, epoch }.into()
    }

    /// Asks the control thread for a topic.
    pub(crate) async fn create(&self, draft: TopicDraft) -> Result<Arc<Topic>, CreateOutcome> {
        let asked = self.control.ask(|reply| ControlRequest::CreateTopic { draft, reply }).await;
        asked.map_err(|_gone| CreateOutcome::Stopping)?.map_err(CreateOutcome::Refused)
    }
}

/// Who says this to a node of that cluster.
fn greeted(hello: &v1::PeerHello, cluster: ClusterId, node: NodeId) -> Result<NodeId, Refusal> {
    let wrong = |message| Err(Refusal::Request { field: "hello", message });
    if hello.cluster_id != cluster.to_bytes()[..] {
        return wrong(format!("a peer of another cluster; this node belongs to {cluster}"));
    }
    if hello.to_node != node.get() {
        return wrong(format!("a peer that means node {}; this is node {node}", hello.to_node));
    }
    Ok(NodeId::new(hello.from_node))
}

/// Why there is no new topic.
#[derive(Debug)]
pub(crate) enum CreateOutcome {
    Refused(CreateTopicError),
    Stopping,
}

impl From<CreateOutcome> for Failure {
    fn from(outcome: CreateOutcome) -> Self {
        match outcome {
            CreateOutcome::Refused(error) => error.into(),
            CreateOutcome::Stopping => Refusal::Stopping.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_of_another_cluster_or_for_another_node_is_refused() {
        let (cluster, node) = (ClusterId::from_bytes([7; 16]), NodeId::new(1));
        let good = v1::PeerHello { cluster_id: vec![7; 16].into(), from_node: 2, to_node: 1 };
        assert_eq!(greeted(&good, cluster, node).ok(), Some(NodeId::new(2)));
        let refused = |hello| match greeted(&hello, cluster, node) {
            Err(Refusal::Request { field: "hello", message }) => message,
            other => panic!("{other:?}"),
        };
        for cluster_id in [vec![], vec![7; 15], vec![7; 17], vec![8; 16]] {
            let hello = v1::PeerHello { cluster_id: cluster_id.into(), ..good.clone() };
            let expected = format!("a peer of another cluster; this node belongs to {cluster}");
            assert_eq!(refused(hello), expected);
        }
        let other = refused(v1::PeerHello { to_node: 3, ..good });
        assert_eq!(other, "a peer that means node 3; this is node 1");
    }
}
