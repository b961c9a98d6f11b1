//! Write concerns: when a write is answered (R6).

/// When a write is answered. Q is the majority of the voters.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WriteConcern {
    /// At once; nothing is promised.
    None,
    /// Durable on this many voters, the leader among them, and committed too if that is Q or more. Never more than
    /// there are voters, of the smaller set while they change.
    /// Below Q it survives a restart of those replicas only, and the lease is looked at just before
    /// the answer. Never 0.
    Replicas(u8),
    /// Committed.
    #[default]
    Quorum,
    /// Committed, and durable on every member of the in-sync set (R7).
    All,
}

impl WriteConcern {
    /// Durable on the leader.
    pub const LEADER: Self = Self::Replicas(1);
}
