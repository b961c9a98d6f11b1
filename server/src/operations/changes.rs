//! What has happened to a partition, told from what was seen of its keys before and now. Pure: every node
//! comes to the same events under the same numbers.

use forebay_format::{NodeId, PartitionId};
use forebay_proto::v1::ClusterEventKind as Kind;
use forebay_replication::metadata::{Observation, PartitionState, UncleanElection};

use super::event::{Event, Subject};

/// What has happened between two observations of a partition. Of what was overtaken in between, nothing.
pub(crate) fn of_partition(
    partition: PartitionId,
    before: &Observation,
    after: &Observation,
) -> Vec<Event> {
    let Some(state) = after.state.as_ref().map(|state| &state.value) else { return Vec::new() };
    let old = before.state.as_ref().map(|state| &state.value);
    // What comes late is no news.
    if old.is_some_and(|old| old.version > state.version) {
        return Vec::new();
    }
    let event = |kind, node, number, message| Event {
        kind,
        subject: Subject::partition(partition, node),
        number: Some(number),
        message,
    };
    let mut events = Vec::new();
    let recorded = old.map_or(0, |old| old.unclean.len());
    for unclean in state.unclean.iter().skip(recorded) {
        let (kind, node) = (Kind::UncleanElection, state.leader);
        events.push(event(kind, node, unclean.epoch.get(), forced(node, unclean)));
    }
    let leader_before = before.leader.as_ref().map(|leader| leader.value);
    let leader = after.leader.as_ref().map(|leader| leader.value);
    let epoch_before = old.map(|old| old.epoch);
    match (leader_before, leader) {
        (_, Some(key)) if leader_before != leader || epoch_before != Some(state.epoch) => {
            let message = format!("node {} leads in epoch {}", key.node, state.epoch);
            events.push(event(Kind::LeaderChanged, Some(key.node), state.epoch.get(), message));
        }
        (Some(key), None) => {
            let number = state.epoch.get();
            let (kind, message) = if let Some(to) = state.successor {
                (Kind::LeaderTransferred, format!("node {} hands over to node {to}", key.node))
            } else {
                (Kind::LeaderLost, format!("node {} does not lead any more", key.node))
            };
            events.push(event(kind, Some(key.node), number, message));
        }
        _ => {}
    }
    if let Some(old) = old.filter(|old| old.isr != state.isr) {
        let message = in_sync(old, state);
        events.push(event(Kind::InSyncChanged, None, state.version, message));
    }
    events
}

fn forced(node: Option<NodeId>, election: &UncleanElection) -> String {
    let UncleanElection { epoch, kept, lost_upto } = election;
    let who = node.map_or_else(|| "a replica".to_owned(), |node| format!("node {node}"));
    let lost = if *lost_upto > kept.end {
        format!("offsets {} to {} may be lost", kept.end, lost_upto.get() - 1)
    } else {
        "no record is known to be lost".to_owned()
    };
    format!("an operator made {who} lead in epoch {epoch} with what it has: {lost}")
}

fn in_sync(old: &PartitionState, new: &PartitionState) -> String {
    let lacks = |others: &[NodeId], nodes: &[NodeId]| -> Vec<NodeId> {
        nodes.iter().filter(|node| !others.contains(node)).copied().collect()
    };
    let (came, left) = (lacks(&old.isr, &new.isr), lacks(&new.isr, &old.isr));
    let mut message = format!("in sync: {}", list(&new.isr));
    for (nodes, what) in [(came, "came"), (left, "left")] {
        if !nodes.is_empty() {
            message = format!("{message}; {} {what}", list(&nodes));
        }
    }
    message
}

/// `node 2`, `nodes 1, 3`.
pub(super) fn list(nodes: &[NodeId]) -> String {
    let all: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    let word = if nodes.len() == 1 { "node" } else { "nodes" };
    if nodes.is_empty() { "nobody".to_owned() } else { format!("{word} {}", all.join(", ")) }
}

#[cfg(test)]
mod tests {
    use forebay_format::{Epoch, Offset, PartitionIndex, Position, ReplicaId, TopicId};
    use forebay_replication::metadata::{
        Incarnation, Keyed, LeaderKey, Member, ObservationSource, Revision,
    };

