//! R6: writes that wait for their answer, each for its write concern. R10: a duplicate waits for its original.
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
    /// Q; the larger one while the voters change.
    pub(super) quorum: usize,
    /// The smaller one then. So many replicas are a majority before the change or after it, and whoever asks for
    /// them is promised what a majority promises: the change may be over before this leader knows.
    pub(super) least_quorum: usize,
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
            WriteConcern::Replicas(n) if usize::from(n) < self.least_quorum => {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn end(end: u64) -> Position {
        Position::new(Epoch::new(1), Offset::new(end))
    }

    fn node(number: u32) -> NodeId {
        NodeId::new(number)
    }

    fn write(token: u64, upto: u64) -> Waiting {
        Waiting {
            token: Token(token),
            end: end(upto),
            base_offset: Offset::new(upto - 1),
            epoch: Epoch::new(1),
            deadline: None,
            duplicate: false,
        }
    }

    /// Of three voters, of which n1 leads and n2 is in the set with it.
    fn reached(committed: u64, durable: &[(NodeId, Position)]) -> Reached<'_> {
        const SET: [NodeId; 2] = [NodeId::new(1), NodeId::new(2)];
        Reached {
            committed: end(committed),
            durable,
            quorum: 2,
            least_quorum: 2,
            isr: &SET,
            lease_valid: true,
            duplicates_early: false,
            leader: node(1),
        }
    }

    /// The table of write concerns, row by row.
    #[test]
    fn concern_is_met_by_what_it_asks_for_and_nothing_less() {
        use WriteConcern::{All, None, Quorum, Replicas};
        // Durable on n1, n2 and n3, committed; and which of the concerns that meets for a write that ends at 5.
        let concerns = [None, WriteConcern::LEADER, Quorum, All, Replicas(2), Replicas(3)];
        let table = [
            ([0, 0, 0], 0, [true, false, false, false, false, false]),
            ([5, 0, 0], 0, [true, true, false, false, false, false]),
            // Durable elsewhere, but not here.
            ([0, 5, 5], 5, [true, false, true, false, true, false]),
            // On a quorum, and the mark does not say so yet.
            ([5, 5, 0], 4, [true, true, false, false, false, false]),
            ([5, 5, 0], 5, [true, true, true, true, true, false]),
            ([5, 0, 5], 5, [true, true, true, false, true, false]),
            ([5, 5, 5], 5, [true, true, true, true, true, true]),
        ];
        for (ends, committed, expected) in table {
            let durable: Vec<_> = (1..).zip(ends).map(|(n, at)| (node(n), end(at))).collect();
            let reached = reached(committed, &durable);
            let met = concerns.map(|concern| reached.meets(concern, &write(1, 5)));
            assert_eq!(met, expected, "{ends:?}, committed {committed}");
        }
        let durable = [(node(1), end(5)), (node(2), end(5))];
        let expired = Reached { lease_valid: false, ..reached(5, &durable) };
        let met = concerns.map(|concern| expired.meets(concern, &write(1, 5)));
        assert_eq!(met, [true, false, true, true, true, false], "R3: below Q asks for the lease");
        let alone = Reached { isr: &[NodeId::new(1)], ..reached(5, &durable) };
        assert!(!alone.meets(All, &write(1, 5)), "fewer than Q are in the set");
        let changing = Reached { quorum: 3, ..reached(4, &durable) };
        assert!(
            !changing.meets(Replicas(2), &write(1, 5)),
            "R12: two are a majority of the next set"
        );
        let retry = Waiting { duplicate: true, ..write(1, 5) };
        assert!(!reached(4, &durable).meets(None, &retry), "R10: its original is not committed");
    }

    #[test]
    fn answers_keep_their_order_within_a_concern_and_nobody_is_left_without_one() {
        let mut writes = Writes::default();
        let mut actions = Actions::new();
        for (token, upto, concern) in [
            (1, 1, WriteConcern::Quorum),
            (2, 2, WriteConcern::All),
            (3, 3, WriteConcern::Quorum),
            (4, 4, WriteConcern::LEADER),
        ] {
            let deadline = (token == 3).then(|| Instant::from_ms(50));
            writes.push(concern, Waiting { deadline, ..write(token, upto) });
        }
        // The first one waits, and so does what comes after it in its queue.
        writes.queues[0].1[0].end = end(9);
        let durable = [(node(1), end(4)), (node(2), end(3))];
        writes.answer(&reached(3, &durable), &mut actions);
        let token = |action| match action {
            Action::Answer(Token(token), _) => token,
            other => panic!("{other:?}"),
        };
        let answered: Vec<u64> = actions.drain().map(token).collect();
        assert_eq!((answered, writes.len()), (vec![2, 4], 2));
        let mut later = Actions::new();
        writes.expire(Instant::from_ms(49), &mut later);
        assert_eq!(later.as_slice(), []);
        writes.expire(Instant::from_ms(50), &mut later);
        let unknown = |token, offset| {
            let base_offset = Offset::new(offset);
            Action::Answer(Token(token), Answer::Indeterminate { base_offset })
        };
        assert_eq!(later.as_slice(), [unknown(3, 2)]);
        assert_eq!((writes.len(), writes.next_deadline()), (1, None));
        writes.abandon(&mut later);
        assert_eq!(later.as_slice(), [unknown(3, 2), unknown(1, 0)]);
        assert_eq!(writes.len(), 0);
    }
}
