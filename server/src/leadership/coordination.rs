//! Whichever of the two a node agrees with: itself, or others through etcd.

use std::sync::Arc;

use forebay_format::{PartitionId, TopicId, TopicName};
use futures_util::future::BoxFuture;

use super::ClusterWatch;
use super::clustered::ClusterCoordinator;
use super::coordinator::{
    Coordinator, CreateTopicError, DeleteTopicError, Leadership, NodeRegistration, Registered,
    Removal, TopicChange, TopicDraft,
};
use super::file::StateFileError;
use super::local::LocalCoordinator;
use super::topic::Topic;

/// See the module.
pub(crate) enum Coordination {
    /// The node is alone.
    Alone(LocalCoordinator),
    /// It is one of several.
    Clustered(Box<ClusterCoordinator>),
}

impl Coordination {
    /// Gives back what others may have.
    pub(crate) async fn stop(self) {
        match self {
            Self::Alone(_) => {}
            Self::Clustered(clustered) => clustered.stop().await,
        }
    }
}

/// Calls the same method of whichever it is.
macro_rules! either {
    ($self:expr, $one:ident => $call:expr) => {
        match $self {
            Coordination::Alone($one) => $call,
            Coordination::Clustered($one) => $call,
        }
    };
}

impl Coordinator for Coordination {
    fn watch(&self) -> ClusterWatch {
        either!(self, it => it.watch())
    }

    async fn changed(&mut self) -> TopicChange {
        either!(self, it => it.changed().await)
    }

    async fn register(&mut self, node: NodeRegistration) -> Result<Registered, StateFileError> {
        either!(self, it => it.register(node).await)
    }

    fn joined(&self) -> BoxFuture<'static, ()> {
        either!(self, it => it.joined())
    }

    async fn topics(&mut self) -> Result<Vec<Arc<Topic>>, StateFileError> {
        either!(self, it => it.topics().await)
    }

    async fn create_topic(&mut self, draft: TopicDraft) -> Result<Arc<Topic>, CreateTopicError> {
        either!(self, it => it.create_topic(draft).await)
    }

    async fn delete_topic(&mut self, name: &TopicName) -> Result<Arc<Topic>, DeleteTopicError> {
        either!(self, it => it.delete_topic(name).await)
    }

    fn removals(&self) -> Vec<Removal> {
        either!(self, it => it.removals())
    }

    async fn removed(&mut self, topic: TopicId) -> Result<(), StateFileError> {
        either!(self, it => it.removed(topic).await)
    }

    async fn lead(&mut self, partition: PartitionId) -> Result<Option<Leadership>, StateFileError> {
        either!(self, it => it.lead(partition).await)
    }
}
