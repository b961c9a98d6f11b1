//! The composition root: puts configuration, storage, shards, gRPC and the control thread together, and
//! takes them apart again.
//!
//! ```text
//! data directory ─▶ sockets ─▶ coordinator ─▶ shards ready ─▶ listen ─▶ serve
//!                                                                         │ signal
//! clean file ◀── shards stopped ◀── streams ended, or deadline ◀── drain ◀┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use forebay_engine::{DataDirectory, Mode, ShardMetrics, mailboxes, shard_of};
use forebay_format::{CleanEntry, ClusterId, NodeId};
use forebay_replication::health::HealthSettings;
use tokio::task::{JoinHandle, JoinSet};

use crate::banner;
use crate::bridge::{ControlLink, ControlRequests, ShardCommand, ShardLink};
use crate::config::{Config, Origin};
use crate::control::{Control, Events, lead_all};
use crate::faults::Faults;
use crate::grpc::{Health, NodeFacts, ServerMetrics};
use crate::leadership::etcd::facade::{EtcdCoordinator, StartOptions};
use crate::leadership::{
    ClusterCoordinator, Coordination, Coordinator, Leaders, LocalCoordinator, NodeRegistration,
};
use crate::net::{self, BindError, BoundSocket, ConnectionCounts, ShardThread, Stop, StopSignal};
use crate::node::RunError;
use crate::operations::{
    HealthWatch, HeartbeatSetup, History, LeaseDeadline, Operations, Peers, keep_history,
    send_heartbeats,
};
use crate::ports::{Addresses, Ports, registration};
use crate::replication::ReplicationMetrics;
use crate::shard::{self, Membership, ShardSetup};
use crate::telemetry::{self, ClusterMetrics, HttpState, Metrics, MetricsOfShard, Readiness};

/// Beyond the drain, how long the shards may take to make everything durable and close their logs.
const CLOSE_PATIENCE: Duration = Duration::from_secs(20);

/// A node that serves.
pub(crate) struct Serving {
    config: Config,
    pub(crate) addresses: Addresses,
    cluster_id: String,
    directory: DataDirectory,
    pub(crate) control: Control<Coordination>,
    threads: Vec<ShardThread<()>>,
    http: JoinHandle<()>,
    health: Health,
    readiness: Readiness,
    /// Tells all streams that the node is about to stop.
    drain: Stop,
    /// Ends with this.
    _watching: Watching,
}

/// What is watched and kept for people, by tasks of their own.
struct Watching {
    operations: Operations,
    /// They end with this.
    _tasks: JoinSet<()>,
}

impl Watching {
    fn start(
        facts: &NodeFacts,
        coordinator: &impl Coordinator,
        leaders: &Arc<Leaders>,
        lease: LeaseDeadline,
    ) -> Self {
        let (node, watch) = (facts.node.id, coordinator.watch());
        let (history, requests) = History::new();
        let (board, health) = HealthWatch::new();
        let runtime = tokio::runtime::Handle::current();
        let peers = Peers::new(node, watch.clone(), health.clone(), runtime);
        let mut tasks = JoinSet::new();
        tasks.spawn(keep_history(requests, node, watch.clone()));
        let cluster = &facts.config.cluster;
        if !cluster.is_alone() {
            let settings = HealthSettings {
                interval_ms: cluster.heartbeat_interval.as_millis(),
                suspected_after: cluster.suspected_after,
                unhealthy_after: cluster.unhealthy_after,
            };
            tasks.spawn(send_heartbeats(HeartbeatSetup {
                cluster: facts.cluster,
                node,
                settings,
                watch,
                leaders: Arc::clone(leaders),
                board,
                history: history.clone(),
            }));
        }
        Self { operations: Operations { history, health, peers, lease }, _tasks: tasks }
    }
}

