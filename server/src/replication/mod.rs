//! Drives the replication protocol: the replicas of a shard, their logs, and the ways to those on other
//! nodes. Every decision is the protocol's (`forebay-replication`).
//!
//! ```text
//! replicas      all of a shard          directory   where the shards of other nodes are
//! driver        one of them             links, link the ways there
//! feed, window, flow   what others lack wire        messages as they travel
//! answers       writes that wait        timer       when the protocol is woken
//! surroundings  what all replicas share metrics     what is counted
//! terms         what their topic asks of them      copies  which nodes are to have further ones
//! reading       whether a reader may go on here    trace   what each was told and did, written down
//! commands      what people and the node want of one, until it is answered
//! alarms        which of its alarms people see
//! passage       ways of messages on which faults on purpose may lie
//! ```

mod alarms;
mod answers;
mod commands;
mod copies;
mod directory;
mod driver;
mod feed;
mod flow;
mod link;
mod links;
mod metrics;
mod passage;
mod reading;
mod replicas;
mod surroundings;
mod terms;
#[cfg(test)]
mod testing;
mod timer;
mod trace;
mod window;
mod wire;

pub(crate) use metrics::{LATENCY_BOUNDS_US, LatencyCounts, ReplicationMetrics};
pub(crate) use replicas::{Replicas, ReplicasSetup};
pub(crate) use terms::{MinReplicas, Terms};
