//! R1: the values of a partition's keys, and every way in which they change.
//!
//! Each change is a pure function to the next state, whose version is one higher. Who may write it
//! when is said where it is used.

use forebay_format::{Epoch, NodeId, Offset, Position, ReplicaId};

use super::Incarnation;
use crate::quorum::VOTERS_MAX;

/// Who leads: the value of the leased key.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaderKey {
    /// The node.
    pub node: NodeId,
    /// Which life of it.
    pub incarnation: Incarnation,
}

/// A replica of a partition: the node, and what its disk must hold to be it (R11).
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Its replica. One that reports another id is a learner.
    pub replica: ReplicaId,
}

#[cfg(test)]
impl Member {
    /// One for each of these nodes, whose replica has the same number.
    pub(crate) fn of_nodes(nodes: &[u32]) -> Vec<Self> {
        let member = |&node: &u32| Self {
            node: NodeId::new(node),
            replica: ReplicaId::from_u128(node.into()),
        };
        nodes.iter().map(member).collect()
    }
}

/// An operator made a replica leader that may not hold everything committed (R5).
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UncleanElection {
    /// The epoch that began with it.
    pub epoch: Epoch,
    /// What was kept: where the log of the elected replica ended.
    pub kept: Position,
    /// Exclusive end of the offsets that may be lost: from the end of `kept` up to the highest committed
    /// mark that anybody was known to have had. Never below the end of `kept`.
    pub lost_upto: Offset,
}

/// The unleased state of a partition.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartitionState {
    /// The epoch of the last take-over. Invariant: grows with every take-over.
    pub epoch: Epoch,
    /// Who took it; `None` before the first.
    pub leader: Option<NodeId>,
    /// The voters. Invariant: one per node.
    pub replicas: Vec<Member>,
    /// The next voters, while a change is unresolved: commits and elections need a majority of
    /// both sets (R12).
    pub next: Option<Vec<Member>>,
    /// The nodes that shall be the voters. They are fed as learners until `next` can name them.
    pub target: Option<Vec<NodeId>>,
    /// Further copies, which serve reads and never vote. Invariant: none is on a voter's node.
    pub copies: Vec<NodeId>,
    /// The in-sync set (R7), which only defines write concern `all`. Invariant: nodes of voters.
    pub isr: Vec<NodeId>,
    /// How often the state was written. Invariant: grows with every write.
    pub version: u64,
    /// Every unclean election, oldest first.
    pub unclean: Vec<UncleanElection>,
    /// Who should try first, after a leader has laid down its leadership (R2).
    pub successor: Option<NodeId>,
}

impl PartitionState {
    /// The state of a new partition, when all of `replicas` have reported (R1).
    pub fn first(replicas: Vec<Member>) -> Self {
        let isr = replicas.iter().map(|member| member.node).collect();
        Self {
            epoch: Epoch::ZERO,
            leader: None,
            replicas,
            next: None,
            target: None,
            copies: Vec::new(),
            isr,
            version: 1,
            unclean: Vec::new(),
            successor: None,
        }
    }

    /// With `leader` leading in `epoch`. Also raises the epoch of a leader that stays (R2).
    #[must_use]
    pub fn with_leader(&self, leader: NodeId, epoch: Epoch) -> Self {
        let mut next = self.next_version();
        next.leader = Some(leader);
        next.epoch = epoch;
        next.successor = None;
        next
    }

    /// With this in-sync set (R7).
    #[must_use]
    pub fn with_isr(&self, isr: Vec<NodeId>) -> Self {
        Self { isr, ..self.next_version() }
    }

    /// With `learner` in the place of the replica that its node had before (R11).
    #[must_use]
    pub fn with_replica(&self, learner: Member) -> Self {
        let mut next = self.next_version();
        let members = next.replicas.iter_mut().chain(next.next.iter_mut().flatten());
        for member in members.filter(|member| member.node == learner.node) {
            *member = learner;
        }
        // What it had acknowledged as a member of the in-sync set is gone with its disk.
        next.isr.retain(|node| *node != learner.node);
        next
    }

    /// With these nodes as the voters to be (R12).
    #[must_use]
    pub fn with_target(&self, target: Vec<NodeId>) -> Self {
        Self { target: Some(target), ..self.next_version() }
    }

    /// With a change to the voters `next` begun: from now on both sets decide (R12).
    #[must_use]
    pub fn with_next(&self, next: Vec<Member>) -> Self {
        Self { next: Some(next), ..self.next_version() }
    }

