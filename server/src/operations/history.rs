//! The last events that this node has seen, in memory: a ring that a task of the control thread owns.

use std::collections::{BTreeMap, VecDeque};

use async_channel::{Receiver, Sender};
use forebay_format::{NodeId, TopicId, TopicName};
use forebay_proto::v1;

use super::event::Event;
use crate::clock;
use crate::leadership::ClusterWatch;

/// Events that are kept.
const EVENTS_MAX: usize = 4096;

/// Events on their way to the ring. When everything happens at once, the rest is left out and counted.
const WAITING_MAX: usize = 4096;

/// The way to the ring. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct History(Sender<Request>);

/// The ring's side of it.
#[derive(Debug)]
pub(crate) struct HistoryRequests(Receiver<Request>);

#[derive(Debug)]
enum Request {
    Record(Box<Event>, i64),
    Read { since_ms: i64, reply: Sender<Vec<v1::ClusterEvent>> },
}

impl History {
    /// Both sides.
    pub(crate) fn new() -> (Self, HistoryRequests) {
        let (sender, receiver) = async_channel::bounded(WAITING_MAX);
        (Self(sender), HistoryRequests(receiver))
    }

    /// Keeps an event, which happened now.
    pub(crate) fn record(&self, event: Event) {
        if self.0.try_send(Request::Record(Box::new(event), clock::now().get())).is_err() {
            tracing::debug!("too many events at once; one is not kept");
        }
    }

    /// Events of that time or later, in the order seen.
    pub(crate) async fn read(&self, since_ms: i64) -> Vec<v1::ClusterEvent> {
        let (reply, answer) = async_channel::bounded(1);
        // Without the control thread the node is about to end.
        if self.0.send(Request::Read { since_ms, reply }).await.is_err() {
            return Vec::new();
        }
        answer.recv().await.unwrap_or_default()
    }
}

/// Keeps the ring until nobody has a way to it. `cluster` says the names of topics.
pub(crate) async fn run(requests: HistoryRequests, node: NodeId, cluster: ClusterWatch) {
    let mut ring = Ring { node, events: VecDeque::new(), seen: 0 };
    while let Ok(request) = requests.0.recv().await {
        match request {
            Request::Record(event, time_ms) => {
                let name = event.subject.partition.and_then(|it| name_of(&cluster, it.topic));
                ring.push(*event, time_ms, name);
            }
            Request::Read { since_ms, reply } => {
                // Whoever asked may have gone away.
                reply.try_send(ring.since(since_ms)).ok();
            }
        }
    }
}

fn name_of(cluster: &ClusterWatch, topic: TopicId) -> Option<TopicName> {
    let view = cluster.borrow();
    let record = view.topics.values().find(|record| record.topic.id == topic);
    record.map(|record| record.topic.name.clone())
}

#[derive(Debug)]
struct Ring {
    node: NodeId,
    events: VecDeque<v1::ClusterEvent>,
    /// Ever, to tell apart what has no number of its own.
    seen: u64,
}

impl Ring {
    fn push(&mut self, event: Event, time_ms: i64, topic: Option<TopicName>) {
        self.seen += 1;
        let id = event.id(|| format!("{}.{time_ms}.{}", self.node, self.seen));
        // A topic that is gone, or not known yet, is told by its id.
        let topic = event.subject.partition.map(|partition| {
            topic.map_or_else(|| partition.topic.to_string(), |name| name.to_string())
        });
        let event = v1::ClusterEvent {
            id,
            time_ms,
            kind: event.kind.into(),
            seen_by: self.node.get(),
            node_id: event.subject.node.map(NodeId::get),
            topic: topic.unwrap_or_default(),
            partition: event.subject.partition.map(|partition| partition.partition.get()),
            message: event.message,
        };
        tracing::info!(
            event = event.message,
            topic = event.topic,
            partition = event.partition,
            "event"
        );
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn since(&self, since_ms: i64) -> Vec<v1::ClusterEvent> {
        self.events.iter().filter(|event| event.time_ms >= since_ms).cloned().collect()
    }
}

/// What several nodes have seen, each event once, as whoever saw it first tells it; by time.
pub(crate) fn merge(seen: impl IntoIterator<Item = v1::ClusterEvent>) -> Vec<v1::ClusterEvent> {
    let mut by_id: BTreeMap<String, v1::ClusterEvent> = BTreeMap::new();
    for event in seen {
        match by_id.entry(event.id.clone()) {
            std::collections::btree_map::Entry::Vacant(new) => drop(new.insert(event)),
            std::collections::btree_map::Entry::Occupied(mut known) => {
                if (event.time_ms, event.seen_by) < (known.get().time_ms, known.get().seen_by) {
                    known.insert(event);
                }
            }
        }
    }
    let mut events: Vec<_> = by_id.into_values().collect();
    events.sort_by_key(|event| event.time_ms);
    events
}

#[cfg(test)]
mod tests {
    use forebay_proto::v1::ClusterEventKind as Kind;

    use super::*;
    use crate::operations::Subject;

    fn joined(node: u32, number: Option<u64>) -> Event {
        let (kind, subject) = (Kind::NodeJoined, Subject::node(NodeId::new(node)));
        Event { kind, subject, number, message: format!("node {node} is there") }
    }

    fn ring(node: u32) -> Ring {
        Ring { node: NodeId::new(node), events: VecDeque::new(), seen: 0 }
    }

    #[test]
    fn oldest_events_make_way_for_new_ones() {
        let mut ring = ring(1);
        for time_ms in 0..5000 {
            ring.push(joined(2, None), time_ms, None);
        }
        let kept = ring.since(0);
        assert_eq!((kept.len(), kept[0].time_ms), (EVENTS_MAX, 5000 - 4096));
        assert_eq!(ring.since(4998).len(), 2);
    }

    #[test]
    fn what_several_nodes_have_seen_is_told_once_with_its_earliest_time() {
        let (mut one, mut two) = (ring(1), ring(2));
        one.push(joined(3, Some(7)), 20, None);
        two.push(joined(3, Some(7)), 10, None);
        one.push(joined(3, Some(8)), 5, None);
        // Without a number each node has seen something of its own.
        one.push(joined(3, None), 30, None);
        two.push(joined(3, None), 30, None);
        let merged = merge(one.since(0).into_iter().chain(two.since(0)));
        let told: Vec<_> = merged.iter().map(|event| (event.time_ms, event.seen_by)).collect();
        assert_eq!(told, [(5, 1), (10, 2), (30, 1), (30, 2)]);
    }
}
