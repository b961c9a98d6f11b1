//! R2: carries out a transaction of the protocol as one of etcd, and says what became of it.
//!
//! Every condition is on values as well as on revisions: an etcd that was restored from a snapshot uses
//! revisions again, and a guard on a revision alone passes over a state of the time before.

use forebay_format::{NodeId, PartitionId};
use forebay_proto::etcd::etcdserverpb::{Compare, RequestOp, TxnRequest};
use forebay_proto::etcd::mvccpb::KeyValue;
use forebay_replication::metadata::{
    Keyed, LeaderGuard, LeaderWrite, Outcome, PartitionState, Transaction,
};

use super::connection::Connection;
use super::error::EtcdError;
use super::grant::Life;
use super::keys::{Key, Keys, PartKey};
use super::txn::{absent, created, delete, get, holds, modified, present, put, revision, when};
use super::values::Value;

/// Carries out transactions of one node.
#[derive(Debug, Clone)]
pub(super) struct Transactor {
    pub(super) connection: Connection,
    pub(super) keys: Keys,
    pub(super) node: NodeId,
}

/// A transaction, and what it was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proposed {
    pub(super) partition: PartitionId,
    pub(super) transaction: Transaction,
}

impl Transactor {
    /// Carries it out, by one attempt. What was committed is on stable storage in etcd.
    ///
    /// # Errors
    /// etcd has not answered, and the outcome is unknown. So it is when etcd refuses: an attempt before
    /// this one may still happen, and only etcd's own word that a guard did not hold says that it cannot.
    pub(super) async fn transact(
        &self,
        proposed: &Proposed,
        life: Option<&Life>,
    ) -> Result<Outcome, EtcdError> {
        let guard = &proposed.transaction.guard;
        // A node key that was created then is gone with its lease, and so is the guard's condition.
        let own = (guard.incarnation, guard.node_created);
        let Some(life) = life.filter(|life| (life.incarnation, life.node_created) == own) else {
            return Ok(Outcome::Conflict);
        };
        let state = guard.state.as_ref().map(|state| state.value.encode());
        match self.attempt(proposed, life, state.as_deref()).await? {
            Attempt::Decided(outcome) => Ok(outcome),
            // Another release has written the same value in other words.
            Attempt::Otherwise(bytes) => match self.attempt(proposed, life, Some(&bytes)).await? {
                Attempt::Decided(outcome) => Ok(outcome),
                Attempt::Otherwise(_) => Ok(Outcome::Conflict),
            },
        }
    }

    /// Waits before a failure is told. It is read back at once then, and sent again: not faster than
    /// etcd can bear.
    pub(super) async fn pause_after(&self, error: &EtcdError) {
        tracing::debug!(%error, "a transaction is of unknown outcome");
        self.connection.pause_after(error).await;
    }

    async fn attempt(
        &self,
        proposed: &Proposed,
        life: &Life,
        state: Option<&[u8]>,
    ) -> Result<Attempt, EtcdError> {
        let done = self.connection.transact(self.request(proposed, life, state)).await?;
        if done.held {
            return Ok(Attempt::Decided(Outcome::Committed(done.revision)));
        }
        let found = done.found.into_iter().flatten().next();
        let otherwise = found.and_then(|pair| same_in_other_words(proposed, pair, state?));
        Ok(otherwise.map_or(Attempt::Decided(Outcome::Conflict), Attempt::Otherwise))
    }

    fn request(&self, proposed: &Proposed, life: &Life, state: Option<&[u8]>) -> TxnRequest {
        let key = |key| self.keys.part(proposed.partition, key);
        let conditions = self.conditions(proposed, life, state);
        when(conditions, self.writes(proposed, life), vec![get(&key(PartKey::State))])
    }

    fn conditions(&self, proposed: &Proposed, life: &Life, state: Option<&[u8]>) -> Vec<Compare> {
        let guard = &proposed.transaction.guard;
        let key = |key| self.keys.part(proposed.partition, key);
        let node = self.keys.of(&Key::Node(self.node));
        let mut conditions = vec![
            created(&node, guard.node_created),
            holds(&node, life.node_value.clone()),
            // A topic that was deleted does not come back by the report of a node that was late.
            present(&key(PartKey::Assigned)),
        ];
        let leader = key(PartKey::Leader);
        match &guard.leader {
            LeaderGuard::Any => {}
            LeaderGuard::Absent => conditions.push(absent(&leader)),
            LeaderGuard::Is(Keyed { value, created: at, .. }) => {
                conditions.extend([created(&leader, *at), holds(&leader, value.encode())]);
            }
        }
        let key = key(PartKey::State);
        match (&guard.state, state) {
            (Some(known), Some(bytes)) => {
                conditions.extend([modified(&key, known.modified), holds(&key, bytes.to_vec())]);
            }
            _ => conditions.push(absent(&key)),
        }
        conditions
    }

    fn writes(&self, proposed: &Proposed, life: &Life) -> Vec<RequestOp> {
        let key = |key| self.keys.part(proposed.partition, key);
        let transaction = &proposed.transaction;
        let leader = match &transaction.leader {
            LeaderWrite::Keep => None,
            LeaderWrite::Put(value) => Some(put(&key(PartKey::Leader), value.encode(), life.lease)),
            LeaderWrite::Delete => Some(delete(&key(PartKey::Leader))),
        };
        let state = transaction.state.as_ref();
        let state = state.map(|state| put(&key(PartKey::State), state.encode(), 0));
        let report = transaction.report.as_ref();
        let report = report.map(|own| put(&key(PartKey::Replica(own.node)), own.encode(), 0));
        leader.into_iter().chain(state).chain(report).collect()
    }
}

enum Attempt {
    Decided(Outcome),
    /// The state is the one that was read, but for these bytes.
    Otherwise(Vec<u8>),
}

fn same_in_other_words(proposed: &Proposed, pair: KeyValue, tried: &[u8]) -> Option<Vec<u8>> {
    let known = proposed.transaction.guard.state.as_ref()?;
    let found = PartitionState::decode(&pair.key, &pair.value).ok()?;
    let same = found == known.value && revision(pair.mod_revision) == known.modified;
    (same && pair.value != tried).then_some(pair.value)
}