impl Serving {
    pub(crate) async fn start(mut config: Config) -> Result<Self, RunError> {
        let shards = config.node.shards.resolve();
        let (directory, clean) = open_data(&config)?;
        // From here on, the one that was taken.
        directory.path().clone_into(&mut config.node.data);
        let ports = Ports::bind(&config, shards)?;
        let joined = Joined::join(&config, &directory, &ports.addresses, shards).await?;
        let Joined { mut coordinator, cluster, node, members, lease } = joined;
        // And the number that the node was given, or has had for long.
        config.node.id = node.id.get();
        let health = Health::new().await;
        let (drain, draining) = Stop::new();
        let faults = config.faults.enabled.then(Faults::new);
        let facts = Arc::new(NodeFacts { cluster, node, config: config.clone(), faults });
        let leaders = Arc::new(Leaders::default());
        let watching = Watching::start(&facts, &coordinator, &leaders, lease);
        let setup = Setup {
            facts: &facts,
            operations: &watching.operations,
            directory: directory.cluster(),
            leaders: &leaders,
            health: &health,
            drain: &draining,
        };
        let mut spawned = Spawned::spawn(&setup, &mut coordinator, clean, members).await?;
        let readiness = Readiness::default();
        let mut control = Control::new(
            coordinator,
            std::mem::take(&mut spawned.links),
            spawned.requests,
            spawned.events,
            (facts.node.id, leaders),
        );
        let engines = control.all_ready().await?;
        control.resume_removals().await;
        let of_shards = spawned.metrics.into_iter().zip(engines);
        let http = Arc::new(HttpState {
            metrics: Metrics::new(of_shards.map(CountsOfShard::with_engine).collect()),
            cluster: ClusterMetrics {
                shards: control.shards().to_vec(),
                operations: watching.operations.clone(),
                watch: control.watch(),
                clustered: !config.cluster.is_alone(),
            },
            readiness: readiness.clone(),
            cluster_id: cluster.to_string(),
            node_id: facts.node.id.get(),
        });
        let http = tokio::spawn(ports.http.serve(http));
        listen(control.shards(), ports.shared.into_iter().zip(ports.own)).await?;
        control.joined().await?;
        health.serving().await;
        readiness.ready();
        Ok(Self {
            config,
            addresses: ports.addresses,
            cluster_id: cluster.to_string(),
            directory,
            control,
            threads: spawned.threads,
            http,
            health,
            readiness,
            drain,
            _watching: watching,
        })
    }

    /// Tells people and programs that the node is there.
    pub(crate) fn announce(&self) {
        let Addresses { grpc, http, .. } = &self.addresses;
        for (setting, value, origin) in self.config.entries() {
            if *origin != Origin::Default {
                tracing::info!(setting, value, %origin, "configured");
            }
        }
        tracing::info!(%grpc, %http, shards = self.threads.len(), cluster_id = self.cluster_id, "ready");
        if self.config.network.advertise.0.is_none() && self.config.network.listen.is_wildcard() {
            tracing::warn!(
                "clients are told no address, because every machine is {}; they use the one that they know, \
                 and batches take a longer way: set network.advertise (--advertise)",
                self.config.network.listen.host()
            );
        }
        if self.config.faults.enabled {
            tracing::warn!(
                "FAULTS ARE ENABLED: whoever reaches this node can make it lose messages or end; unset faults.enabled \
                 where records are to be kept"
            );
        }
        // Whoever reads the log by program would stumble over it.
        if telemetry::is_text(self.config.log.format) {
            banner::print(&self.config, &self.addresses, &self.cluster_id);
        }
    }

    /// Drains, stops the shards, and leaves the clean file.
    pub(crate) async fn stop(mut self) -> Result<(), RunError> {
        tracing::info!("draining");
        self.readiness.draining();
        self.health.not_serving().await;
        self.drain.stop();
        let patience = self.config.node.drain_timeout.as_duration() + CLOSE_PATIENCE;
        let entries = tokio::time::timeout(patience, self.control.drain_and_stop()).await;
        let entries = entries.map_err(|_elapsed| RunError::StopTimedOut)??;
        for thread in self.threads {
            thread.join();
        }
        self.directory.close_clean(entries)?;
        self.control.into_coordinator().stop().await;
        self.http.abort();
        tracing::info!("stopped; everything is on stable storage");
        Ok(())
    }
}

/// Has every shard serve its two sockets.
async fn listen(
    shards: &[ShardLink],
    sockets: impl Iterator<Item = (BoundSocket, BoundSocket)>,
) -> Result<(), BindError> {
    for (shard, (shared, own)) in shards.iter().zip(sockets) {
        for socket in [shared, own] {
            shard.send(ShardCommand::Serve { socket: socket.listen()? }).await;
        }
    }
    Ok(())
}

/// The data directory that is set, or one of those in it.
fn open_data(config: &Config) -> Result<(DataDirectory, Vec<CleanEntry>), RunError> {
    let mode = if config.cluster.is_alone() { Mode::Local } else { Mode::Cluster };
    let place = &config.node.data;
    if !config.node.claim_data {
        return Ok(DataDirectory::open(place, mode)?);
    }
    let (directory, clean) = DataDirectory::claim(place, mode)?;
    tracing::info!(place = %place.display(), data = %directory.path().display(), "data directory taken");
    Ok((directory, clean))
}

/// What a node is to others: alone, or one of several.
struct Joined {
    coordinator: Coordination,
    /// As people know it.
    cluster: ClusterId,
    node: NodeRegistration,
    /// By shard.
    members: Vec<Option<Membership>>,
    lease: LeaseDeadline,
}

