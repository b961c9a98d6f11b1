//! A Forebay node: gRPC on glommio, a control thread on tokio, and the configuration that puts them
//! together.
//!
//! ```text
//! shard threads (glommio)              control thread (tokio)
//!   net ─▶ grpc ─▶ catalog ─▶ engine     leadership, telemetry, shutdown
//!            └──▶ replication ─┘                │
//!                    └────── bridge ────────────┘
//! ```
//!
//! Every shard accepts connections, answers every call, and owns some of the partitions. What has to be
//! agreed on, that is topics and leadership, goes through the control thread.

mod banner;
mod bridge;
mod catalog;
mod clock;
pub mod config;
mod control;
mod faults;
mod grpc;
mod leadership;
mod net;
mod node;
mod operations;
mod ports;
mod replication;
mod run;
mod shard;
mod shutdown;
mod telemetry;

pub use control::ShardFailed;
pub use leadership::StateFileError;
pub use net::{BindError, SpawnError};
pub use node::{Node, RunError, run};
pub use ports::Addresses;
pub use telemetry::LogFilterError;
