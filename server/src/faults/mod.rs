//! Faults on purpose: what is to go wrong between this node and others, for people and tests that want to see
//! what happens then. Only on a node that was started with `faults.enabled`; any other has none of this in its
//! way.
//!
//! ```text
//! plan   what is to happen to which message    line   messages that wait for it, in order
//! ```
//!
//! Which messages these are, and how they go on, is `replication`'s. Failing fdatasync is the engine's.

mod line;
mod plan;

use forebay_format::NodeId;
use tokio::sync::watch;

pub(crate) use line::{LOOK_EVERY, Line};
pub(crate) use plan::{Directions, Effect, Fault, FaultKind, FaultSpec, InjectError, Way};

use plan::Plan;

/// The faults of a node, for all its shards. Clones are the same.
///
/// The shards share it under a lock, which nobody meets where faults are not enabled.
#[derive(Debug, Clone)]
pub(crate) struct Faults(watch::Sender<Plan>);

impl Faults {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Plan::default()))
    }

    /// From now on, this goes wrong.
    ///
    /// # Errors
    /// There are too many already.
    pub(crate) fn inject(&self, spec: FaultSpec) -> Result<Fault, InjectError> {
        let syncs = forebay_engine::syncs_to_fail();
        let fault = self.change(|plan| plan.inject(spec, syncs))?;
        if let FaultKind::Fsync = spec.kind {
            forebay_engine::fail_syncs(spec.count);
        }
        tracing::warn!(fault = fault.id, ?spec, "FAULT ON PURPOSE: injected");
        Ok(fault)
    }

    /// All of them, oldest first.
    pub(crate) fn list(&self) -> Vec<Fault> {
        let syncs = forebay_engine::syncs_to_fail();
        self.change(|plan| plan.list(syncs))
    }

    /// Nothing goes wrong any more. Says how many faults there were.
    pub(crate) fn clear(&self) -> usize {
        forebay_engine::fail_syncs(0);
        let cleared = self.change(Plan::clear);
        tracing::warn!(faults = cleared, "FAULTS ON PURPOSE: cleared");
        cleared
    }

    /// What is to happen to the next message on this way. It counts.
    pub(crate) fn decide(&self, peer: NodeId, way: Way) -> Effect {
        let effect = self.change(|plan| plan.decide(peer, way));
        if effect != Effect::Pass {
            tracing::warn!(%peer, ?way, ?effect, "FAULT ON PURPOSE: a message");
        }
        effect
    }

    /// Whether a fault still keeps messages back.
    pub(crate) fn keeps_back(&self, fault: u64) -> bool {
        self.0.borrow().keeps_back(fault)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Plan) -> T) -> T {
        let mut result = None;
        self.0.send_if_modified(|plan| {
            result = Some(change(plan));
            // Nobody waits for changes.
            false
        });
        result.expect("the change was made")
    }
}
