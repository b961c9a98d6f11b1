//! Metrics of a node's replicas, of its lease, and of other nodes as it sees them: asked for when somebody
//! looks. Of very many partitions, only the first are shown one by one; sums hold all of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use forebay_format::{NodeId, TopicId};
use forebay_replication::health::NodeHealth;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::bridge::{ShardLink, report};
use crate::leadership::ClusterWatch;
use crate::operations::{NodeSight, Operations, ReplicaReport, Role};

/// Replicas that are shown one by one.
const REPLICAS_SHOWN_MAX: usize = 1000;

/// Where it is asked for.
#[derive(Debug)]
pub(crate) struct ClusterMetrics {
    pub(crate) shards: Vec<ShardLink>,
    pub(crate) operations: Operations,
    /// The names of topics.
    pub(crate) watch: ClusterWatch,
    /// Whether the node is one of several. Alone, there is nothing to show.
    pub(crate) clustered: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    clustered: bool,
    lease_margin_ms: u64,
    peers: Arc<BTreeMap<NodeId, NodeSight>>,
    replicas: Vec<ReplicaReport>,
    topics: BTreeMap<TopicId, String>,
}

impl ClusterMetrics {
    /// Asks every shard. Takes a bounded time.
    pub(crate) async fn look(&self) -> Found {
        if !self.clustered {
            return Found::default();
        }
        let mut replicas = report(&self.shards).await.replicas;
        replicas.sort_by_key(|replica| replica.partition);
        let view = self.watch.borrow().clone();
        let name = |topic: &crate::leadership::Topic| (topic.id, topic.name.to_string());
        Found {
            clustered: true,
            lease_margin_ms: self.operations.lease.margin_ms().unwrap_or_default(),
            peers: self.operations.health.all(),
            replicas,
            topics: view.topics.values().map(|record| name(&record.topic)).collect(),
        }
    }
}

/// A value of one replica; `None`: it has none.
type Read = fn(&ReplicaReport) -> Option<u64>;

/// Of a replica: name, meaning, value.
const OF_REPLICA: [(&str, &str, Read); 6] = [
    (
        "forebay_replica_role",
        "0: follows, 1: is being elected, 2: leads, 3: its log is not open",
        |it| Some(role(it.role)),
    ),
    ("forebay_replica_epoch", "The highest epoch that it has promised", |it| Some(it.epoch.get())),
    ("forebay_replica_end_offset", "Exclusive end of its log", |it| Some(it.end.get())),
    ("forebay_replica_committed_offset", "Exclusive end of what may be read there", |it| {
        Some(it.committed.get())
    }),
    (
        "forebay_partition_lag_records",
        "Of a partition led here: records that the replica furthest behind lacks",
        |it| (it.role == Role::Leader).then(|| it.lag_records()),
    ),
    ("forebay_partition_in_sync_replicas", "Of a partition led here: replicas in sync", |it| {
        (it.role == Role::Leader).then_some(it.in_sync as u64)
    }),
];

const fn role(role: Role) -> u64 {
    match role {
        Role::Follower => 0,
        Role::Candidate => 1,
        Role::Leader => 2,
        Role::Closed => 3,
    }
}

const ROLES: [(Role, &str); 4] = [
    (Role::Follower, "follower"),
    (Role::Candidate, "candidate"),
    (Role::Leader, "leader"),
    (Role::Closed, "closed"),
];

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "a span of time needs no 64 bits")]
fn seconds(ms: u64) -> ConstGauge<f64> {
    ConstGauge::new(ms as f64 / 1e3)
}

impl Found {
    fn encode_node(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut one = |name: &str, help: &str, value: u64| {
            let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            gauge(value).encode(family)
        };
        let alarms = self.replicas.iter().filter(|replica| replica.alarm.is_some()).count();
        one("forebay_replica_alarms", "Replicas that people must look at", alarms as u64)?;
        let lack = self.replicas.iter().filter(|replica| replica.is_under_replicated()).count();
        let help = "Partitions led here with a voter that is not in sync";
        one("forebay_under_replicated_partitions", help, lack as u64)?;
        let led = self.replicas.iter().filter(|replica| replica.role == Role::Leader);
        let lag = led.map(ReplicaReport::lag_records).max().unwrap_or_default();
        let help = "Of all partitions led here: records that the replica furthest behind lacks";
        one("forebay_lag_records_max", help, lag)?;
        let left_out = self.replicas.len().saturating_sub(REPLICAS_SHOWN_MAX);
        let help = "Replicas that are not shown one by one";
        one("forebay_replicas_left_out", help, left_out as u64)?;
        let help = "How long the node's lease is sure to live; 0 without one";
        let (name, unit) = ("forebay_lease_margin", Some(&Unit::Seconds));
        let family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        seconds(self.lease_margin_ms).encode(family)?;
        let (name, help) = ("forebay_replicas", "Replicas by the part that they play");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (role, word) in ROLES {
            let count = self.replicas.iter().filter(|replica| replica.role == role).count();
            gauge(count as u64).encode(family.encode_family(&[("role", word)])?)?;
        }
        Ok(())
    }

