//! What the services of a shard work with, and how they find and make topics.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use forebay_format::limits::TOPICS_MAX;
use forebay_format::{ClusterId, TopicName};

use super::metrics::ServerMetrics;
use super::open_requests::OpenRequests;
use super::status::{Failure, Refusal};
use crate::bridge::{ControlLink, ControlRequest};
use crate::catalog::{Catalog, ServedTopic};
use crate::config::Config;
use crate::leadership::{CreateTopicError, NodeRegistration, Topic, TopicDraft};
use crate::net::StopSignal;

/// What the node says about itself.
#[derive(Debug)]
pub(crate) struct NodeFacts {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeRegistration,
    /// How many the node has, whether or not it tells where they are.
    pub(crate) shards: u32,
    pub(crate) config: Config,
}

/// See the module. One for each shard.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) catalog: Catalog,
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
        match self.create(TopicDraft::with_defaults(name.clone())).await {
            // Somebody was faster.
            Ok(_) | Err(CreateOutcome::Refused(CreateTopicError::Exists(_))) => {}
            Err(CreateOutcome::Refused(error)) => return Err(error.into()),
            Err(CreateOutcome::Stopping) => return Err(Refusal::Stopping.into()),
        }
        self.catalog.get(name.as_str()).ok_or_else(|| Refusal::UnknownTopic(name).into())
    }

    /// Asks the control thread for a topic.
    pub(crate) async fn create(&self, draft: TopicDraft) -> Result<Arc<Topic>, CreateOutcome> {
        let asked = self.control.ask(|reply| ControlRequest::CreateTopic { draft, reply }).await;
        asked.map_err(|_gone| CreateOutcome::Stopping)?.map_err(CreateOutcome::Refused)
    }
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
