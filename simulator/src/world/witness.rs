//! What passed between a process and the world, as far as [`super::epochs`] asks for it. All of it was seen from
//! outside: messages, requests to the store and their outcomes.

use std::collections::{BTreeMap, BTreeSet};

use forebay_format::{Epoch, NodeId, Offset, ReplicaId};
use forebay_replication::metadata::{ObservationSource, Outcome, Revision, Transaction};
use forebay_replication::{Event, Message, Part, Position};

/// What one process was told, and has said.
#[derive(Debug)]
pub(super) struct Witness {
    /// The highest epoch that a fence has brought, or that had been promised when the process started.
    pub(super) fenced: Epoch,
    pub(super) own: OwnEpoch,
    /// Its candidacy was refused: in which epoch, and with which promise. Until it asks for a higher one.
    pub(super) refused: Option<(Epoch, Epoch)>,
    pub(super) request: Request,
    /// Number of the last read of the store that it asked for.
    pub(super) reads: u64,
    /// Since its last transaction came to an unknown outcome, no read was answered that is newer than this.
    pub(super) not_read_back: Option<u64>,
    /// The highest revision of the store that it was shown.
    shown: Revision,
}

/// The last epoch for which it was a candidate, and what others have told it as such, or as its leader.
#[derive(Debug, Default)]
pub(super) struct OwnEpoch {
    pub(super) epoch: Epoch,
    /// Where logs ended when they were fenced.
    pub(super) reported: BTreeMap<(NodeId, ReplicaId), Position>,
    /// What is durable, as acknowledged.
    pub(super) acknowledged: BTreeMap<(NodeId, ReplicaId), Position>,
    /// Who is on a node, as it said last, and what was committed when it said so first.
    met: BTreeMap<NodeId, (ReplicaId, Offset)>,
    /// What was committed when the epoch began.
    began_at: Option<Offset>,
}

impl OwnEpoch {
    /// R11: what has to be on a replica of this node before it may be entered. Whatever is committed later is on a
    /// quorum without the one that it replaces.
    pub(super) fn owed_by(&self, node: NodeId) -> Offset {
        let met = self.met.get(&node).map(|(_, committed)| *committed);
        met.max(self.began_at).unwrap_or_default()
    }
}

/// How its last transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// It has an outcome, or there was none.
    Settled,
    /// Under way, with this number. `again`: perhaps one that was sent before.
    Sent { number: u64, again: bool },
    /// Nobody outside can tell whether the process knows its outcome.
    Obscure,
}

impl Witness {
    pub(super) fn new(promised: Epoch) -> Self {
        Self {
            fenced: promised,
            own: OwnEpoch::default(),
            refused: None,
            request: Request::Settled,
            reads: 0,
            not_read_back: None,
            shown: Revision::ABSENT,
        }
    }

    /// The process, playing `part`, is about to be handed this, and knows so much to be committed.
    pub(super) fn hears(&mut self, part: Part, committed: Offset, event: &Event) {
        match event {
            Event::Message(_, Message::Fence { epoch, .. }) => {
                self.fenced = self.fenced.max(*epoch);
            }
            Event::Message(from, Message::Fenced { epoch, report }) if *epoch == self.own.epoch => {
                self.own.reported.insert((*from, report.replica), report.position);
                let same = self.own.met.get(from).is_some_and(|(it, _)| *it == report.replica);
                if !same {
                    self.own.met.insert(*from, (report.replica, committed));
                }
            }
            Event::Message(from, Message::Appended { epoch, replica, durable, .. })
                if *epoch == self.own.epoch =>
            {
                let known = self.own.acknowledged.entry((*from, *replica)).or_insert(*durable);
                *known = (*known).max(*durable);
            }
            Event::Message(_, Message::Refused { epoch, promised })
                if part == Part::Candidate(*epoch) && promised >= epoch =>
            {
                self.refused = Some((*epoch, *promised));
            }
            Event::Observed(observation) => {
                let read = match observation.source {
                    ObservationSource::Read(number) => number,
                    ObservationSource::Watch => 0,
                };
                self.not_read_back.take_if(|reads| read > *reads);
                self.shown = self.shown.max(observation.revision);
            }
            Event::Transacted(number, outcome) => self.hears_outcome(*number, *outcome),
            _ => {}
        }
    }

