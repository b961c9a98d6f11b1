//! Placement: which nodes get the replicas of a partition. Pure functions of the load; R12 bounds the
//! voters.
//!
//! The first node named is the preferred leader, because candidates try in that order (see `claim`).

use forebay_format::NodeId;
use thiserror::Error;

use crate::quorum::VOTERS_MAX;

/// How many replicas a partition shall have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicationFactor {
    /// So many.
    Replicas(usize),
    /// One on every node, on later ones too.
    All,
}

/// What a node has to do already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLoad {
    /// The node.
    pub node: NodeId,
    /// Replicas that it has, of whatever kind.
    pub replicas: usize,
    /// Partitions that it would lead, if everybody led what it is preferred for.
    pub leads: usize,
}

/// Where the replicas of a partition go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The voters, the preferred leader first. Invariant: at least one, at most five, each once.
    pub voters: Vec<NodeId>,
    /// Further copies, which never vote (R12).
    pub copies: Vec<NodeId>,
}

/// A partition cannot be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PlacementError {
    /// There are not enough nodes.
    #[error("{wanted} replicas are wanted, and there are {nodes} nodes")]
    TooFewNodes {
        /// Replicas wanted.
        wanted: usize,
        /// Nodes that there are.
        nodes: usize,
    },
    /// A partition needs one replica at least.
    #[error("a partition needs at least one replica")]
    NoReplica,
}

/// Places partitions one after the other, each on the nodes that have least to do; ties go to the node
/// with the lowest id. `nodes` is the load before, and after the call the load with the new ones.
///
/// # Errors
/// Too few nodes; nothing is placed.
pub fn place(
    nodes: &mut [NodeLoad],
    partitions: usize,
    factor: ReplicationFactor,
) -> Result<Vec<Placement>, PlacementError> {
    let wanted = match factor {
        ReplicationFactor::Replicas(wanted) => wanted,
        ReplicationFactor::All => nodes.len(),
    };
    if wanted == 0 {
        return Err(PlacementError::NoReplica);
    }
    if wanted > nodes.len() {
        return Err(PlacementError::TooFewNodes { wanted, nodes: nodes.len() });
    }
    Ok((0..partitions).map(|_| place_one(nodes, wanted)).collect())
}

fn place_one(nodes: &mut [NodeLoad], wanted: usize) -> Placement {
    nodes.sort_unstable_by_key(|load| (load.replicas, load.node));
    let chosen = &mut nodes[..wanted];
    for load in chosen.iter_mut() {
        load.replicas += 1;
    }
    // Among them, whoever leads least comes first.
    chosen.sort_by_key(|load| load.leads);
    chosen[0].leads += 1;
    let mut names = chosen.iter().map(|load| load.node);
    let voters = names.by_ref().take(VOTERS_MAX).collect();
    Placement { voters, copies: names.collect() }
}

/// The voters when `leaving` is to go: in its place, the node that has least to do and no replica yet.
/// `None` when there is none, or when `leaving` is not a voter.
pub fn replace(voters: &[NodeId], leaving: NodeId, nodes: &[NodeLoad]) -> Option<Vec<NodeId>> {
    let free = nodes.iter().filter(|load| !voters.contains(&load.node));
    let substitute = free.min_by_key(|load| (load.replicas, load.node))?.node;
    voters.contains(&leaving).then(|| {
        let chosen = |node: &NodeId| if *node == leaving { substitute } else { *node };
        voters.iter().map(chosen).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(count: u32) -> Vec<NodeLoad> {
        let load = |node| NodeLoad { node: NodeId::new(node), replicas: 0, leads: 0 };
        (1..=count).map(load).collect()
    }

    #[test]
    fn replicas_and_leaders_are_spread_evenly() {
        for (count, partitions, factor) in [(3, 6, 3), (4, 8, 3), (5, 20, 3), (6, 6, 1)] {
            let mut nodes = idle(count);
            let placed =
                place(&mut nodes, partitions, ReplicationFactor::Replicas(factor)).unwrap();
            let spread = |of: fn(&NodeLoad) -> usize| {
                let loads = || nodes.iter().map(of);
                loads().max().unwrap() - loads().min().unwrap()
            };
            assert!(spread(|load| load.replicas) <= 1, "{count} nodes: {nodes:?}");
            assert!(spread(|load| load.leads) <= 2, "{count} nodes: {nodes:?}");
            for Placement { voters, copies } in placed {
                let distinct: std::collections::BTreeSet<_> = voters.iter().collect();
                assert_eq!((distinct.len(), copies.len()), (factor, 0));
            }
        }
    }

    #[test]
    fn at_most_five_vote_and_the_rest_are_copies() {
        let placed = place(&mut idle(7), 1, ReplicationFactor::All).unwrap();
        assert_eq!((placed[0].voters.len(), placed[0].copies.len()), (5, 2));
    }

    /// R1: load that is there already counts, and equal loads give equal places.
    #[test]
    fn idle_nodes_come_first_and_whoever_leads_least_leads() {
        let load = |node, replicas, leads| NodeLoad { node: NodeId::new(node), replicas, leads };
        let mut nodes = [load(1, 9, 0), load(2, 3, 3), load(3, 3, 0), load(4, 2, 2)];
        let placed = place(&mut nodes, 1, ReplicationFactor::Replicas(3)).unwrap();
        assert_eq!(placed[0].voters, [3, 4, 2].map(NodeId::new));
        let after = |node| nodes.iter().find(|load| load.node == NodeId::new(node)).copied();
        assert_eq!(after(3), Some(load(3, 4, 1)));
        assert_eq!(after(1), Some(load(1, 9, 0)));
    }

    #[test]
    fn more_replicas_than_nodes_or_none_at_all_are_refused() {
        let wanted = |count| place(&mut idle(2), 1, ReplicationFactor::Replicas(count));
        assert_eq!(wanted(3), Err(PlacementError::TooFewNodes { wanted: 3, nodes: 2 }));
        assert_eq!(wanted(0), Err(PlacementError::NoReplica));
    }

    #[test]
    fn node_that_leaves_is_replaced_by_the_idlest_one_in_its_place() {
        let mut nodes = idle(4);
        nodes[2].replicas = 5;
        let ids = |ids: &[u32]| ids.iter().copied().map(NodeId::new).collect::<Vec<_>>();
        let found = replace(&ids(&[1, 2]), NodeId::new(1), &nodes);
        assert_eq!(found, Some(ids(&[4, 2])));
        assert_eq!(replace(&ids(&[1, 2]), NodeId::new(3), &nodes), None);
        assert_eq!(replace(&ids(&[1, 2, 3, 4]), NodeId::new(1), &nodes), None);
    }
}
