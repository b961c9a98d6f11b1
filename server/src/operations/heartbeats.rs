//! R15: asks every other node again and again whether it answers, each on a connection of its own, so that
//! this never queues behind records. How a node seems then, the protocol's machine says; this sends, and
//! shows. Runs on the control thread.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use forebay_format::{ClusterId, NodeId};
use forebay_proto::v1;
use forebay_proto::v1::ClusterEventKind as Kind;
use forebay_proto::v1::replication_service_client::ReplicationServiceClient;
use forebay_replication::health::{Health, HealthOutput, HealthSettings, NodeHealth};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tonic::transport::{Channel, Endpoint};

use super::event::{Event, Subject};
use super::health::{HealthBoard, NodeSight};
use super::history::History;
use crate::clock;
use crate::leadership::{ClusterView, ClusterWatch, Leaders};

/// How often the machine is told the time, at least.
const TICK_MS_MAX: u64 = 100;

/// What sends heartbeats is made of.
#[derive(Debug)]
pub(crate) struct HeartbeatSetup {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) settings: HealthSettings,
    pub(crate) watch: ClusterWatch,
    /// Whose replicas there are: such a node is asked for even when it is away.
    pub(crate) leaders: std::sync::Arc<Leaders>,
    pub(crate) board: HealthBoard,
    pub(crate) history: History,
}

/// A node that is asked.
#[derive(Debug)]
struct Asked {
    channel: Option<Channel>,
    sight: NodeSight,
}

/// Sends heartbeats until it is dropped.
pub(crate) async fn send(setup: HeartbeatSetup) {
    let settings = setup.settings;
    let mut heart = Heart {
        health: Health::new(settings),
        asked: BTreeMap::new(),
        present: BTreeMap::new(),
        known: false,
        answers: JoinSet::new(),
        setup,
    };
    heart.on_view();
    let every = Duration::from_millis(settings.interval_ms.min(TICK_MS_MAX));
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(answer) = heart.answers.join_next() => {
                if let Ok(Some((node, number))) = answer {
                    heart.on_answer(node, number);
                }
            }
            Ok(()) = heart.setup.watch.changed() => heart.on_view(),
            _ = ticks.tick() => heart.on_tick(),
        }
    }
}

struct Heart {
    setup: HeartbeatSetup,
    health: Health,
    asked: BTreeMap<NodeId, Asked>,
    /// Those that have a lease, with their incarnations.
    present: BTreeMap<NodeId, u64>,
    /// The nodes were seen once.
    known: bool,
    answers: JoinSet<Option<(NodeId, u64)>>,
}

impl Heart {
    /// The nodes, or the topics, have changed.
    fn on_view(&mut self) {
        let view = self.setup.watch.borrow_and_update().clone();
        self.tell_who_came_and_went(&view);
        let own = self.setup.node;
        for (node, record) in view.nodes.iter().filter(|(node, _)| **node != own) {
            let known = self.asked.entry(*node).or_insert_with(|| Asked {
                channel: None,
                sight: NodeSight {
                    address: "".into(),
                    health: NodeHealth::Healthy,
                    answered_at: clock::boottime(),
                },
            });
            if *known.sight.address != *record.address {
                known.sight.address = record.address.as_str().into();
                known.channel = connection(&record.address, self.setup.settings);
            }
        }
        self.watch_them();
    }

    /// Asks those that live, and those that have replicas, as long as their addresses are known.
    fn watch_them(&mut self) {
        let holders = self.setup.leaders.holders();
        let present = &self.present;
        self.asked.retain(|node, _| present.contains_key(node) || holders.contains(node));
        let nodes: Vec<NodeId> = self.asked.keys().copied().collect();
        self.health.watch(&nodes);
        self.show();
    }

