//! The kinds of faults, and the parts of a replica that they can meet.

use std::fmt;

/// Something that goes wrong at one node, or on a link of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// Nothing passes between the node and another one.
    LinkCut,
    /// Nothing passes from the node to another one.
    LinkCutOneWay,
    /// Nothing passes between the node and all others.
    Isolated,
    /// Every third message of the node is lost.
    MessagesLost,
    /// Messages of the node arrive late, and in any order.
    MessagesDelayed,
    /// Messages of the node arrive again, much later too.
    MessagesDoubled,
    /// The process dies; what was not synced is lost from some point on.
    Crash,
    /// The processes of all nodes die at once.
    PowerCut,
    /// The process stands still, while its clock and its lease go on.
    Pause,
    /// The disk is empty when the process comes back.
    DiskLost,
    /// The disk does nothing any more; the process dies of it, and comes back with an empty one.
    DiskDead,
    /// A bit flips in the log; the next recovery notices.
    BitFlip,
    /// An fsync takes very long.
    DiskSlow,
    /// The clock that counts leases jumps ahead, as after a suspend.
    ClockJump,
    /// The wall clock jumps, either way.
    WallClockJump,
    /// The store ends the lease before its time.
    LeaseEndsEarly,
    /// The store lets the lease live on after its time.
    LeaseEndsLate,
    /// The node does not reach the store.
    StoreUnreachable,
    /// Watches of the node lag far behind.
    WatchLags,
    /// A watch of the node was compacted away: it misses changes until it lists again.
    WatchCompacted,
    /// The node is not told what became of its transactions, some of which happen much later.
    TransactionsUnknown,
    /// The store is restored from an older snapshot.
    StoreRestored,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::LinkCut,
        Self::LinkCutOneWay,
        Self::Isolated,
        Self::MessagesLost,
        Self::MessagesDelayed,
        Self::MessagesDoubled,
        Self::Crash,
        Self::PowerCut,
        Self::Pause,
        Self::DiskLost,
        Self::DiskDead,
        Self::BitFlip,
        Self::DiskSlow,
        Self::ClockJump,
        Self::WallClockJump,
        Self::LeaseEndsEarly,
        Self::LeaseEndsLate,
        Self::StoreUnreachable,
        Self::WatchLags,
        Self::WatchCompacted,
        Self::TransactionsUnknown,
        Self::StoreRestored,
    ];
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a replica is when a fault meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Leads and serves.
    Leader,
    /// Has taken over, and does not serve yet.
    Candidate,
    /// Votes, and follows.
    Follower,
    /// Is fed, and does not vote.
    Learner,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Leader, Self::Candidate, Self::Follower, Self::Learner];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