    use super::*;

    const PLACE: PartitionId = PartitionId::new(TopicId::ZERO, PartitionIndex::new(2));

    fn node(number: u32) -> NodeId {
        NodeId::new(number)
    }

    fn state() -> PartitionState {
        let member = |number: u32| Member {
            node: node(number),
            replica: ReplicaId::from_u128(number.into()),
        };
        PartitionState::first([1, 2, 3].map(member).to_vec())
    }

    fn keyed<T>(value: T) -> Keyed<T> {
        Keyed { value, created: Revision::new(1), modified: Revision::new(1) }
    }

    fn seen(leader: Option<u32>, state: &PartitionState) -> Observation {
        let key = |number| LeaderKey { node: node(number), incarnation: Incarnation::new(1) };
        Observation {
            source: ObservationSource::Watch,
            revision: Revision::new(1),
            leader: leader.map(|number| keyed(key(number))),
            state: Some(keyed(state.clone())),
            assigned: vec![],
            reported: vec![],
        }
    }

    fn told(before: &Observation, after: &Observation) -> Vec<(Kind, u64, String)> {
        let events = of_partition(PLACE, before, after);
        let fact = |event: Event| (event.kind, event.number.expect("a number"), event.message);
        events.into_iter().map(fact).collect()
    }

    #[test]
    fn leaders_come_go_and_hand_over() {
        let first = state();
        let led = first.with_leader(node(1), Epoch::new(4));
        let handed = led.with_successor(Some(node(2)));
        let next = handed.with_leader(node(2), Epoch::new(5));
        let cases = [
            (
                seen(None, &first),
                seen(Some(1), &led),
                Kind::LeaderChanged,
                4,
                "node 1 leads in epoch 4",
            ),
            (
                seen(Some(1), &led),
                seen(None, &led),
                Kind::LeaderLost,
                4,
                "node 1 does not lead any more",
            ),
            (
                seen(Some(1), &led),
                seen(None, &handed),
                Kind::LeaderTransferred,
                4,
                "node 1 hands over to node 2",
            ),
            (
                seen(None, &handed),
                seen(Some(2), &next),
                Kind::LeaderChanged,
                5,
                "node 2 leads in epoch 5",
            ),
        ];
        for (before, after, kind, number, message) in cases {
            assert_eq!(told(&before, &after), [(kind, number, message.to_owned())]);
            assert_eq!(told(&after, &after), [], "nothing has happened since");
        }
    }

    #[test]
    fn who_came_into_the_in_sync_set_and_who_left_is_said() {
        let led = state().with_leader(node(1), Epoch::new(4));
        let two = led.with_isr(vec![node(1), node(2)]);
        let found = told(&seen(Some(1), &led), &seen(Some(1), &two));
        let expected = "in sync: nodes 1, 2; node 3 left".to_owned();
        assert_eq!(found, [(Kind::InSyncChanged, two.version, expected)]);
        let found = told(&seen(Some(1), &two), &seen(Some(1), &two.with_isr(led.isr.clone())));
        assert_eq!(found[0].2, "in sync: nodes 1, 2, 3; node 3 came");
        assert_eq!(told(&seen(Some(1), &two), &seen(Some(1), &led)), [], "that is older");
    }

    #[test]
    fn unclean_election_says_what_may_be_lost() {
        let led = state().with_leader(node(1), Epoch::new(4));
        let kept = Position::new(Epoch::new(4), Offset::new(10));
        let election = UncleanElection { epoch: Epoch::new(5), kept, lost_upto: Offset::new(15) };
        let forced = led.with_unclean(election, led.replicas[2]);
        let found = told(&seen(None, &led), &seen(Some(3), &forced));
        let message = "an operator made node 3 lead in epoch 5 with what it has: offsets 10 to 14 may be lost";
        assert_eq!(found[0], (Kind::UncleanElection, 5, message.to_owned()));
        assert_eq!(found[1].0, Kind::LeaderChanged);
    }
}
