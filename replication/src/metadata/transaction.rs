//! R2: what is written to the metadata store, and on which condition.

use super::{Incarnation, Keyed, LeaderKey, Member, PartitionState, Revision};

/// What the leader key must be like.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LeaderGuard {
    /// Nothing is asked of it.
    Any,
    /// Not there.
    Absent,
    /// This very key: created then, and with this value.
    Is(Keyed<LeaderKey>),
}

/// All of it must be true at the moment of the write.
///
/// Values are compared as well as revisions: a store that was restored from a snapshot uses revisions
/// again, and a value that was read before may never have been in it at that revision.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Guard {
    /// Of the leader key.
    pub leader: LeaderGuard,
    /// The state is this, last written then; `None`: is not there.
    pub state: Option<Keyed<PartitionState>>,
    /// This node's own key is of this life …
    pub incarnation: Incarnation,
    /// … and was created then, so its lease still lives.
    pub node_created: Revision,
}

impl Guard {
    /// Whether a store that holds this lets the transaction pass. `node` is the node's own key: the life it
    /// names, and when it was created.
    pub fn holds(
        &self,
        leader: Option<&Keyed<LeaderKey>>,
        state: Option<&Keyed<PartitionState>>,
        node: Option<(Incarnation, Revision)>,
    ) -> bool {
        self.holds_of_partition(leader, state)
            && node == Some((self.incarnation, self.node_created))
    }

    /// The same, of the partition's keys alone.
    pub(crate) fn holds_of_partition(
        &self,
        leader: Option<&Keyed<LeaderKey>>,
        state: Option<&Keyed<PartitionState>>,
    ) -> bool {
        let leader = match &self.leader {
            LeaderGuard::Any => true,
            LeaderGuard::Absent => leader.is_none(),
            LeaderGuard::Is(key) => {
                leader.is_some_and(|it| (it.created, it.value) == (key.created, key.value))
            }
        };
        let same = |a: &Keyed<PartitionState>, b: &Keyed<PartitionState>| {
            a.modified == b.modified && a.value == b.value
        };
        leader
            && match (&self.state, state) {
                (None, None) => true,
                (Some(wanted), Some(found)) => same(wanted, found),
                _ => false,
            }
    }
}

/// What becomes of the leader key.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was carried out, and is this revision.
    Committed(Revision),
    /// The guard did not hold; nothing was written.
    Conflict,
    /// Nobody knows; it may even happen later. Is read back before anything else (R2).
    Unknown,
}

#[cfg(test)]
mod tests {
    use forebay_format::{NodeId, ReplicaId};

    use super::*;

    fn keyed<T>(value: T, at: u64) -> Keyed<T> {
        Keyed { value, created: Revision::new(at), modified: Revision::new(at) }
    }

    #[test]
    fn revision_that_is_used_again_for_another_value_does_not_pass() {
        let node = NodeId::new(1);
        let first = PartitionState::first(vec![Member { node, replica: ReplicaId::from_u128(1) }]);
        let (read, life) = (keyed(first.with_isr(vec![]), 7), Incarnation::new(3));
        let key = keyed(LeaderKey { node, incarnation: life }, 6);
        let guard = Guard {
            leader: LeaderGuard::Is(key.clone()),
            state: Some(read.clone()),
            incarnation: life,
            node_created: Revision::new(5),
        };
        let own = Some((life, Revision::new(5)));
        assert!(guard.holds(Some(&key), Some(&read), own));
        let other = keyed(first, 7);
        assert!(!guard.holds(Some(&key), Some(&other), own));
        let other = keyed(LeaderKey { node: NodeId::new(2), ..key.value }, 6);
        assert!(!guard.holds(Some(&other), Some(&read), own));
        let other = Some((Incarnation::new(4), Revision::new(5)));
        assert!(!guard.holds(Some(&key), Some(&read), other));
        assert!(!guard.holds(Some(&key), None, own));
        assert!(!guard.holds(None, Some(&read), own));
        let absent = Guard { leader: LeaderGuard::Absent, state: None, ..guard };
        assert!(absent.holds(None, None, own) && !absent.holds(None, Some(&read), own));
    }
}
