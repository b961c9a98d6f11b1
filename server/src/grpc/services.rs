//! What all services of a shard have in common.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};

use forebay_format::{ClusterId, TopicName};

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
    pub(crate) config: Config,
}

/// Counters of one shard's services. Written by the shard, read by the control thread.
#[derive(Debug, Default)]
pub(crate) struct ServerMetrics {
    pub(crate) produce_streams: AtomicU64,
    pub(crate) consume_streams: AtomicU64,
    /// Batches that were refused or whose outcome is unknown.
    pub(crate) produce_errors: AtomicU64,
    /// Bytes of batches that consumers were sent.
    pub(crate) consumed_bytes: AtomicU64,
}

/// Adds to a counter that only this thread writes.
pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
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

    /// Those of these topics that exist.
    pub(crate) fn topics(&self, names: &[String]) -> Result<Vec<Rc<ServedTopic>>, Failure> {
        let mut found = Vec::new();
        for name in names {
            found.extend(self.catalog.get(TopicName::new(name)?.as_str()));
        }
        Ok(found)
    }

    /// The topic of this name; it is made where that is allowed.
    pub(crate) async fn topic_to_produce(&self, name: &str) -> Result<Rc<ServedTopic>, Failure> {
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

/// Requests that a stopping node waits for. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenRequests(Rc<Count>);

#[derive(Debug, Default)]
struct Count {
    open: Cell<usize>,
    waiting: RefCell<Option<Waker>>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenRequest(Rc<Count>);

impl OpenRequests {
    /// Counts one more.
    pub(super) fn begin(&self) -> OpenRequest {
        self.0.open.set(self.0.open.get() + 1);
        OpenRequest(self.0.clone())
    }

    /// Returns when there are none. One task may wait.
    pub(crate) async fn none(&self) {
        poll_fn(|cx| {
            if self.0.open.get() == 0 {
                return Poll::Ready(());
            }
            *self.0.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        if self.0.open.get() == 0
            && let Some(waiting) = self.0.waiting.take()
        {
            waiting.wake();
        }
    }
}
