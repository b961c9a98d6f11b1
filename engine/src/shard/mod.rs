//! One core of a node: the partitions it owns, and what other cores may ask of it.
//!
//! A shard's state belongs to its executor and has no lock. Handles that stay on the executor call
//! it directly; other cores go through its inbox, a bounded channel of typed requests.

mod config;
mod inbox;
mod partition_ref;
mod remote;
mod routing;
mod service;

pub use config::{PartitionSpec, RemoveError, ShardConfig, StartError};
pub use inbox::{Inbox, ShardAddress, mailboxes};
pub use partition_ref::{PartitionCursor, PartitionRef, Reservation};
pub use routing::{ShardIndex, shard_of};
pub use service::Shard;
