//! The values of a partition's keys, and every way in which they change.
//!
//! Each change is a pure function to the next state, whose version is one higher. Who may write it
//! when is said where it is used.

use forebay_format::{Epoch, NodeId, Offset, Position, ReplicaId};

use super::Incarnation;

/// Who leads: the value of the leased key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaderKey {
    /// The node.
    pub node: NodeId,
    /// Which life of it.
    pub incarnation: Incarnation,
}

/// A replica of a partition: the node, and what its disk must hold to be it (R11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Its replica. One that reports another id is a learner.
    pub replica: ReplicaId,
}

/// An operator made a replica leader that may not hold everything committed (R5).
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
    /// Further copies, which serve reads and never vote.
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

    /// With the change resolved: the next set alone decides (R12).
    #[must_use]
    pub fn with_change_resolved(&self) -> Self {
        let mut state = self.next_version();
        if let Some(next) = state.next.take() {
            state.isr.retain(|node| next.iter().any(|member| member.node == *node));
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

    /// With metadata that went back confirmed: newer than any version that was seen (R2).
    #[must_use]
    pub fn with_version_above(&self, seen: u64) -> Self {
        Self { version: self.version.max(seen) + 1, ..self.clone() }
    }

    /// With an unclean election on record, and its leader as the only voter (R5): of the others nobody
    /// knows whether they live. They come back as a membership change brings them in (R12).
    #[must_use]
    pub fn with_unclean(&self, election: UncleanElection, leader: Member) -> Self {
        let mut next = self.with_leader(leader.node, election.epoch);
        next.unclean.push(election);
        next.target = Some(self.replicas.iter().map(|member| member.node).collect());
        next.replicas = vec![leader];
        next.next = None;
        next.isr = vec![leader.node];
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
