//! R3: how a life of this node begins: its previous lease is revoked, a new one granted, and the node's
//! key put under it.
//!
//! **Incarnation.** Each life has one, and none is ever used twice: the leader key and the node's key hold it, and
//! transactions are guarded on their values. It is the greatest of three numbers, each of which grows where
//! the others may fail: one more than the last one that this data directory remembers, durably, before it is
//! used (fails when the disk was lost); one more than etcd's revision, which every life raises (fails when
//! etcd was restored from a snapshot); the wall clock in milliseconds (fails when it is set back). It is
//! used again only if all three happen to one node.

use std::sync::Arc;

use forebay_proto::etcd::etcdserverpb::{LeaseGrantRequest, LeaseRevokeRequest};
use forebay_replication::Instant;
use forebay_replication::metadata::{Incarnation, Revision};
use futures_util::FutureExt;

use super::connection::{Asked, Connection};
use super::error::EtcdError;
use super::keys::{Key, Keys};
use super::memory::{Memory, Remembered};
use super::txn::{absent, delete, get, holds, modified, put, revision, when};
use super::values::{NodeRecord, Value};
use crate::clock;
use crate::leadership::StateFileError;

/// A life of this node under one lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Life {
    /// etcd's number of the lease.
    pub(super) lease: i64,
    /// As etcd granted it.
    pub(super) ttl_ms: u64,
    pub(super) incarnation: Incarnation,
    /// When the node's key was created under it.
    pub(super) node_created: Revision,
    /// What the node's key holds.
    pub(super) node_value: Vec<u8>,
    /// When the lease was asked for.
    pub(super) sent_at: Instant,
    /// The local deadline.
    pub(super) until: Instant,
}

/// Why no life began.
#[derive(Debug, thiserror::Error)]
pub(super) enum GrantError {
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    #[error(transparent)]
    Memory(#[from] StateFileError),
    #[error(
        "{key}: another node lives under this node id, at {address}; two nodes need different node.id"
    )]
    Taken { key: String, address: String },
    #[error("{0}: somebody else has put it meanwhile")]
    Raced(String),
    #[error("etcd has granted no lease: {0}")]
    Denied(String),
}

/// Begins lives.
#[derive(Debug)]
pub(super) struct Granter {
    pub(super) connection: Connection,
    pub(super) keys: Keys,
    pub(super) memory: Arc<Memory>,
    pub(super) remembered: Remembered,
    pub(super) address: String,
    pub(super) shard_addresses: Vec<String>,
    pub(super) ttl_s: i64,
}

impl Granter {
    /// Begins a life, by one attempt. What an attempt of unknown outcome left behind, the next one finds
    /// under the node's key and revokes.
    ///
    /// # Errors
    /// No life began, as far as is known. A lease that was granted runs out by itself.
    pub(super) async fn grant(&mut self) -> Result<Life, GrantError> {
        let key = self.keys.of(&Key::Node(self.remembered.node));
        let revision = self.end_previous(&key).await?;
        let incarnation = self.next_incarnation(revision).await?;
        let sent_at = clock::boottime();
        let ttl = self.ttl_s;
        let call = move |asked: Asked| {
            let request = asked.request(LeaseGrantRequest { ttl, id: 0 });
            async move { asked.lease().lease_grant(request).await }.boxed()
        };
        let granted = self.connection.ask(call).await?;
        let ttl_ms = u64::try_from(granted.ttl).unwrap_or(0) * 1000;
        if !granted.error.is_empty() || ttl_ms == 0 {
            return Err(GrantError::Denied(granted.error));
        }
        let value = NodeRecord {
            address: self.address.clone(),
            shard_addresses: self.shard_addresses.clone(),
            incarnation,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            directory: self.remembered.directory,
        };
        let node_value = value.encode();
        let request =
            when(vec![absent(&key)], vec![put(&key, node_value.clone(), granted.id)], Vec::new());
        let done = self.connection.transact(request).await?;
        if !done.held {
            revoke(&self.connection, granted.id).await?;
            return Err(GrantError::Raced(key));
        }
        Ok(Life {
            lease: granted.id,
            ttl_ms,
            incarnation,
            node_created: done.revision,
            node_value,
            sent_at,
            until: Instant::ZERO,
        })
    }

    /// Ends the life that this node had before, if its key is still there. Says etcd's revision.
    async fn end_previous(&self, key: &str) -> Result<Revision, GrantError> {
        let done = self.connection.transact(when(Vec::new(), vec![get(key)], Vec::new())).await?;
        let Some(pair) = done.found.into_iter().flatten().next() else {
            return Ok(done.revision);
        };
        let before = NodeRecord::decode(&pair.key, &pair.value).map_err(EtcdError::from)?;
        if before.directory != self.remembered.directory {
            return Err(GrantError::Taken { key: key.to_owned(), address: before.address });
        }
        if pair.lease == 0 {
            // Nobody of ours puts it so, but it would stay for ever.
            let unchanged =
                vec![modified(key, revision(pair.mod_revision)), holds(key, pair.value)];
            self.connection.transact(when(unchanged, vec![delete(key)], Vec::new())).await?;
        } else {
            revoke(&self.connection, pair.lease).await?;
        }
        Ok(done.revision)
    }

    async fn next_incarnation(&mut self, at: Revision) -> Result<Incarnation, GrantError> {
        let by_clock = u64::try_from(clock::now().get()).unwrap_or(0);
        let number = (self.remembered.incarnation.get() + 1).max(at.get() + 1).max(by_clock);
        self.remembered.incarnation = Incarnation::new(number);
        let (memory, remembered) = (self.memory.clone(), self.remembered);
        // A disk that hangs must not hang the control thread.
        let stored = tokio::task::spawn_blocking(move || memory.remember(&remembered)).await;
        stored.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        Ok(self.remembered.incarnation)
    }
}

/// Ends a lease, and with it every key under it. One that is gone already is as well.
///
/// # Errors
/// Nobody knows whether it ended; it runs out by itself.
pub(super) async fn revoke(connection: &Connection, lease: i64) -> Result<(), EtcdError> {
    let call = move |asked: Asked| {
        let request = asked.request(LeaseRevokeRequest { id: lease });
        async move { asked.lease().lease_revoke(request).await }.boxed()
    };
    match connection.ask(call).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
