//! Who leads which partition, under which epoch, and which topics there are: what all nodes of a cluster
//! must agree on. Runs on the control thread, never on the data path.
//!
//! A single node agrees with itself, and keeps it in a file of its data directory (`local`). One of
//! several has it in etcd (`etcd`, `clustered`), and its replicas elect leaders among themselves.

mod clustered;
mod coordination;
mod coordinator;
pub(crate) mod etcd;
mod file;
mod leaders;
mod local;
mod topic;

pub(crate) use clustered::ClusterCoordinator;
pub(crate) use coordination::Coordination;
pub(crate) use coordinator::{
    Coordinator, CreateTopicError, DeleteTopicError, Leadership, NodeRegistration, Removal,
    TopicChange, TopicDraft,
};
pub(crate) use etcd::seat::{EtcdEvent, EtcdRequest, Seat};
pub(crate) use etcd::state_value;
pub(crate) use etcd::view::{ClusterView, NodeRecord};
pub use file::StateFileError;
pub(crate) use leaders::{Leaders, Standing};
pub(crate) use local::LocalCoordinator;
pub(crate) use topic::Topic;

/// The cluster, as it is seen now and later.
pub(crate) type ClusterWatch = tokio::sync::watch::Receiver<std::sync::Arc<ClusterView>>;
