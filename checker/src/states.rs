//! The shared states of a history, and which of them a leader went by when it answered; the marks at that time.

use forebay_format::{NodeId, Offset};

use crate::history::{Event, History, Voter};
use crate::writes::Ack;

/// How many of `voters` are a majority.
pub(crate) fn quorum(voters: &[Voter]) -> usize {
    voters.len() / 2 + 1
}

/// A shared state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct State<'a> {
    /// Its place in the history.
    index: usize,
    by: NodeId,
    epoch: u64,
    leader: NodeId,
    pub(crate) voters: &'a [Voter],
    pub(crate) next_voters: Option<&'a [Voter]>,
    pub(crate) in_sync: &'a [NodeId],
}

impl State<'_> {
    /// Fewer replicas than this are never enough to commit.
    pub(crate) fn quorum(&self) -> usize {
        quorum(self.voters).max(self.next_voters.map_or(0, quorum))
    }

    /// Whether a node votes as one replica here and as another there.
    fn replaces(&self, other: &State<'_>) -> bool {
        let voters = self.voters.iter().chain(self.next_voters.unwrap_or_default());
        let others = other.voters.iter().chain(other.next_voters.unwrap_or_default());
        voters
            .flat_map(|voter| others.clone().map(move |other| (voter, other)))
            .any(|(voter, other)| voter.node == other.node && voter.replica != other.replica)
    }
}

/// All shared states, in the order in which they were written.
#[derive(Debug, Default)]
pub(crate) struct States<'a> {
    written: Vec<State<'a>>,
    /// Places where a node learnt of the state as it was then.
    learnt: Vec<(usize, NodeId)>,
    /// Places where the mark of a node moved, and where to.
    marks: Vec<(usize, NodeId, Offset)>,
    /// Places where the log start of some node moved, and where to.
    log_starts: Vec<(usize, Offset)>,
}

impl<'a> States<'a> {
    pub(crate) fn of(history: &'a History) -> Self {
        let mut all = Self::default();
        for (index, _, event) in history.iter() {
            match event {
                Event::StateWritten { by, epoch, leader, voters, next_voters, in_sync } => {
                    let (by, epoch, leader) = (*by, epoch.get(), *leader);
                    let next_voters = next_voters.as_deref();
                    all.written.push(State {
                        index,
                        by,
                        epoch,
                        leader,
                        voters,
                        next_voters,
                        in_sync,
                    });
                }
                Event::StateLearnt { node } => all.learnt.push((index, *node)),
                Event::Committed { node, to, .. } => all.marks.push((index, *node, *to)),
                Event::LogStartMoved { to, .. } => all.log_starts.push((index, *to)),
                _ => {}
            }
        }
        all
    }

    /// The state at a place of the history.
    pub(crate) fn at(&self, index: usize) -> Option<State<'a>> {
        self.written.iter().rev().find(|state| state.index <= index).copied()
    }

    /// The states that the leader which gave `ack` had written in that epoch until then. What somebody else
    /// writes, after the store was restored under it, is not its business.
    fn of_leader(&self, ack: &Ack<'_>) -> impl DoubleEndedIterator<Item = &State<'a>> {
        let (epoch, by, end) = (ack.epoch.get(), ack.by, ack.index);
        let its =
            move |state: &&State<'_>| (state.epoch, state.by) == (epoch, by) && state.index < end;
        self.written.iter().filter(its)
    }

    /// The last state of the epoch in which `ack` was given, before it was given.
    pub(crate) fn last_of(&self, ack: &Ack<'_>) -> Option<State<'a>> {
        self.of_leader(ack).next_back().copied()
    }

    /// The state before that, unless the last one brought another replica to a node, and whether the leader
    /// had learnt of the last one. Majorities before a step of a change of members are good enough until it is
    /// known, because the next step takes them into account. A replica that replaces another has nothing of
    /// what the other one acknowledges.
    pub(crate) fn previous_of(&self, ack: &Ack<'_>) -> Option<(State<'a>, bool)> {
        let mut states = self.of_leader(ack).rev();
        let (last, previous) = (states.next()?, states.next()?);
        let learnt = |(index, node): &(usize, NodeId)| {
            (last.index..ack.index).contains(index) && *node == ack.by
        };
        let learnt = self.learnt.iter().any(learnt);
        (!last.replaces(previous)).then_some((*previous, learnt))
    }

    /// Whether the leader that gave `ack` had it committed before it learnt of the last state: what is
    /// committed once needs no majority of later voters.
    pub(crate) fn was_committed(&self, ack: &Ack<'_>) -> bool {
        let Some(last) = self.last_of(ack) else { return false };
        let end = ack.base_offset + ack.produce.values.len() as u64;
        let learnt =
            self.learnt.iter().find(|(index, node)| *index > last.index && *node == ack.by);
        let upto = learnt.map_or(ack.index, |(index, _)| *index).min(ack.index);
        self.marks.iter().any(|(index, node, to)| *index < upto && *node == ack.by && *to >= end)
    }

    /// The highest log start that a node had before `ack` was given.
    pub(crate) fn log_start_before(&self, ack: &Ack<'_>) -> Offset {
        let before = self.log_starts.iter().take_while(|(index, _)| *index < ack.index);
        before.map(|(_, to)| *to).max().unwrap_or(Offset::ZERO)
    }

    /// Whether another node took over after the epoch in which `ack` was given. A zombie may answer
    /// after that, so this is about epochs, not about places.
    pub(crate) fn has_rival_of(&self, ack: &Ack<'_>) -> bool {
        self.written.iter().any(|it| it.epoch > ack.epoch.get() && it.leader != ack.by)
    }
}
