//! What a replica was told and did, and whether another one does the same: what a run of real
//! processes leaves behind can be gone through step by step, long after.
//!
//! Needs the feature `serde`. How a trace is stored is its writer's affair.

use forebay_format::NodeId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::action::{Action, Actions};
use crate::config::Config;
use crate::event::{Event, Recovered};
use crate::replica::Replica;
use crate::time::Instant;

/// What a replica began with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    /// Its times and limits.
    pub config: Config,
    /// Its node.
    pub node: NodeId,
    /// What was found on its disk.
    pub recovered: Recovered,
}

/// One event, and what the replica made of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When it was handed in.
    pub now: Instant,
    /// What happened.
    pub event: Event,
    /// What the replica wanted done, in order.
    pub actions: Vec<Action>,
}

/// A step at which the replica of today does something else than the one that was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("step {index} ({event:?}): recorded {recorded:?}, found {found:?}")]
pub struct Divergence {
    /// The step, counted from 0.
    pub index: usize,
    /// What happened.
    pub event: Box<Event>,
    /// What was done then.
    pub recorded: Vec<Action>,
    /// What is done now.
    pub found: Vec<Action>,
}

/// Hands the events of a trace to a new replica, and compares what it wants done. Returns the replica as it
/// is after the last step.
///
/// # Errors
/// The first step with other actions.
pub fn replay(
    beginning: Beginning,
    steps: impl IntoIterator<Item = Step>,
) -> Result<Replica, Divergence> {
    let Beginning { config, node, recovered } = beginning;
    let mut replica = Replica::new(config, node, recovered);
    let mut actions = Actions::new();
    for (index, Step { now, event, actions: recorded }) in steps.into_iter().enumerate() {
        replica.handle(event.clone(), now, &mut actions);
        let found: Vec<_> = actions.drain().collect();
        if found != recorded {
            return Err(Divergence { index, event: Box::new(event), recorded, found });
        }
    }
    Ok(replica)
}
