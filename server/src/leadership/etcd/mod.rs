//! A node among others: the cluster's common state in etcd.
//!
//! It decides nothing. The protocol's core says what is to be written on which condition; this carries
//! it out, reads, watches, and keeps the node's lease. Runs on the control thread's tokio runtime.
//!
//! ```text
//!  shards ── requests ──▶ facade ─▶ transactions, reads ─▶ txn ─▶ connection ─▶ etcd
//!         ◀── events ─── seat ◀──┬─ watch (mirror) ◀──────────────────┤
//!                                └─ lease (grant, keep_alive) ◀───────┘
//! ```
//!
//! `keys` and `values` are the layout (R1), `partition` and `mirror` what was read of it, all of them pure.
//! Correctness needs neither the watch nor the lease: every write is guarded, on values too.

mod connection;
mod error;
pub(crate) mod facade;
mod grant;
pub(crate) mod identity;
mod keep_alive;
mod keys;
mod lease;
mod memory;
mod mirror;
mod outage;
mod partition;
mod reads;
pub(crate) mod seat;
mod sweep;
#[cfg(test)]
mod tests;
pub(crate) mod topics;
mod transactions;
mod txn;
mod values;
pub(crate) mod view;
mod watch;

pub(crate) use error::EtcdError;

/// The state of a partition as it stands in etcd, for copies that are kept elsewhere.
pub(crate) mod state_value {
    use forebay_replication::metadata::PartitionState;

    use super::values::{Value, ValueError};

    /// Its bytes.
    pub(crate) fn encode(state: &PartitionState) -> Vec<u8> {
        state.encode()
    }

    /// The state of these bytes.
    ///
    /// # Errors
    /// They are none.
    pub(crate) fn decode(bytes: &[u8]) -> Result<PartitionState, ValueError> {
        PartitionState::decode(b"copy", bytes)
    }
}
