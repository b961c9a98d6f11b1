//! The composition root: puts configuration, storage, shards, gRPC and the control thread together, and
//! takes them apart again.
//!
//! ```text
//! data directory ─▶ sockets ─▶ coordinator ─▶ shards ready ─▶ listen ─▶ serve
//!                                                                         │ signal
//! clean file ◀── shards stopped ◀── streams ended, or deadline ◀── drain ◀┘
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use forebay_engine::{DataDirectory, DataDirectoryError, Mode, mailboxes, shard_of};
use forebay_format::{CleanEntry, NodeId};

use crate::banner;
use crate::bridge::{ControlLink, ControlRequests, ShardCommand, ShardLink};
use crate::config::{Address, Config};
use crate::control::{Control, Events, ShardFailed, lead_all};
use crate::grpc::{Health, NodeFacts, ServerMetrics};
use crate::leadership::{Coordinator, LocalCoordinator, NodeRegistration, StateFileError};
use crate::net::{
    self, BindError, BoundSocket, ConnectionCounts, ShardThread, SpawnError, Stop, StopSignal,
};
use crate::shard::{self, ShardSetup};
use crate::shutdown::EndSignals;
use crate::telemetry::{self, HttpPort, HttpState, Metrics, MetricsOfShard, Readiness};

/// Beyond the drain, how long the shards may take to make everything durable and close their logs.
const CLOSE_PATIENCE: Duration = Duration::from_secs(20);

/// Why a node could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The data directory.
    #[error(transparent)]
    Data(#[from] DataDirectoryError),
    /// A port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The topics.
    #[error(transparent)]
    State(#[from] StateFileError),
    /// A shard's thread.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A shard could not start, or its disk failed. What was acknowledged as durable is.
    #[error(transparent)]
    Shard(#[from] ShardFailed),
    /// Something that the system refuses to the control thread.
    #[error("the control thread cannot {what}: {source}")]
    Control {
        /// What it wanted.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The shards did not close their logs in time. The next start looks through them.
    #[error("the shards did not end in time; the next start looks through their logs")]
    StopTimedOut,
    /// A second signal came while the node was stopping. The next start looks through the logs.
    #[error("interrupted while stopping; the next start looks through the logs")]
    Interrupted,
}

/// Where a node is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// gRPC, any shard.
    pub grpc: SocketAddr,
    /// gRPC of each shard alone.
    pub shards: Vec<SocketAddr>,
    /// HTTP.
    pub http: SocketAddr,
}

/// A node that runs in threads of its own.
#[derive(Debug)]
pub struct Node {
    addresses: Addresses,
    stop: Stop,
    control: JoinHandle<Result<(), RunError>>,
}

/// Runs a node until it is told to stop by SIGTERM or SIGINT. Everything that was acknowledged as
/// durable is on stable storage when this returns, whatever it returns.
///
/// # Errors
/// Whatever kept the node from starting, or ended it.
pub fn run(config: Config) -> Result<(), RunError> {
    telemetry::start_logs(config.log.format);
    Node::start_with(config, Owner::Process)?.join()
}

/// Who listens to signals, and talks to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The node: the process is there for it.
    Process,
    /// The program that has started it.
    Program,
}

impl Node {
    /// Starts a node and returns once it serves. It installs no signal handlers and prints nothing.
    ///
    /// # Errors
    /// Whatever kept it from starting.
    pub fn start(config: Config) -> Result<Self, RunError> {
        Self::start_with(config, Owner::Program)
    }

    /// Where it is reached; ports that the system chose are filled in.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Drains, stops, and leaves a clean data directory.
    ///
    /// # Errors
    /// What kept it from that, or had ended it before.
    pub fn stop(self) -> Result<(), RunError> {
        self.stop.stop();
        self.join()
    }

    fn start_with(config: Config, owner: Owner) -> Result<Self, RunError> {
        let (stop, stopped) = Stop::new();
        let (started, start) = sync_channel(1);
        let control = std::thread::Builder::new()
            .name("forebay-control".to_owned())
            .spawn(move || control_thread(config, owner, &stopped, &started))
            .map_err(|source| RunError::Control { what: "start", source })?;
        match start.recv() {
            Ok(addresses) => Ok(Self { addresses, stop, control }),
            Err(_) => match join(control) {
                Err(error) => Err(error),
                Ok(()) => unreachable!("a control thread that ends well has told where it serves"),
            },
        }
    }

    /// Waits until it ends by itself.
    fn join(self) -> Result<(), RunError> {
        let Self { stop, control, .. } = self;
        let ended = join(control);
        drop(stop);
        ended
    }
}

fn join(thread: JoinHandle<Result<(), RunError>>) -> Result<(), RunError> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn control_thread(
    config: Config,
    owner: Owner,
    stopped: &StopSignal,
    started: &SyncSender<Addresses>,
) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| RunError::Control { what: "start its runtime", source })?;
    runtime.block_on(async {
        let signals = match owner {
            Owner::Process => EndSignals::of_process(),
            Owner::Program => Ok(EndSignals::none()),
        };
        let mut signals =
            signals.map_err(|source| RunError::Control { what: "listen to signals", source })?;
        let mut serving = tokio::select! {
            serving = Serving::start(config) => serving?,
            () = signals.next() => return Ok(()),
        };
        if owner == Owner::Process {
            serving.announce();
        }
        started.send(serving.addresses.clone()).ok();
        tokio::select! {
            failed = serving.control.serve() => return Err(failed.into()),
            () = signals.next_or(stopped) => {}
        }
        tokio::select! {
            result = serving.stop() => result,
            () = signals.next() => Err(RunError::Interrupted),
        }
    })
}