    fn encode_peers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "How another node seems: 0 healthy, 1 suspected, 2 unhealthy";
        let name = "forebay_peer_health";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (node, sight) in self.peers.iter() {
            let value = match sight.health {
                NodeHealth::Healthy => 0,
                NodeHealth::Suspected => 1,
                NodeHealth::Unhealthy => 2,
            };
            gauge(value).encode(family.encode_family(&[("node", node.to_string())])?)?;
        }
        let help = "For how long another node has not answered; 0 while it seems healthy";
        let (name, unit) = ("forebay_peer_silent", Some(&Unit::Seconds));
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (node, sight) in self.peers.iter() {
            let label = [("node", node.to_string())];
            seconds(sight.silent_ms()).encode(family.encode_family(&label)?)?;
        }
        Ok(())
    }

    fn encode_replicas(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, read) in &OF_REPLICA {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for replica in self.replicas.iter().take(REPLICAS_SHOWN_MAX) {
                let Some(value) = read(replica) else { continue };
                let id = replica.partition;
                let topic = self.topics.get(&id.topic).cloned();
                let topic = topic.unwrap_or_else(|| id.topic.to_string());
                let label = [("topic", topic), ("partition", id.partition.to_string())];
                gauge(value).encode(family.encode_family(&label)?)?;
            }
        }
        Ok(())
    }
}

impl Collector for Found {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if !self.clustered {
            return Ok(());
        }
        self.encode_node(&mut encoder)?;
        self.encode_peers(&mut encoder)?;
        self.encode_replicas(&mut encoder)
    }
}

#[cfg(test)]
mod tests {
    use forebay_format::{Epoch, Offset, PartitionId, PartitionIndex};
    use forebay_replication::Instant;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    fn page(found: Found) -> String {
        let (mut registry, mut page) = (Registry::default(), String::new());
        registry.register_collector(Box::new(found));
        encode(&mut page, &registry).expect("a string takes everything");
        page
    }

    fn replica(index: u32) -> ReplicaReport {
        let partition = PartitionId::new(TopicId::ZERO, PartitionIndex::new(index));
        ReplicaReport {
            role: Role::Leader,
            epoch: Epoch::new(7),
            end: Offset::new(10),
            committed: Offset::new(9),
            voters: 3,
            in_sync: 2,
            acknowledged: vec![(NodeId::new(2), Offset::new(10)), (NodeId::new(3), Offset::new(4))],
            ..ReplicaReport::closed(partition)
        }
    }

    fn found(replicas: Vec<ReplicaReport>) -> Found {
        let sight = NodeSight {
            address: "".into(),
            health: NodeHealth::Suspected,
            answered_at: Instant::ZERO,
        };
        Found {
            clustered: true,
            lease_margin_ms: 1500,
            peers: Arc::new(BTreeMap::from([(NodeId::new(3), sight)])),
            replicas,
            topics: BTreeMap::from([(TopicId::ZERO, "orders".to_owned())]),
        }
    }

    #[test]
    fn lease_peers_and_replicas_are_shown() {
        let page = page(found(vec![replica(2), ReplicaReport::closed(replica(3).partition)]));
        for line in [
            "forebay_lease_margin_seconds 1.5",
            "forebay_lag_records_max 6",
            "forebay_replicas{role=\"leader\"} 1",
            "forebay_replicas{role=\"closed\"} 1",
            "forebay_peer_health{node=\"3\"} 1",
            "forebay_replica_role{topic=\"orders\",partition=\"2\"} 2",
            "forebay_replica_epoch{topic=\"orders\",partition=\"2\"} 7",
            "forebay_partition_lag_records{topic=\"orders\",partition=\"2\"} 6",
            "forebay_replica_role{topic=\"orders\",partition=\"3\"} 3",
            "forebay_partition_in_sync_replicas{topic=\"orders\",partition=\"2\"} 2",
            "forebay_under_replicated_partitions 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
        assert!(!page.contains("forebay_partition_lag_records{topic=\"orders\",partition=\"3\"}"));
    }

    #[test]
    fn of_very_many_replicas_the_rest_is_counted() {
        let page = page(found((0..1010).map(replica).collect()));
        let shown = page.lines().filter(|line| line.starts_with("forebay_replica_epoch{")).count();
        assert_eq!(shown, REPLICAS_SHOWN_MAX);
        assert!(page.contains("\nforebay_replicas_left_out 10\n"), "{page}");
    }
}
