//! Who leads which partition, under which epoch, and which topics there are: what all nodes of a cluster
//! must agree on. Runs on the control thread, never on the data path.
//!
//! A single node agrees with itself, and keeps it in a file of its data directory.

mod coordinator;
mod file;
mod local;
mod topic;

pub(crate) use coordinator::{
    Coordinator, CreateTopicError, DeleteTopicError, Leadership, NodeRegistration, TopicDraft,
};
pub use file::StateFileError;
pub(crate) use local::LocalCoordinator;
pub(crate) use topic::Topic;
