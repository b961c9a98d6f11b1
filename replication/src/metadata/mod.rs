//! R1: what etcd holds of a partition, as typed values, and the transactions on it.
//!
//! `state` has the values of the keys and how they change, as pure functions; `transaction` what is
//! written, and on which condition; `observation` what was read. Whoever carries them out (etcd, a
//! file of a single node, a simulation) adds keys, encoding and transport, and decides nothing.

mod observation;
mod state;
mod transaction;

pub use observation::{Keyed, Observation, ObservationSource};
pub use state::{LeaderKey, Member, PartitionState, UncleanElection};
pub use transaction::{Guard, LeaderGuard, LeaderWrite, Outcome, Transaction, TransactionKind};

use std::fmt;

/// A revision of the metadata store, or of one of its keys; 0 is that of a key which is not there.
/// Not an epoch (R2): it goes back when the store is restored from a snapshot.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(u64);

impl Revision {
    /// Of a key that is not there.
    pub const ABSENT: Self = Self(0);

    /// Wraps the number.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One life of a node under one lease: a node that has lost its lease comes back as another.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Incarnation(u64);

impl Incarnation {
    /// Wraps the number.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
