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

use forebay_engine::{DataDirectory, Mode, mailboxes, shard_of};
use forebay_format::CleanEntry;
use tokio::task::JoinHandle;

use crate::banner;
use crate::bridge::{ControlLink, ControlRequests, ShardCommand, ShardLink};
use crate::config::{Config, Origin};
use crate::control::{Control, Events, lead_all};
use crate::grpc::{Health, NodeFacts, ServerMetrics};
use crate::leadership::{Coordinator, LocalCoordinator};
use crate::net::{self, ConnectionCounts, ShardThread, Stop, StopSignal};
use crate::node::RunError;
use crate::ports::{Addresses, Ports, registration};
use crate::shard::{self, ShardSetup};
use crate::telemetry::{self, HttpState, Metrics, MetricsOfShard, Readiness};

/// Beyond the drain, how long the shards may take to make everything durable and close their logs.
const CLOSE_PATIENCE: Duration = Duration::from_secs(20);

/// A node that serves.
pub(crate) struct Serving {
    config: Config,
    pub(crate) addresses: Addresses,
    cluster_id: String,
    directory: DataDirectory,
    pub(crate) control: Control<LocalCoordinator>,
    threads: Vec<ShardThread<()>>,
    http: JoinHandle<()>,
    health: Health,
    readiness: Readiness,
    /// Tells all streams that the node is about to stop.
    drain: Stop,
}

impl Serving {
    pub(crate) async fn start(config: Config) -> Result<Self, RunError> {
        let shards = config.node.shards.resolve();
        let (directory, clean) = DataDirectory::open(&config.node.data, Mode::Local)?;
        let ports = Ports::bind(&config, shards)?;
        let mut coordinator = LocalCoordinator::open(directory.path(), directory.cluster())?;
        let node = registration(&config, &ports.addresses);
        coordinator.register(node.clone()).await?;
        let health = Health::new().await;
        let (drain, draining) = Stop::new();
        let facts = Arc::new(NodeFacts {
            cluster: directory.cluster(),
            node,
            shards,
            config: config.clone(),
        });
        let mut spawned =
            Spawned::spawn(&facts, &mut coordinator, clean, &health, &draining).await?;
        let readiness = Readiness::default();
        let mut control = Control::new(
            coordinator,
            std::mem::take(&mut spawned.links),
            spawned.requests,
            spawned.events,
        );
        let engines = control.all_ready().await?;
        control.resume_removals().await;
        let of_shards =
            spawned.metrics.into_iter().zip(engines).map(|((server, connections), engine)| {
                MetricsOfShard { engine, server, connections }
            });
        let http = Arc::new(HttpState {
            metrics: Metrics::new(of_shards.collect()),
            readiness: readiness.clone(),
            cluster_id: directory.cluster().to_string(),
            node_id: config.node.id,
        });
        let http = tokio::spawn(ports.http.serve(http));
        for (link, (shared, own)) in
            control.shards().iter().zip(ports.shared.into_iter().zip(ports.own))
        {
            for socket in [shared, own] {
                let socket = socket.listen()?;
                link.send(ShardCommand::Serve { socket }).await;
            }
        }
        health.serving().await;
        readiness.ready();
        let cluster_id = directory.cluster().to_string();
        let (addresses, threads) = (ports.addresses, spawned.threads);
        Ok(Self {
            config,
            addresses,
            cluster_id,
            directory,
            control,
            threads,
            http,
            health,
            readiness,
            drain,
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
            thread.join()?;
        }
        self.directory.close_clean(entries)?;
        self.http.abort();
        tracing::info!("stopped; everything is on stable storage");
        Ok(())
    }
}

/// The threads of the shards, and all ways to them.
struct Spawned {
    links: Vec<ShardLink>,
    requests: ControlRequests,
    events: Events,
    threads: Vec<ShardThread<()>>,
    metrics: Vec<(Arc<ServerMetrics>, Arc<ConnectionCounts>)>,
}

impl Spawned {
    async fn spawn(
        facts: &Arc<NodeFacts>,
        coordinator: &mut impl Coordinator,
        clean: Vec<CleanEntry>,
        health: &Health,
        drain: &StopSignal,
    ) -> Result<Self, RunError> {
        let mut topics = Vec::new();
        for topic in coordinator.topics().await? {
            let leaderships = lead_all(coordinator, &topic).await?;
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
        for ((address, inbox), core) in addresses.iter().zip(inboxes).zip(cores) {
            let index = address.shard();
            let (link, commands) = ShardLink::new();
            let (metrics, connections) = (Arc::default(), Arc::default());
            let of_shard = |entry: &&CleanEntry| shard_of(entry.partition, shards) == index;
            let setup = ShardSetup {
                index,
                shards,
                facts: facts.clone(),
                inbox,
                addresses: addresses.clone(),
                clean: clean.iter().filter(of_shard).cloned().collect(),
                topics: topics.clone(),
                health: health.clone(),
                runtime: tokio::runtime::Handle::current(),
                control: control.clone(),
                commands,
                events: events_in.clone(),
                drain: drain.clone(),
                metrics: Arc::clone(&metrics),
                connections: Arc::clone(&connections),
            };
            let name = format!("forebay-shard-{index}");
            spawned.threads.push(net::spawn_shard(name, core, move || shard::run(setup))?);
            spawned.links.push(link);
            spawned.metrics.push((metrics, connections));
        }
        Ok(spawned)
    }
}
