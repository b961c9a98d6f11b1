//! Which nodes are to have further copies of a partition (R12): those that join later get theirs by
//! themselves. Pure; the leader of the partition writes what it says.

use forebay_format::NodeId;
use forebay_replication::metadata::PartitionState;
use forebay_replication::placement::ReplicationFactor;

/// The copies that a partition is to have, when those are others than it has. `idlest_first` are the nodes that
/// live. A copy is never taken away: its node may be back soon, and holds most of the log.
pub(super) fn wanted(
    state: &PartitionState,
    factor: ReplicationFactor,
    idlest_first: &[NodeId],
) -> Option<Vec<NodeId>> {
    let there = state.nodes();
    // A voter to be is no copy, and those of a change that has begun are both kinds of voters.
    let voters = there.iter().filter(|node| !state.copies.contains(node)).count();
    let missing = match factor {
        ReplicationFactor::All => usize::MAX,
        ReplicationFactor::Replicas(replicas) => {
            replicas.saturating_sub(voters + state.copies.len())
        }
    };
    let new = idlest_first.iter().filter(|node| !there.contains(node)).take(missing);
    let copies: Vec<NodeId> = state.copies.iter().chain(new).copied().collect();
    (copies.len() > state.copies.len()).then_some(copies)
}

#[cfg(test)]
mod tests {
    use forebay_format::ReplicaId;
    use forebay_replication::metadata::Member;

    use super::*;

    fn nodes(ids: &[u32]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId::new).collect()
    }

    fn state(voters: &[u32], copies: &[u32]) -> PartitionState {
        let member = |node| Member { node, replica: ReplicaId::random() };
        let voters = nodes(voters).into_iter().map(member).collect();
        PartitionState::first(voters).with_copies(nodes(copies))
    }

    #[test]
    fn node_that_joins_gets_a_copy_of_what_every_node_has() {
        let state = state(&[1, 2, 3], &[]);
        let found = wanted(&state, ReplicationFactor::All, &nodes(&[5, 1, 2, 3, 4]));
        assert_eq!(found, Some(nodes(&[5, 4])));
        assert_eq!(wanted(&state, ReplicationFactor::All, &nodes(&[1, 2])), None);
    }

    #[test]
    fn copy_on_a_node_that_is_away_stays() {
        let state = state(&[1, 2, 3], &[4]);
        assert_eq!(wanted(&state, ReplicationFactor::All, &nodes(&[1, 2, 3])), None);
        let found = wanted(&state, ReplicationFactor::All, &nodes(&[1, 2, 3, 5]));
        assert_eq!(found, Some(nodes(&[4, 5])));
    }

    #[test]
    fn factor_above_five_makes_as_many_copies_as_are_missing() {
        let (five, all) = (ReplicationFactor::Replicas(7), nodes(&[9, 8, 7, 6, 5, 4, 3, 2, 1]));
        assert_eq!(wanted(&state(&[1, 2, 3, 4, 5], &[]), five, &all), Some(nodes(&[9, 8])));
        assert_eq!(wanted(&state(&[1, 2, 3, 4, 5], &[6]), five, &all), Some(nodes(&[6, 9])));
        assert_eq!(wanted(&state(&[1, 2, 3, 4, 5], &[6, 7]), five, &all), None);
        let three = ReplicationFactor::Replicas(3);
        assert_eq!(wanted(&state(&[1, 2, 3], &[]), three, &all), None);
    }

    #[test]
    fn node_that_is_to_vote_gets_no_copy_besides() {
        let state = state(&[1, 2, 3], &[]).with_target(nodes(&[1, 2, 4]));
        let found = wanted(&state, ReplicationFactor::All, &nodes(&[1, 2, 3, 4, 5]));
        assert_eq!(found, Some(nodes(&[5])));
    }
}
