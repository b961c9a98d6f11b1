//! Prometheus metrics. Nothing is counted here: the counters of engine and server are read when somebody
//! asks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay_engine::ShardMetrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::cluster_metrics::Found;
use crate::grpc::ServerMetrics;
use crate::net::ConnectionCounts;
use crate::replication::{LATENCY_BOUNDS_US, LatencyCounts, ReplicationMetrics};

/// What one shard counts.
#[derive(Debug, Clone)]
pub(crate) struct MetricsOfShard {
    pub(crate) engine: Arc<ShardMetrics>,
    pub(crate) server: Arc<ServerMetrics>,
    pub(crate) connections: Arc<ConnectionCounts>,
    pub(crate) replication: Arc<ReplicationMetrics>,
}

/// The metrics of a node.
#[derive(Debug)]
pub(crate) struct Metrics(Registry);

impl Metrics {
    /// Of shards in order.
    pub(crate) fn new(shards: Vec<MetricsOfShard>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Shards(shards)));
        Self(registry)
    }

    /// The page, in the text format of `OpenMetrics`, with what was found of the cluster just now.
    pub(crate) fn page(&self, cluster: Found) -> String {
        let mut found = Registry::default();
        found.register_collector(Box::new(cluster));
        let mut page = String::new();
        let written = encode_registry(&mut page, &self.0)
            .and_then(|()| encode_registry(&mut page, &found))
            .and_then(|()| encode_eof(&mut page));
        written.expect("a string takes whatever is written to it");
        page
    }
}

#[derive(Debug)]
struct Shards(Vec<MetricsOfShard>);

/// Where a value is read.
type Read = fn(&MetricsOfShard) -> u64;

/// A counter: name without unit and `_total`, unit, meaning, place.
const COUNTERS: [(&str, Option<Unit>, &str, Read); 19] = [
    ("forebay_appended_batches", None, "Batches made durable", |s| s.engine.appended_batches.get()),
    ("forebay_appended_records", None, "Records made durable", |s| s.engine.appended_records.get()),
    ("forebay_appended", Some(Unit::Bytes), "Batches made durable, headers included", |s| {
        s.engine.appended_bytes.get()
    }),
    ("forebay_flushes", None, "Groups of batches flushed", |s| s.engine.flushes.get()),
    ("forebay_cache_read", Some(Unit::Bytes), "Read by consumers from memory", |s| {
        s.engine.cache_read_bytes.get()
    }),
    ("forebay_disk_read", Some(Unit::Bytes), "Read by consumers from the disk", |s| {
        s.engine.disk_read_bytes.get()
    }),
    ("forebay_retired_segments", None, "Segments deleted by retention", |s| {
        s.engine.retired_segments.get()
    }),
    ("forebay_connections_accepted", None, "Connections accepted", |s| {
        load(&s.connections.accepted)
    }),
    ("forebay_produce_streams", None, "Produce streams opened", |s| {
        load(&s.server.produce_streams)
    }),
    ("forebay_consume_streams", None, "Consume streams opened", |s| {
        load(&s.server.consume_streams)
    }),
    ("forebay_consumed", Some(Unit::Bytes), "Batches sent to consumers", |s| {
        load(&s.server.consumed_bytes)
    }),
    ("forebay_produce_errors", None, "Batches answered with an error", |s| {
        load(&s.server.produce_errors)
    }),
    ("forebay_elections", None, "Elections that a replica here began", |s| {
        load(&s.replication.elections)
    }),
    ("forebay_elections_won", None, "Epochs in which a replica here came to serve", |s| {
        load(&s.replication.elections_won)
    }),
    ("forebay_unclean_elections", None, "Elections here that an operator ordered", |s| {
        load(&s.replication.unclean_elections)
    }),
    ("forebay_leader_transfers", None, "Leaderships handed over as planned", |s| {
        load(&s.replication.transfers)
    }),
    ("forebay_in_sync_changes", None, "Changes of in-sync sets of partitions led here", |s| {
        load(&s.replication.in_sync_changes)
    }),
    ("forebay_faults_met", None, "Messages that met a fault on purpose", |s| {
        load(&s.replication.faults)
    }),
    (
        "forebay_peer_streams_lost",
        None,
        "Streams to other nodes that broke, or did not begin",
        |s| load(&s.replication.links_lost),
    ),
];

