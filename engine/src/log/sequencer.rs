//! Who decides what is appended to a log: this node alone, or a sequencer above the engine.
//!
//! The engine knows nothing of leaders and quorums. Of a replicated partition it is told what to append,
//! cut and show to readers, and it asks before it takes a client's batch.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use forebay_format::{ClientHeader, Epoch, LeaderFields, Offset, Position};

use super::{Completion, IncomingBatch, ReserveError};

/// Decides, from above, about the log of a replicated partition. On the executor of the log's shard.
///
/// The log can be called from within all of these; what such a call appends goes behind the batch that is
/// proposed.
pub trait Sequencer {
    /// A client's batch has been verified and copied to the end of the log, unstamped. With fields it is
    /// stamped with these and stays: they must continue the log. Without, it goes. In both cases the
    /// engine never answers `done`: the sequencer does, at once or later.
    fn propose(
        &self,
        batch: &IncomingBatch,
        client: &ClientHeader,
        done: Completion,
    ) -> Option<LeaderFields>;

    /// Everything up to here is on stable storage. Positions ascend, but for a cut or a reset in between.
    fn durable(&self, upto: Position);

    /// Whether the log holds what a reader has read: the record before `offset` in `epoch`.
    fn lineage(&self, epoch: Epoch, offset: Offset) -> Lineage;

    /// The log was taken out of service, and the engine lets go of this sequencer: the disk failed, damage
    /// was found, the partition was removed, or the shard stops. Called once, after everything else.
    /// Of what was admitted and has no answer, nobody knows what became of it.
    fn ended(&self, why: &ReserveError);
}

/// How what a reader has read and what the log holds go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lineage {
    /// The log holds it, and what comes next goes on from there.
    Shared,
    /// The log has not got so far, or knows nothing of the epoch yet.
    Ahead,
    /// The log holds something else from this offset on.
    Parted {
        /// The first offset of which that is so.
        from: Offset,
    },
}

/// Who decides about a log.
pub(crate) enum Decider {
    /// This node, which is the only replica, in the epoch that it leads in.
    Alone { epoch: Epoch },
    /// The sequencer.
    Sequencer(Place),
}

/// The place of a sequencer.
#[derive(Default)]
pub(crate) struct Place {
    /// Whether the log may be opened.
    may_open: Cell<bool>,
    /// The one that has the log open.
    sequencer: RefCell<Option<Rc<dyn Sequencer>>>,
}

impl Decider {
    /// A replica's, which nobody has opened.
    pub(crate) fn replica() -> Self {
        Self::Sequencer(Place::default())
    }

    /// Whether the log is a replica's.
    pub(crate) fn is_replica(&self) -> bool {
        matches!(self, Self::Sequencer(_))
    }

    /// Whether the log may be opened.
    pub(super) fn may_open(&self) -> bool {
        match self {
            Self::Alone { .. } => true,
            Self::Sequencer(place) => place.may_open.get(),
        }
    }

    /// Lets a replica's log be opened, or not any more.
    pub(super) fn let_open(&self, may_open: bool) {
        if let Self::Sequencer(place) = self {
            place.may_open.set(may_open);
        }
    }

    /// The sequencer that has the log open.
    pub(super) fn sequencer(&self) -> Option<Rc<dyn Sequencer>> {
        match self {
            Self::Alone { .. } => None,
            Self::Sequencer(place) => place.sequencer.borrow().clone(),
        }
    }

    /// Lets `sequencer` decide from now on, or nobody. Returns who did before.
    pub(super) fn hand_to(
        &self,
        sequencer: Option<Rc<dyn Sequencer>>,
    ) -> Option<Rc<dyn Sequencer>> {
        match self {
            Self::Alone { .. } => unreachable!("a log that is served alone has no sequencer"),
            Self::Sequencer(place) => place.sequencer.replace(sequencer),
        }
    }
}
