//! How other nodes seem to this one. Written by the task that sends heartbeats, seen by every shard.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_format::NodeId;
use forebay_replication::Instant;
use forebay_replication::health::NodeHealth;
use tokio::sync::watch;

use crate::clock;

/// How one other node seems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeSight {
    /// `HOST:PORT`, as it was known last.
    pub(crate) address: Arc<str>,
    pub(crate) health: NodeHealth,
    /// When it has answered last, or was first asked.
    pub(crate) answered_at: Instant,
}

type Sights = Arc<BTreeMap<NodeId, NodeSight>>;

/// The sight of all other nodes, as it changes. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct HealthWatch(watch::Receiver<Sights>);

/// The side that writes it.
#[derive(Debug)]
pub(crate) struct HealthBoard(watch::Sender<Sights>);

impl HealthWatch {
    /// Nobody is seen yet. Both sides.
    pub(crate) fn new() -> (HealthBoard, Self) {
        let (sender, receiver) = watch::channel(Sights::default());
        (HealthBoard(sender), Self(receiver))
    }

    /// How a node seems; `None` of one that nobody has asked, such as this very one.
    pub(crate) fn of(&self, node: NodeId) -> Option<NodeSight> {
        self.0.borrow().get(&node).cloned()
    }

    /// All that are asked.
    pub(crate) fn all(&self) -> Arc<BTreeMap<NodeId, NodeSight>> {
        Arc::clone(&self.0.borrow())
    }

    /// What reconnects go by (R15): a node that nobody has asked is taken for healthy.
    pub(crate) fn health(&self, node: NodeId) -> NodeHealth {
        self.of(node).map_or(NodeHealth::Healthy, |sight| sight.health)
    }

    /// Returns when a node that does not seem healthy does again. For one that does, it never returns.
    pub(crate) async fn recovered(&self, node: NodeId) {
        let mut watch = self.0.clone();
        let healthy = |sights: &Sights| {
            sights.get(&node).is_none_or(|sight| sight.health == NodeHealth::Healthy)
        };
        let was_healthy = healthy(&watch.borrow_and_update());
        // Without the control thread the node is about to end.
        if was_healthy || watch.wait_for(healthy).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl HealthBoard {
    /// This is how they seem now.
    pub(super) fn show(&self, sights: BTreeMap<NodeId, NodeSight>) {
        self.0.send_replace(Arc::new(sights));
    }
}

impl NodeSight {
    /// For how long it has not answered, in milliseconds; 0 while it seems healthy.
    pub(crate) fn silent_ms(&self) -> u64 {
        match self.health {
            NodeHealth::Healthy => 0,
            NodeHealth::Suspected | NodeHealth::Unhealthy => {
                clock::boottime().ms_since(self.answered_at)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Context;

    use futures_util::task::noop_waker_ref;

    use super::*;

    #[test]
    fn who_waits_for_a_node_hears_when_it_is_well_again() {
        let node = NodeId::new(2);
        let (board, watch) = HealthWatch::new();
        let sight = |health| {
            let sight = NodeSight { address: "".into(), health, answered_at: Instant::ZERO };
            BTreeMap::from([(node, sight)])
        };
        let mut cx = Context::from_waker(noop_waker_ref());
        assert!(pin!(watch.recovered(node)).poll(&mut cx).is_pending(), "nothing is wrong with it");
        board.show(sight(NodeHealth::Unhealthy));
        assert_eq!(watch.health(node), NodeHealth::Unhealthy);
        let mut recovered = pin!(watch.recovered(node));
        assert!(recovered.as_mut().poll(&mut cx).is_pending());
        board.show(sight(NodeHealth::Suspected));
        assert!(recovered.as_mut().poll(&mut cx).is_pending());
        board.show(sight(NodeHealth::Healthy));
        assert!(recovered.as_mut().poll(&mut cx).is_ready());
        assert_eq!(watch.health(NodeId::new(9)), NodeHealth::Healthy);
    }
}
