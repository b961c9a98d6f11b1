//! What the people who run a cluster see of it and order: how its nodes seem, what has happened, what each
//! replica says of itself, and what all of that comes to. Informs people, never the protocol.
//!
//! ```text
//!  heartbeats ─▶ health ──▶ back-off, metadata, metrics
//!       └──┐        └────▶ verdict ◀── report (replicas) ◀── other nodes (peers)
//!          ▼
//!  changes ─▶ history (events)          order: what an operator wants done to a replica
//!                                       newest: which replica is to be believed, where metadata went back
//! ```

mod changes;
mod event;
mod health;
mod heartbeats;
mod history;
mod newest;
mod order;
mod peers;
mod report;
mod verdict;

use std::fmt;
use std::sync::Arc;

use forebay_replication::Instant;

use crate::clock;

pub(crate) use changes::of_partition as changes_of_partition;
pub(crate) use event::{Event, Subject};
pub(crate) use health::{HealthWatch, NodeSight};
pub(crate) use heartbeats::{HeartbeatSetup, send as send_heartbeats};
pub(crate) use history::{History, merge as merge_events, run as keep_history};
pub(crate) use newest::{NewestError, remembers_newest};
pub(crate) use order::{Order, OrderError};
pub(crate) use peers::{HOP, LOOK_PATIENCE, ORDER_PATIENCE, PeerError, Peers};
pub(crate) use report::{ReplicaReport, Role, words_of as words_of_alarm};
pub(crate) use verdict::{NodeFinding, PartitionFinding, Verdict, judge, lag_records};

/// What the services of every shard know of the cluster. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Operations {
    pub(crate) history: History,
    pub(crate) health: HealthWatch,
    pub(crate) peers: Peers,
    pub(crate) lease: LeaseDeadline,
}

/// Until when this node's lease is sure to live.
#[derive(Clone)]
pub(crate) struct LeaseDeadline(Arc<dyn Fn() -> Option<Instant> + Send + Sync>);

impl LeaseDeadline {
    /// Of a node that needs none.
    pub(crate) fn none() -> Self {
        Self::new(|| None)
    }

    /// `until` says the local deadline, while there is a lease.
    pub(crate) fn new(until: impl Fn() -> Option<Instant> + Send + Sync + 'static) -> Self {
        Self(Arc::new(until))
    }

    /// Milliseconds until then; `None` without a lease.
    pub(crate) fn margin_ms(&self) -> Option<u64> {
        (self.0)().map(|until| until.ms_since(clock::boottime()))
    }
}

impl fmt::Debug for LeaseDeadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LeaseDeadline").field(&self.margin_ms()).finish()
    }
}
