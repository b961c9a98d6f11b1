//! The gRPC services of a shard: one file or folder per service, one `convert` between wire and domain,
//! one `status` for everything that can go wrong.

mod admin;
mod carry;
mod chunks;
mod cluster;
mod connection;
mod consume;
mod convert;
mod creation;
mod fault;
mod frame;
mod health;
mod heartbeat;
mod metrics;
mod open_requests;
mod produce;
mod reflection;
mod replicate;
mod router;
mod services;
mod status;

pub(crate) use health::Health;
pub(crate) use metrics::ServerMetrics;
pub(crate) use open_requests::OpenRequests;
pub(crate) use router::Router;
pub(crate) use services::{NodeFacts, Services};