    /// The epoch of a leader's order that is older than a fence.
    pub(super) fn old_order(&self, event: &Event) -> Option<Epoch> {
        let Event::Message(_, message) = event else { return None };
        let orders = matches!(
            message,
            Message::Append { .. } | Message::Match { .. } | Message::Start { .. }
        );
        (orders && message.epoch() < self.fenced).then(|| message.epoch())
    }

    fn hears_outcome(&mut self, of: u64, outcome: Outcome) {
        let Request::Sent { number, again } = self.request else { return };
        if number != of {
            return;
        }
        self.request = match outcome {
            // One that is older than what it was shown is read back.
            Outcome::Committed(revision) if revision < self.shown => Request::Obscure,
            Outcome::Committed(_) => Request::Settled,
            Outcome::Conflict if !again => Request::Settled,
            Outcome::Conflict | Outcome::Unknown => Request::Obscure,
        };
        if outcome == Outcome::Unknown {
            self.not_read_back = Some(self.reads);
        }
    }

    /// The process sends a transaction.
    pub(super) fn transacts(&mut self, number: u64, transaction: &Transaction) {
        self.request = Request::Sent { number, again: self.request == Request::Obscure };
        let epoch = transaction.state.as_ref().map_or(Epoch::ZERO, |state| state.epoch);
        self.refused.take_if(|(_, promised)| epoch > *promised);
    }

    /// The process begins to serve, and has known so much to be committed before.
    pub(super) fn begins(&mut self, committed: Offset) {
        self.own.began_at.get_or_insert(committed);
    }

    /// The process plays another part.
    pub(super) fn becomes(&mut self, part: Part) {
        match part {
            Part::Candidate(epoch) => self.own = OwnEpoch { epoch, ..OwnEpoch::default() },
            Part::Follower => self.refused = None,
            Part::Leader(_) => {}
        }
    }
}

/// What was promised to whom, in all of a world.
#[derive(Debug, Default)]
pub(super) struct Promises {
    /// To whom a replica has answered that it promises this epoch.
    pub(super) to: BTreeMap<(ReplicaId, Epoch), NodeId>,
    /// Leaders that said that a quorum had promised them their epoch.
    pub(super) established: BTreeSet<(NodeId, Epoch)>,
}

#[cfg(test)]
mod tests {
    use forebay_replication::metadata::{
        Guard, Incarnation, LeaderGuard, LeaderWrite, Observation, TransactionKind,
    };

    use super::*;

    fn transaction() -> Transaction {
        let guard = Guard {
            leader: LeaderGuard::Any,
            state: None,
            incarnation: Incarnation::default(),
            node_created: Revision::ABSENT,
        };
        let (kind, leader) = (TransactionKind::Report, LeaderWrite::Keep);
        Transaction { kind, guard, leader, state: None, report: None }
    }

    fn read(number: u64) -> Event {
        Event::Observed(Box::new(Observation {
            source: ObservationSource::Read(number),
            revision: Revision::ABSENT,
            leader: None,
            state: None,
            assigned: Vec::new(),
            reported: Vec::new(),
        }))
    }

    #[test]
    fn unknown_outcome_is_read_back_only_by_a_read_that_was_asked_for_later() {
        let mut witness = Witness::new(Epoch::ZERO);
        witness.reads = 3;
        witness.transacts(1, &transaction());
        witness.hears(Part::Follower, Offset::ZERO, &Event::Transacted(1, Outcome::Unknown));
        witness.hears(Part::Follower, Offset::ZERO, &read(3));
        assert_eq!(witness.not_read_back, Some(3));
        witness.hears(Part::Follower, Offset::ZERO, &read(4));
        assert_eq!(witness.not_read_back, None);
    }

    #[test]
    fn conflict_after_an_unknown_outcome_settles_nothing() {
        let conflict = |number| Event::Transacted(number, Outcome::Conflict);
        let mut witness = Witness::new(Epoch::ZERO);
        witness.transacts(1, &transaction());
        witness.hears(Part::Follower, Offset::ZERO, &Event::Transacted(1, Outcome::Unknown));
        witness.transacts(2, &transaction());
        witness.hears(Part::Follower, Offset::ZERO, &conflict(2));
        assert_eq!(witness.request, Request::Obscure);
        let mut witness = Witness::new(Epoch::ZERO);
        witness.transacts(1, &transaction());
        witness.hears(Part::Follower, Offset::ZERO, &conflict(1));
        assert_eq!(witness.request, Request::Settled);
    }
}