/// A level, likewise.
const GAUGES: [(&str, Option<Unit>, &str, Read); 4] = [
    ("forebay_connections", None, "Connections open", |s| {
        s.connections.open.load(Ordering::Relaxed).into()
    }),
    ("forebay_buffer", Some(Unit::Bytes), "Buffers in use", |s| s.engine.buffer_bytes.get()),
    ("forebay_open_partitions", None, "Partitions whose log is open", |s| {
        s.engine.open_partitions.get()
    }),
    ("forebay_quarantined_partitions", None, "Partitions found damaged", |s| {
        s.engine.quarantined_partitions.get()
    }),
];

/// A counter of time, which the shards keep in nanoseconds.
const TIMES: [(&str, &str, Read); 2] = [
    ("forebay_write", "Time spent waiting for writes", |s| s.engine.write_nanoseconds.get()),
    ("forebay_sync", "Time spent waiting for fdatasync", |s| s.engine.sync_nanoseconds.get()),
];

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Shards {
    fn encode_each<M: EncodeMetric>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, unit, help): (&str, Option<&Unit>, &str),
        metric: impl Fn(&MetricsOfShard) -> M,
    ) -> fmt::Result {
        let Some(first) = self.0.first() else { return Ok(()) };
        let kind = metric(first).metric_type();
        let mut family = encoder.encode_descriptor(name, help, unit, kind)?;
        for (index, shard) in self.0.iter().enumerate() {
            let label = [("shard", index.to_string())];
            metric(shard).encode(family.encode_family(&label)?)?;
        }
        Ok(())
    }
}

impl Shards {
    /// From the proposal of a batch to its answer, where that waits for a quorum at least.
    fn encode_commit_latency(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (name, help) = ("forebay_commit_latency", "From a batch's proposal to its commit");
        let mut family =
            encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (index, shard) in self.0.iter().enumerate() {
            let LatencyCounts { buckets, sum_us } = shard.replication.commit.counts();
            let bounds = LATENCY_BOUNDS_US.iter().map(|us| seconds(us * 1000));
            let buckets: Vec<(f64, u64)> =
                bounds.chain([f64::INFINITY]).zip(buckets.iter().copied()).collect();
            let label = [("shard", index.to_string())];
            family.encode_family(&label)?.encode_histogram::<NoLabelSet>(
                seconds(sum_us.saturating_mul(1000)),
                buckets.iter().map(|(_, count)| count).sum(),
                &buckets,
                None,
            )?;
        }
        Ok(())
    }
}

impl Collector for Shards {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, unit, help, read) in &COUNTERS {
            let what = (*name, unit.as_ref(), *help);
            self.encode_each(&mut encoder, what, |shard| ConstCounter::new(read(shard)))?;
        }
        for (name, unit, help, read) in &GAUGES {
            let level = |shard: &MetricsOfShard| i64::try_from(read(shard)).unwrap_or(i64::MAX);
            let what = (*name, unit.as_ref(), *help);
            self.encode_each(&mut encoder, what, |shard| ConstGauge::new(level(shard)))?;
        }
        self.encode_commit_latency(&mut encoder)?;
        for (name, help, read) in &TIMES {
            let what = (*name, Some(&Unit::Seconds), *help);
            self.encode_each(&mut encoder, what, |shard| ConstCounter::new(seconds(read(shard))))?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a sum of times needs no 64 bits")]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_our_prefix_and_base_units() {
        let shard = MetricsOfShard {
            engine: Arc::default(),
            server: Arc::default(),
            connections: Arc::default(),
            replication: Arc::default(),
        };
        shard.replication.commit.observe(std::time::Duration::from_micros(150));
        let page = Metrics::new(vec![shard.clone(), shard]).page(Found::default());
        for name in [
            "forebay_appended_bytes_total{shard=\"1\"} 0",
            "forebay_consumed_bytes_total{shard=\"0\"} 0",
            "forebay_sync_seconds_total{shard=\"0\"} 0.0",
            "forebay_connections{shard=\"0\"} 0",
            "forebay_buffer_bytes{shard=\"1\"} 0",
            "forebay_elections_total{shard=\"0\"} 0",
            "forebay_commit_latency_seconds_bucket{le=\"0.0001\",shard=\"0\"} 0",
            "forebay_commit_latency_seconds_bucket{le=\"0.0002\",shard=\"0\"} 1",
            "forebay_commit_latency_seconds_count{shard=\"0\"} 1",
        ] {
            assert!(page.lines().any(|line| line == name), "{name} is not in\n{page}");
        }
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.starts_with("forebay_"), "{line}");
        }
    }
}
