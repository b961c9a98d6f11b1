//! R6: writes that wait for their answer, each for its write concern.
//!
//! Answers keep their order among the writes of one concern, so each concern has a queue of its own.

use std::collections::VecDeque;

use forebay_format::{Epoch, NodeId, Offset, Position};

use crate::action::{Action, Actions, Answer};
use crate::concern::WriteConcern;
use crate::event::Token;
use crate::time::Instant;

/// A write that was appended, and is not answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Waiting {
    pub(super) token: Token,
    /// The end of its batch.
    pub(super) end: Position,
    pub(super) base_offset: Offset,
    /// Epoch that its batch was appended in; for a duplicate, of the original.
    pub(super) epoch: Epoch,
    pub(super) deadline: Option<Instant>,
    /// R10: it was appended before. Whatever the concern, the original must be committed.
    pub(super) duplicate: bool,
}

/// How far the log has come, as far as answers depend on it.
#[derive(Debug)]
pub(super) struct Reached<'a> {
    /// The committed end.
    pub(super) committed: Position,
    /// The voters, with what each has on stable storage. Learners are not among them (R11).
    pub(super) durable: &'a [(NodeId, Position)],
    /// Q.
    pub(super) quorum: usize,
    /// R7: the members that `all` waits for.
    pub(super) isr: &'a [NodeId],
    /// R3: the lease is still this node's, at this very moment.
    pub(super) lease_valid: bool,
    /// A duplicate need not be committed, which breaks R10.
    pub(super) duplicates_early: bool,
    /// This node, without whose own fsync no write is answered.
    pub(super) leader: NodeId,
}

impl Reached<'_> {
    /// On how many voters everything up to `end` is durable.
    fn count(&self, end: Position) -> usize {
        self.durable.iter().filter(|(_, durable)| *durable >= end).count()
    }

    fn holds(&self, node: NodeId, end: Position) -> bool {
        self.durable.iter().any(|(other, durable)| *other == node && *durable >= end)
    }

    /// The one table of write concerns.
    fn meets(&self, concern: WriteConcern, write: &Waiting) -> bool {
        let committed = self.committed >= write.end;
        if write.duplicate && !committed && !self.duplicates_early {
            return false;
        }
        match concern {
            WriteConcern::None => true,
            WriteConcern::Replicas(n) if usize::from(n) < self.quorum => {
                let durable = self.count(write.end) >= usize::from(n);
                durable && self.holds(self.leader, write.end) && self.lease_valid
            }
            WriteConcern::Replicas(n) => committed && self.count(write.end) >= usize::from(n),
            WriteConcern::Quorum => committed,
            WriteConcern::All => {
                let everywhere = self.isr.iter().all(|node| self.holds(*node, write.end));
                committed && everywhere && self.isr.len() >= self.quorum
            }
        }
    }
}

/// All that wait.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Writes {
    /// Invariant: one queue per concern, each in the order of admission.
    queues: Vec<(WriteConcern, VecDeque<Waiting>)>,
    /// Invariant: the sum of the queues' lengths.
    len: usize,
    /// Not after the earliest deadline of those that wait.
    next_deadline: Option<Instant>,
}

impl Writes {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.next_deadline
    }

    pub(super) fn push(&mut self, concern: WriteConcern, write: Waiting) {
        self.next_deadline = earlier(self.next_deadline, write.deadline);
        self.len += 1;
        match self.queues.iter_mut().find(|(other, _)| *other == concern) {
            Some((_, queue)) => queue.push_back(write),
            None => self.queues.push((concern, VecDeque::from([write]))),
        }
    }

    /// Answers what can be answered.
    pub(super) fn answer(&mut self, reached: &Reached<'_>, actions: &mut Actions) {
        for (concern, queue) in &mut self.queues {
            while let Some(write) = queue.front()
                && reached.meets(*concern, write)
            {
                let durable_replicas = match concern {
                    WriteConcern::None => 0,
                    _ => reached.count(write.end),
                };
                let (base_offset, epoch, concern) = (write.base_offset, write.epoch, *concern);
                let answer = Answer::Acked { base_offset, epoch, durable_replicas, concern };
                actions.push(Action::Answer(write.token, answer));
                queue.pop_front();
                self.len -= 1;
            }
        }
    }

    /// Answers those whose deadline has come. They are in the log, so nobody knows what becomes of them.
    pub(super) fn expire(&mut self, now: Instant, actions: &mut Actions) {
        if self.next_deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        self.next_deadline = None;
        for (_, queue) in &mut self.queues {
            queue.retain(|write| {
                let expired = write.deadline.is_some_and(|deadline| now >= deadline);
                if expired {
                    self.len -= 1;
                    indeterminate(write, actions);
                } else {
                    self.next_deadline = earlier(self.next_deadline, write.deadline);
                }
                !expired
            });
        }
    }

    /// Leadership is over: answers all of them.
    pub(super) fn abandon(&mut self, actions: &mut Actions) {
        for (_, queue) in &mut self.queues {
            queue.drain(..).for_each(|write| indeterminate(&write, actions));
        }
        self.len = 0;
        self.next_deadline = None;
    }
}

fn indeterminate(write: &Waiting, actions: &mut Actions) {
    let answer = Answer::Indeterminate { base_offset: write.base_offset };
    actions.push(Action::Answer(write.token, answer));
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
