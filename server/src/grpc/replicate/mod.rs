//! `ReplicationService.Replicate`: what replicas on another node say to those of this shard.
//!
//! A stream is one task that reads messages and hands them on; the response has none, and ends when the
//! stream does. The payload of a batch stays in the pieces that it arrived in.

mod request;
mod session;

pub(super) use session::ReplicateSession;