impl Joined {
    async fn join(
        config: &Config,
        directory: &DataDirectory,
        addresses: &Addresses,
        shards: u32,
    ) -> Result<Self, RunError> {
        let node = registration(config, addresses);
        if config.cluster.is_alone() {
            let cluster = directory.cluster();
            let mut coordinator = LocalCoordinator::open(directory.path(), cluster)?;
            coordinator.register(node.clone()).await?;
            let members = (0..shards).map(|_| None).collect();
            return Ok(Self {
                coordinator: Coordination::Alone(coordinator),
                cluster,
                node,
                members,
                lease: LeaseDeadline::none(),
            });
        }
        let protocol = forebay_replication::Config::default();
        let etcd = EtcdCoordinator::start(StartOptions {
            etcd: &config.cluster.etcd,
            data: directory.path(),
            node_id: config.own_node_id().map(NodeId::new),
            address: node.address.clone(),
            shard_addresses: node.shard_addresses.clone(),
            shards: shards as usize,
            replication: protocol.clone(),
        });
        let etcd = etcd.await?;
        let identity = etcd.identity();
        let seat = |shard| {
            let owns = move |partition| shard_of(partition, shards).get() == shard;
            let seat = etcd.seat(shard as usize, owns);
            Some(Membership { seat, protocol: protocol.clone() })
        };
        let members = (0..shards).map(seat).collect();
        let lease = LeaseDeadline::new(etcd.lease_deadline());
        let clustered = ClusterCoordinator::new(etcd, directory.path());
        let coordinator = Coordination::Clustered(Box::new(clustered));
        let node = NodeRegistration { id: identity.node, ..node };
        Ok(Self { coordinator, cluster: identity.cluster, node, members, lease })
    }
}

/// What all shards are made of.
#[derive(Clone, Copy)]
struct Setup<'a> {
    facts: &'a Arc<NodeFacts>,
    /// The cluster id that the files of this data directory bear.
    directory: ClusterId,
    operations: &'a Operations,
    leaders: &'a Arc<Leaders>,
    health: &'a Health,
    drain: &'a StopSignal,
}

/// The threads of the shards, and all ways to them.
struct Spawned {
    links: Vec<ShardLink>,
    requests: ControlRequests,
    events: Events,
    threads: Vec<ShardThread<()>>,
    metrics: Vec<CountsOfShard>,
}

/// Where a shard counts, besides its engine.
#[derive(Debug, Clone, Default)]
struct CountsOfShard {
    server: Arc<ServerMetrics>,
    connections: Arc<ConnectionCounts>,
    replication: Arc<ReplicationMetrics>,
}

impl CountsOfShard {
    fn with_engine((counted, engine): (Self, Arc<ShardMetrics>)) -> MetricsOfShard {
        let Self { server, connections, replication } = counted;
        MetricsOfShard { engine, server, connections, replication }
    }
}

impl Spawned {
    async fn spawn(
        setup: &Setup<'_>,
        coordinator: &mut impl Coordinator,
        clean: Vec<CleanEntry>,
        members: Vec<Option<Membership>>,
    ) -> Result<Self, RunError> {
        let Setup { facts, directory, operations, leaders, health, drain } = *setup;
        let watch = coordinator.watch();
        let mut topics = Vec::new();
        for topic in coordinator.topics().await? {
            let leaderships = lead_all(coordinator, &topic).await?;
            leaders.lead_alone(facts.node.id, &leaderships);
            topics.push((topic, leaderships));
        }
        let shards = facts.config.node.shards.resolve();
        let (control, requests) = ControlLink::new();
        // A shard says a handful of things in its life.
        let (events_in, events) = async_channel::bounded(shards as usize * 4);
        let (inboxes, addresses) = mailboxes(shards);
        let cores = net::cores(shards as usize);
        let mut spawned =
            Self { links: vec![], requests, events, threads: vec![], metrics: vec![] };
        let shards_of = addresses.iter().zip(inboxes).zip(cores).zip(members);
        for (((address, inbox), core), member) in shards_of {
            let index = address.shard();
            let (link, commands) = ShardLink::new();
            let counted = CountsOfShard::default();
            let of_shard = |entry: &&CleanEntry| shard_of(entry.partition, shards) == index;
            let setup = ShardSetup {
                index,
                shards,
                directory,
                facts: facts.clone(),
                inbox,
                addresses: addresses.clone(),
                clean: clean.iter().filter(of_shard).cloned().collect(),
                topics: topics.clone(),
                leaders: leaders.clone(),
                watch: watch.clone(),
                operations: operations.clone(),
                replication: Arc::clone(&counted.replication),
                member,
                health: health.clone(),
                runtime: tokio::runtime::Handle::current(),
                control: control.clone(),
                commands,
                events: events_in.clone(),
                drain: drain.clone(),
                metrics: Arc::clone(&counted.server),
                connections: Arc::clone(&counted.connections),
            };
            let name = format!("forebay-shard-{index}");
            spawned.threads.push(net::spawn_shard(name, core, move || shard::run(setup))?);
            spawned.links.push(link);
            spawned.metrics.push(counted);
        }
        Ok(spawned)
    }
}