    /// With the change resolved: the next set alone decides (R12). Of a change that has not begun, nothing is
    /// left.
    #[must_use]
    pub fn with_change_resolved(&self) -> Self {
        let mut state = self.next_version();
        if let Some(next) = state.next.take() {
            let votes = |node: &NodeId| next.iter().any(|member| member.node == *node);
            state.isr.retain(votes);
            state.copies.retain(|node| !votes(node));
            state.replicas = next;
        }
        state.target = None;
        state
    }

    /// With these further copies.
    #[must_use]
    pub fn with_copies(&self, copies: Vec<NodeId>) -> Self {
        Self { copies, ..self.next_version() }
    }

    /// With leadership laid down in favour of `successor` (R2).
    #[must_use]
    pub fn with_successor(&self, successor: Option<NodeId>) -> Self {
        Self { successor, ..self.next_version() }
    }

    /// This state put back in the place of `found`, which is older: newer than any version that was seen
    /// (R2). Whoever was elected meanwhile, perhaps by others than its voters, leads no more.
    #[must_use]
    pub fn put_back(&self, found: Option<&Self>, seen: u64) -> Self {
        let mut state =
            self.with_version_above(found.map_or(seen, |found| seen.max(found.version)));
        state.successor = None;
        let elected = |it: &Self| (it.epoch, it.leader);
        let later = |it: &&Self| it.epoch >= self.epoch && elected(it) != elected(self);
        if let Some(found) = found.filter(later) {
            state.epoch = found.epoch.next();
            state.leader = None;
        }
        state
    }

    /// With metadata that went back confirmed as they are: newer than any version that was seen (R2).
    #[must_use]
    pub fn with_version_above(&self, seen: u64) -> Self {
        Self { version: self.version.max(seen) + 1, ..self.clone() }
    }

    /// With an unclean election on record, and its leader as the only voter (R5): of the others nobody
    /// knows whether they live. They come back beside it as a membership change brings them in (R12).
    #[must_use]
    pub fn with_unclean(&self, election: UncleanElection, leader: Member) -> Self {
        let mut next = self.with_leader(leader.node, election.epoch);
        next.unclean.push(election);
        let mut target = vec![leader.node];
        let others = self.replicas.iter().map(|member| member.node);
        target.extend(others.filter(|node| *node != leader.node).take(VOTERS_MAX - 1));
        next.target = Some(target);
        next.replicas = vec![leader];
        next.next = None;
        next.isr = vec![leader.node];
        // It may have been a further copy.
        next.copies.retain(|node| *node != leader.node);
        next
    }

    /// The replica that `node` has as a voter of the present or the next set.
    pub fn member(&self, node: NodeId) -> Option<Member> {
        let members = self.replicas.iter().chain(self.next.iter().flatten());
        members.copied().find(|member| member.node == node)
    }

    /// The nodes that hold a replica or shall get one, each once: voters first.
    pub fn nodes(&self) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = Vec::new();
        let voters = self.replicas.iter().chain(self.next.iter().flatten());
        let others = self.target.iter().flatten().chain(&self.copies).copied();
        for node in voters.map(|member| member.node).chain(others) {
            if !nodes.contains(&node) {
                nodes.push(node);
            }
        }
        nodes
    }

    fn next_version(&self) -> Self {
        Self { version: self.version + 1, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The store went back and somebody took an epoch over once more, or a later one.
    #[test]
    fn state_that_is_put_back_gives_no_epoch_to_two_leaders() {
        let (node, other) = (NodeId::new(1), NodeId::new(2));
        let first = PartitionState::first(Member::of_nodes(&[1, 2, 3]));
        let own = first.with_leader(node, Epoch::new(4));
        for (found, expected) in [
            (first.with_leader(node, Epoch::new(4)), (4, Some(node))),
            (first.with_leader(other, Epoch::new(3)), (4, Some(node))),
            (first.with_leader(other, Epoch::new(4)), (5, None)),
            (first.with_leader(node, Epoch::new(6)), (7, None)),
        ] {
            let put_back = own.put_back(Some(&found), 9);
            assert_eq!((put_back.epoch.get(), put_back.leader), expected, "{found:?}");
            assert_eq!(put_back.version, 10);
        }
        assert_eq!(own.put_back(None, 1).version, 3, "above its own, too");
    }

    #[test]
    fn unclean_election_of_a_replica_that_did_not_vote_does_not_send_it_away_again() {
        let kept = Position::ZERO;
        let election = UncleanElection { epoch: Epoch::new(2), kept, lost_upto: kept.end };
        let (state, elected) =
            (PartitionState::first(Member::of_nodes(&[1, 2])), Member::of_nodes(&[3]));
        let found = state.with_unclean(election, elected[0]);
        assert_eq!(found.replicas, elected);
        assert_eq!(found.target, Some([3, 1, 2].map(NodeId::new).to_vec()));
    }
}