    fn tell_who_came_and_went(&mut self, view: &ClusterView) {
        let now: BTreeMap<NodeId, u64> =
            view.nodes.iter().map(|(id, node)| (*id, node.incarnation.get())).collect();
        let own = self.setup.node;
        for (node, incarnation) in &now {
            // Others that are there already have come before.
            let news = self.known || *node == own;
            if news && self.present.get(node) != Some(incarnation) {
                let message = format!("node {node} has joined");
                self.tell(Kind::NodeJoined, *node, Some(*incarnation), message);
            }
        }
        for (node, incarnation) in &self.present {
            if !now.contains_key(node) {
                let message = format!("node {node} has left: its lease is gone");
                self.tell(Kind::NodeLeft, *node, Some(*incarnation), message);
            }
        }
        self.known |= !now.is_empty();
        self.present = now;
    }

    fn tell(&self, kind: Kind, node: NodeId, number: Option<u64>, message: String) {
        let event = Event { kind, subject: Subject::node(node), number, message };
        self.setup.history.record(event);
    }

    fn on_tick(&mut self) {
        let now = clock::boottime();
        if now < self.health.deadline() {
            return;
        }
        self.watch_them();
        let mut outputs = Vec::new();
        self.health.on_tick(now, &mut outputs);
        self.carry_out(outputs);
    }

    fn on_answer(&mut self, node: NodeId, number: u64) {
        if let Some(asked) = self.asked.get_mut(&node) {
            asked.sight.answered_at = clock::boottime();
        }
        let mut outputs = Vec::new();
        self.health.on_answer(node, number, &mut outputs);
        self.carry_out(outputs);
    }

    fn carry_out(&mut self, outputs: Vec<HealthOutput>) {
        for output in outputs {
            match output {
                HealthOutput::Beat { to, number } => self.beat(to, number),
                HealthOutput::Changed { node, health } => self.on_changed(node, health),
            }
        }
        self.show();
    }

    fn on_changed(&mut self, node: NodeId, health: NodeHealth) {
        let Some(asked) = self.asked.get_mut(&node) else { return };
        asked.sight.health = health;
        let seconds = asked.sight.silent_ms() / 1000;
        let own = self.setup.node;
        let message = match health {
            NodeHealth::Healthy => format!("node {node} answers node {own} again"),
            NodeHealth::Suspected => {
                format!("node {node} is suspected: it has not answered node {own} for {seconds} s")
            }
            NodeHealth::Unhealthy => {
                format!("node {node} is unhealthy: it has not answered node {own} for {seconds} s")
            }
        };
        self.tell(Kind::NodeHealth, node, None, message);
    }

    /// Asks once. Given up when so many later ones have made the node unhealthy, so that only so many are
    /// under way.
    fn beat(&mut self, to: NodeId, number: u64) {
        let Some(channel) = self.asked.get(&to).and_then(|asked| asked.channel.clone()) else {
            return;
        };
        let hello = v1::PeerHello {
            cluster_id: Bytes::copy_from_slice(&self.setup.cluster.to_bytes()),
            from_node: self.setup.node.get(),
            to_node: to.get(),
        };
        let patience = patience(self.setup.settings);
        self.answers.spawn(async move {
            let mut service = ReplicationServiceClient::new(channel);
            let asked = service.heartbeat(v1::HeartbeatRequest { hello: Some(hello) });
            let answer = tokio::time::timeout(patience, asked).await;
            matches!(answer, Ok(Ok(_))).then_some((to, number))
        });
    }

    fn show(&self) {
        let sight = |(node, asked): (&NodeId, &Asked)| (*node, asked.sight.clone());
        self.setup.board.show(self.asked.iter().map(sight).collect());
    }
}

/// How long one heartbeat may take: as many intervals as make a node unhealthy.
fn patience(settings: HealthSettings) -> Duration {
    let HealthSettings { interval_ms, unhealthy_after, .. } = settings;
    Duration::from_millis(interval_ms.saturating_mul(unhealthy_after.into()))
}

/// A connection that notices by itself when the other side is gone without a word.
fn connection(address: &str, settings: HealthSettings) -> Option<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
    let endpoint = endpoint
        .connect_timeout(patience(settings))
        .http2_keep_alive_interval(Duration::from_millis(settings.interval_ms))
        .keep_alive_timeout(patience(settings))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    Some(endpoint.connect_lazy())
}
