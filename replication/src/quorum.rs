//! R12 and the arithmetic of majorities: of one set of voters, or of the old and the new one while a
//! change of the membership is unresolved.

use forebay_format::Position;

use crate::metadata::{Member, PartitionState};

/// Voters that one set may have. More copies never vote (R12).
pub const VOTERS_MAX: usize = 5;

/// The majority of `voters`: Q.
pub const fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// The voters that decide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Voters<'a> {
    present: &'a [Member],
    /// While a change is unresolved. Both sets must agree.
    next: Option<&'a [Member]>,
}

impl<'a> Voters<'a> {
    /// The voters of `state`. `single` leaves the next set out, which breaks R12.
    pub(crate) fn of(state: &'a PartitionState, single: bool) -> Self {
        Self { present: &state.replicas, next: state.next.as_deref().filter(|_| !single) }
    }

    fn sets(self) -> impl Iterator<Item = &'a [Member]> {
        std::iter::once(self.present).chain(self.next)
    }

    /// Every voter, those of both sets once.
    pub(crate) fn iter(self) -> impl Iterator<Item = Member> {
        let new = self.next.unwrap_or_default().iter();
        let present = self.present;
        let added = new.filter(move |member| present.iter().all(|old| old.node != member.node));
        present.iter().chain(added).copied()
    }

    /// Whether those that are `in_favour` are a majority, less `missing`, of every set.
    pub(crate) fn has_majority(self, missing: usize, in_favour: impl Fn(Member) -> bool) -> bool {
        self.sets().all(|set| {
            let count = set.iter().filter(|member| in_favour(**member)).count();
            count + missing >= majority(set.len())
        })
    }

    /// As many as can hold a write whatever becomes of a change: the voters of the smallest set.
    pub(crate) fn count(self) -> usize {
        self.sets().map(<[Member]>::len).min().unwrap_or(0)
    }

    /// The largest Q of the sets.
    pub(crate) fn quorum(self) -> usize {
        self.sets().map(|set| majority(set.len())).max().unwrap_or(1)
    }

    /// The smallest.
    pub(crate) fn least_quorum(self) -> usize {
        self.sets().map(|set| majority(set.len())).min().unwrap_or(1)
    }

    /// The highest position that a majority of every set holds, if voter `m` holds `position(m)`.
    pub(crate) fn held(self, position: impl Fn(Member) -> Position) -> Position {
        self.sets().map(|set| held_by_majority(set, &position)).min().unwrap_or_default()
    }
}

/// Nothing, of a set with more voters than there may be.
fn held_by_majority(set: &[Member], position: impl Fn(Member) -> Position) -> Position {
    let mut held = [Position::ZERO; VOTERS_MAX];
    let Some(held) = held.get_mut(..set.len()) else { return Position::ZERO };
    for (place, member) in held.iter_mut().zip(set) {
        *place = position(*member);
    }
    held.sort_unstable_by(|a, b| b.cmp(a));
    held.get(majority(set.len()) - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_format::{Epoch, NodeId, Offset};

    fn held(state: &PartitionState, ends: &[(u32, u64)]) -> u64 {
        let position = |member: Member| {
            let end = ends.iter().find(|(node, _)| NodeId::new(*node) == member.node);
            Position::new(Epoch::new(1), Offset::new(end.map_or(0, |(_, end)| *end)))
        };
        Voters::of(state, false).held(position).end.get()
    }

    #[test]
    fn majority_holds_the_median_or_less() {
        let table: [(&[u64], u64); 7] = [
            (&[7], 7),
            (&[7, 9], 7),
            (&[0, 5, 9], 5),
            (&[5, 0, 0], 0),
            (&[1, 2, 3, 4], 2),
            (&[1, 2, 3, 4, 5], 3),
            (&[5, 5, 0, 0, 5], 5),
        ];
        for (ends, expected) in table {
            let ends: Vec<(u32, u64)> = (1..).zip(ends.iter().copied()).collect();
            let nodes: Vec<u32> = ends.iter().map(|(node, _)| *node).collect();
            assert_eq!(
                held(&PartitionState::first(Member::of_nodes(&nodes)), &ends),
                expected,
                "{ends:?}"
            );
        }
    }

    #[test]
    fn unresolved_change_needs_both_majorities() {
        let state = PartitionState::first(Member::of_nodes(&[1, 2, 3]))
            .with_next(Member::of_nodes(&[3, 4, 5]));
        assert_eq!(held(&state, &[(1, 9), (2, 9), (3, 9)]), 0);
        assert_eq!(held(&state, &[(1, 9), (2, 9), (3, 9), (4, 4)]), 4);
        assert_eq!(held(&state, &[(3, 9), (4, 9), (5, 9)]), 0);
        let voters = Voters::of(&state, false);
        let among =
            |nodes: &'static [u32]| move |member: Member| nodes.contains(&member.node.get());
        assert!(!voters.has_majority(0, among(&[1, 2, 3])));
        assert!(voters.has_majority(0, among(&[1, 3, 4])));
        assert_eq!((voters.iter().count(), voters.count(), voters.quorum()), (5, 3, 2));
        assert_eq!(voters.least_quorum(), 2);
    }
}
