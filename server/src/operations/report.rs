//! What a replica says of itself, for people and for metrics.

use forebay_format::{Epoch, NodeId, Offset, PartitionId};
use forebay_replication::metadata::UncleanElection;
use forebay_replication::{Alarm, Part};

/// One replica, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplicaReport {
    pub(crate) partition: PartitionId,
    pub(crate) role: Role,
    /// The highest epoch that it has promised.
    pub(crate) epoch: Epoch,
    pub(crate) log_start: Offset,
    /// Exclusive end of its log, as appended.
    pub(crate) end: Offset,
    /// Exclusive end of what is on its stable storage.
    pub(crate) durable: Offset,
    /// Exclusive end of what may be read here.
    pub(crate) committed: Offset,
    /// Of the state that it knows; 0 when it knows none.
    pub(crate) state_version: u64,
    /// Of the newest state that it remembers itself; 0 when it remembers none.
    pub(crate) remembered_version: u64,
    /// Voters, as that state has them.
    pub(crate) voters: usize,
    /// Those that are in sync.
    pub(crate) in_sync: usize,
    /// The last unclean election on record.
    pub(crate) unclean: Option<UncleanElection>,
    /// What people must look at.
    pub(crate) alarm: Option<Alarm>,
    /// As a leader: what each other replica has on stable storage, as far as it has said so.
    pub(crate) acknowledged: Vec<(NodeId, Offset)>,
}

/// The part that a replica plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Follower,
    Candidate,
    Leader,
    /// Its log is being opened, or is out of service.
    Closed,
}

impl From<Part> for Role {
    fn from(part: Part) -> Self {
        match part {
            Part::Follower => Self::Follower,
            Part::Candidate(_) => Self::Candidate,
            Part::Leader(_) => Self::Leader,
        }
    }
}

impl ReplicaReport {
    /// Of one whose log is not open.
    pub(crate) fn closed(partition: PartitionId) -> Self {
        Self {
            partition,
            role: Role::Closed,
            epoch: Epoch::ZERO,
            log_start: Offset::ZERO,
            end: Offset::ZERO,
            durable: Offset::ZERO,
            committed: Offset::ZERO,
            state_version: 0,
            remembered_version: 0,
            voters: 0,
            in_sync: 0,
            unclean: None,
            alarm: None,
            acknowledged: Vec::new(),
        }
    }

    /// Whether it leads, and not all voters are in sync.
    pub(crate) fn is_under_replicated(&self) -> bool {
        self.role == Role::Leader && self.in_sync < self.voters
    }

    /// As a leader: records that the replica which is furthest behind has not on stable storage.
    pub(crate) fn lag_records(&self) -> u64 {
        let lag = |durable: Offset| self.end.get().saturating_sub(durable.get());
        let behind = self.acknowledged.iter().map(|(_, durable)| lag(*durable));
        behind.max().unwrap_or_default()
    }
}

/// What an alarm says to people, and the word for programs.
pub(crate) fn words_of(alarm: &Alarm) -> (&'static str, String) {
    match alarm {
        Alarm::MetadataRolledBack { seen, found } => (
            "METADATA_ROLLED_BACK",
            format!(
                "etcd holds version {found} of the state, and replicas have seen version {seen}: read-only \
                 until an operator confirms it"
            ),
        ),
        Alarm::CutBelowCommitted { cut, committed } => (
            "CUT_BELOW_COMMITTED",
            format!(
                "it was told to cut its log at {cut}, below offset {committed}, which is committed; it takes \
                 part in nothing until people have looked at it"
            ),
        ),
        Alarm::ChainBroken { at } => (
            "CHAIN_BROKEN",
            format!(
                "the leader's log does not continue its own at {at}; it takes part in nothing until people \
                 have looked at it"
            ),
        ),
    }
}
