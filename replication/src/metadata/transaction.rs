//! R2: what is written to the metadata store, and on which condition.

use super::{LeaderKey, Member, PartitionState, Revision};

/// What the leader key must be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeaderGuard {
    /// Nothing is asked of it.
    Any,
    /// Not there.
    Absent,
    /// There, and created then.
    CreatedAt(Revision),
}

/// All of it must be true at the moment of the write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Guard {
    /// Of the leader key.
    pub leader: LeaderGuard,
    /// The state was last written then; [`Revision::ABSENT`]: is not there.
    pub state_modified: Revision,
    /// This node's own key was created then, so its lease still lives.
    pub node_created: Revision,
}

/// What becomes of the leader key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeaderWrite {
    /// Stays as it is.
    Keep,
    /// Is put under the lease of this node.
    Put(LeaderKey),
    /// Goes.
    Delete,
}

/// Why it is written; for people, and for those who count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransactionKind {
    /// This replica's id, under its node.
    Report,
    /// The first state of a new partition (R1).
    FirstState,
    /// A new leader and epoch (R2).
    TakeOver,
    /// A higher epoch of the same leader (R2).
    RaiseEpoch,
    /// Another in-sync set (R7).
    InSyncSet,
    /// A learner becomes a replica (R11).
    EnterLearner,
    /// A step of a membership change (R12).
    Membership,
    /// Leadership is laid down (R2).
    HandOver,
    /// An operator has confirmed metadata that went back (R2).
    ConfirmMetadata,
    /// An operator has ordered an unclean election (R5).
    UncleanElection,
}

/// One write, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transaction {
    /// Why.
    pub kind: TransactionKind,
    /// On which condition.
    pub guard: Guard,
    /// The leader key.
    pub leader: LeaderWrite,
    /// The new state, if it changes. Its version is one above that of the state before.
    pub state: Option<PartitionState>,
    /// `replicas/{node}` of this node, if it changes.
    pub report: Option<Member>,
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was carried out, and is this revision.
    Committed(Revision),
    /// The guard did not hold; nothing was written.
    Conflict,
    /// Nobody knows; it may even happen later. Is read back before anything else (R2).
    Unknown,
}
