//! Whether a call may be carried, and where to.

use std::collections::BTreeSet;

use forebay_format::{NodeId, PartitionId};
use forebay_proto::v1;
use http::{HeaderMap, HeaderName};

use crate::grpc::services::Services;

/// The client does not want to be carried: it finds the leader itself.
const NO_CARRY: HeaderName = HeaderName::from_static("forebay-no-carry");

/// The call was carried already.
pub(super) const HOP: HeaderName = HeaderName::from_static("forebay-hop");

/// Whether a call may be carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrying {
    Allowed,
    /// The client said so, or it was carried once.
    Refused,
}

impl Carrying {
    /// As a call's metadata has it. Of a single node there is no other to carry to.
    pub(in crate::grpc) fn of(headers: &HeaderMap, services: &Services) -> Self {
        let refused = services.replicas.is_none() || is_refused(headers);
        if refused { Self::Refused } else { Self::Allowed }
    }

    #[inline]
    pub(in crate::grpc) fn is_allowed(self) -> bool {
        self == Self::Allowed
    }
}

fn is_refused(headers: &HeaderMap) -> bool {
    headers.contains_key(NO_CARRY) || headers.contains_key(HOP)
}

/// A shard of another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::grpc) struct Destination {
    pub(in crate::grpc) node: NodeId,
    /// Index among the node's shards.
    pub(in crate::grpc) shard: u32,
}

impl Destination {
    /// Where a partition is led, if that is another node which is there.
    pub(in crate::grpc) fn of_leader(services: &Services, partition: PartitionId) -> Option<Self> {
        if services.leaders.serves(partition) {
            return None;
        }
        Self::on(services, services.leaders.of(partition).leader?, partition)
    }

    /// Where a partition can be read that this node has no replica of: at its leader, or else at any node that
    /// has one. Those that cannot be reached, as far as the caller knows, come last. `None` also where this node has
    /// one.
    pub(in crate::grpc) fn of_replica(
        services: &Services,
        partition: PartitionId,
        unreachable: &BTreeSet<NodeId>,
    ) -> Option<Self> {
        let standing = services.leaders.of(partition);
        if standing.replicas.contains(&services.facts.node.id) {
            return None;
        }
        let all = standing.leader.into_iter().chain(standing.replicas);
        let nodes = in_order(all, unreachable);
        nodes.into_iter().find_map(|node| Self::on(services, node, partition))
    }

    fn on(services: &Services, node: NodeId, partition: PartitionId) -> Option<Self> {
        let replicas = services.replicas.as_ref().filter(|_| node != services.facts.node.id)?;
        Some(Self { node, shard: replicas.shard_of(node, partition)? })
    }
}

fn in_order(
    nodes: impl IntoIterator<Item = NodeId>,
    unreachable: &BTreeSet<NodeId>,
) -> impl IntoIterator<Item = NodeId> {
    let (last, first): (Vec<_>, Vec<_>) =
        nodes.into_iter().partition(|node| unreachable.contains(node));
    first.into_iter().chain(last)
}

/// Where a client would be answered without being carried.
pub(in crate::grpc) fn hint(services: &Services, to: Destination) -> v1::CarriedTo {
    let view = services.watch.borrow();
    let node = view.nodes.get(&to.node);
    let address = node.and_then(|node| node.shard_addresses.get(to.shard as usize));
    v1::CarriedTo { node_id: to.node.get(), address: address.cloned().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_leader_is_asked_first_and_who_cannot_be_reached_last() {
        let nodes = |ids: &[u32]| ids.iter().copied().map(NodeId::new).collect::<Vec<_>>();
        let order = |unreachable: &[u32]| -> Vec<NodeId> {
            let unreachable = nodes(unreachable).into_iter().collect();
            in_order(nodes(&[2, 1, 3]), &unreachable).into_iter().collect()
        };
        assert_eq!(order(&[]), nodes(&[2, 1, 3]));
        assert_eq!(order(&[2]), nodes(&[1, 3, 2]));
        assert_eq!(order(&[1, 2, 3]), nodes(&[2, 1, 3]));
    }

    #[test]
    fn who_was_carried_or_does_not_want_to_be_is_not_carried() {
        assert!(!is_refused(&HeaderMap::new()));
        for name in [NO_CARRY, HOP] {
            let headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static("1"))]);
            assert!(is_refused(&headers), "{name}");
        }
    }
}
