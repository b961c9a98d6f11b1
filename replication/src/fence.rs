//! R4 ★: the fence. After a promise, nothing older is taken, acknowledged or counted.
//!
//! ```text
//!            Fence(e), e above the promise                 admitted writes are durable
//!  open ──────────────────────────────────▶ draining ────────────────────────────────▶ promising
//!   ▲                                           │ the promise is durable already            │
//!   └───────────────────────────────────────────┴───────────────────── Fenced ◀─────────────┘
//!                                                       the promise is durable
//! ```
//!
//! R2: one epoch is promised to one candidate only, also when the metadata went back and two
//! nodes were given the same one. An established leader has had its epoch promised by Q, so there is no
//! second one, and it may ask any number of times.

use forebay_format::{Epoch, NodeId};

use crate::action::Actions;
use crate::local::Local;
use crate::message::Message;
use crate::mutation::Mutation;

/// To whom this replica has promised, and to whom it is about to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fence {
    /// Who the promised epoch was promised to, as far as this process knows.
    promised_to: Option<NodeId>,
    pending: Option<Pending>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pending {
    epoch: Epoch,
    /// Who asked; this very node when it is the candidate.
    from: NodeId,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Until everything admitted is durable.
    Draining,
    /// Until the meta of this number is durable.
    Promising(u64),
}

/// How a replica stands to an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Older than the promise, or promised to somebody else.
    Refused,
    /// The promise is given. `newer`: it was given just now, so whatever was older is over.
    Promised { newer: bool },
}

impl Fence {
    pub(crate) fn new() -> Self {
        Self { promised_to: None, pending: None }
    }

    /// Whether a promise is under way. Nothing is appended meanwhile.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Judges a fence of `from` for `epoch`, and begins to answer it.
    pub(crate) fn judge(
        local: &mut Local,
        from: NodeId,
        epoch: Epoch,
        established: bool,
    ) -> Judgement {
        let promised = local.meta.promised();
        let own = local.fence.promised_to == Some(from);
        let twice = local.broken(Mutation::R2EpochPromisedTwice);
        if epoch < promised || (epoch == promised && !established && !own && !twice) {
            return Judgement::Refused;
        }
        let newer = epoch > promised;
        if newer {
            local.meta.promise(epoch);
        }
        local.fence.promised_to = Some(from);
        let again = Pending { epoch, from, stage: Stage::Draining };
        let pending = local.fence.pending.get_or_insert(again);
        if (pending.epoch, pending.from) != (epoch, from) {
            *pending = again;
        }
        Judgement::Promised { newer }
    }

    /// Goes on with a promise as far as log and meta allow. Returns the epoch that this node has now
    /// promised to itself.
    pub(crate) fn advance(local: &mut Local, actions: &mut Actions) -> Option<Epoch> {
        let mut pending = local.fence.pending?;
        if pending.stage == Stage::Draining {
            // ★ What was admitted is part of the answer. While it is not durable, there is none.
            if !local.log.is_quiet() && !local.broken(Mutation::R4FenceDoesNotWait) {
                return None;
            }
            pending.stage = Stage::Promising(local.meta.persist(actions));
            local.fence.pending = Some(pending);
        }
        let Stage::Promising(number) = pending.stage else { return None };
        // ★ A promise that a crash can take back is none.
        if !local.meta.is_durable(number) && !local.broken(Mutation::R4PromiseNotDurable) {
            return None;
        }
        local.fence.pending = None;
        if pending.from == local.node {
            return Some(pending.epoch);
        }
        let report = Box::new(local.report());
        actions.send(pending.from, Message::Fenced { epoch: pending.epoch, report });
        None
    }
}