/// A node that serves.
struct Serving {
    config: Config,
    addresses: Addresses,
    cluster_id: String,
    directory: DataDirectory,
    control: Control<LocalCoordinator>,
    threads: Vec<ShardThread<()>>,
    health: Health,
    readiness: Readiness,
    /// Tells all streams that the node is about to stop.
    drain: Stop,
}

/// Sockets that have their ports.
struct Ports {
    shared: Vec<BoundSocket>,
    own: Vec<BoundSocket>,
    http: HttpPort,
    addresses: Addresses,
}

impl Serving {
    async fn start(config: Config) -> Result<Self, RunError> {
        let shards = config.node.shards.resolve();
        let (directory, clean) = DataDirectory::open(&config.node.data, Mode::Local)?;
        let ports = Ports::bind(&config, shards)?;
        let mut coordinator = LocalCoordinator::open(directory.path(), directory.cluster())?;
        let node = registration(&config, &ports.addresses);
        coordinator.register(node.clone()).await?;
        let health = Health::new().await;
        let (drain, draining) = Stop::new();
        let facts =
            Arc::new(NodeFacts { cluster: directory.cluster(), node, config: config.clone() });
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
        tokio::spawn(ports.http.serve(http));
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
            health,
            readiness,
            drain,
        })
    }

    /// Tells people and programs that the node is there.
    fn announce(&self) {
        let Addresses { grpc, http, .. } = &self.addresses;
        tracing::info!(%grpc, %http, shards = self.threads.len(), cluster_id = self.cluster_id, "ready");
        banner::print(&self.config, &self.addresses, &self.cluster_id);
    }

    /// Drains, stops the shards, and leaves the clean file.
    async fn stop(mut self) -> Result<(), RunError> {
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
        tracing::info!("stopped; everything is on stable storage");
        Ok(())
    }
}

impl Ports {
    fn bind(config: &Config, shards: u32) -> Result<Self, RunError> {
        let listen = &config.network.listen;
        let count = shards as usize;
        let shared = BoundSocket::bind(listen, count, "network.listen (--listen)")?;
        let mut own = Vec::with_capacity(count);
        for index in 0..shards {
            let address = shard_address(listen, listen.port(), index);
            own.extend(BoundSocket::bind(&address, 1, "network.listen (--listen)")?);
        }
        let http = BoundSocket::bind(&config.network.http, 1, "network.http (--http)")?;
        let http = http.into_iter().next().expect("one was asked for");
        let addresses = Addresses {
            grpc: shared[0].address(),
            shards: own.iter().map(BoundSocket::address).collect(),
            http: http.address(),
        };
        let http = HttpPort::new(http.listen()?)
            .map_err(|source| RunError::Control { what: "serve HTTP", source })?;
        Ok(Self { shared, own, http, addresses })
    }
}

/// The address of a shard's own port. With port 0 the system chooses each.
fn shard_address(listen: &Address, port: u16, index: u32) -> Address {
    let own = u16::try_from(u32::from(port) + 1 + index).unwrap_or(0);
    listen.with_port(if port == 0 { 0 } else { own })
}

/// What others are told.
fn registration(config: &Config, addresses: &Addresses) -> NodeRegistration {
    let (address, shard_addresses) = match &config.network.advertise.0 {
        None => {
            let host = config.network.listen.host();
            let own = addresses.shards.iter().map(|own| Address::new(host, own.port()));
            (Address::new(host, addresses.grpc.port()), own.collect::<Vec<_>>())
        }
        Some(address) => {
            let shards = 0..u32::try_from(addresses.shards.len()).unwrap_or(u32::MAX);
            let own = shards.map(|index| shard_address(address, address.port(), index));
            (address.clone(), own.collect())
        }
    };
    NodeRegistration {
        id: NodeId::new(config.node.id),
        address: address.to_string(),
        shard_addresses: shard_addresses.iter().map(Address::to_string).collect(),
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
