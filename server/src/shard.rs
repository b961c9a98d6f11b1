//! The life of one shard, on its executor: engine, services, connections, and the commands of the control
//! thread, until it is told to stop.

use std::net::TcpListener;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use async_channel::{Receiver, Sender};
use forebay_engine::{
    Clock, FsyncPolicy, Inbox, Shard, ShardAddress, ShardConfig, ShardIndex, StartError,
};
use forebay_format::{CleanEntry, ClusterId, PartitionId};
use futures_util::future::{Either, join, join3, select};
use tokio::runtime::Handle;

use crate::bridge::{ControlLink, Reply, ShardCommand, ShardCommands, ShardEvent};
use crate::catalog::Catalog;
use crate::config::{self, Config};
use crate::grpc::{Health, NodeFacts, OpenRequests, Router, ServerMetrics, Services};
use crate::leadership::{ClusterWatch, Leaders, Leadership, Seat, Topic};
use crate::net::{
    self, ConnectionCounts, ConnectionLimits, Connections, Listener, Stop, StopSignal,
};

use crate::operations::{Operations, OrderError};
use crate::replication::{Replicas, ReplicasSetup, ReplicationMetrics};

/// Distance of index entries, in bytes.
const INDEX_INTERVAL_BYTES: u64 = 32 * 1024;

/// How long connections may take to end that were told to, when no stream is left on them.
const GOODBYE: std::time::Duration = std::time::Duration::from_millis(500);

/// What a shard is made of. Crosses to its thread.
pub(crate) struct ShardSetup {
    pub(crate) index: ShardIndex,
    pub(crate) shards: u32,
    /// The cluster id that the files of the data directory bear.
    pub(crate) directory: ClusterId,
    pub(crate) facts: Arc<NodeFacts>,
    pub(crate) inbox: Inbox,
    pub(crate) addresses: Vec<ShardAddress>,
    /// Of this shard's partitions.
    pub(crate) clean: Vec<CleanEntry>,
    pub(crate) topics: Vec<(Arc<Topic>, Arc<[Leadership]>)>,
    pub(crate) leaders: Arc<Leaders>,
    pub(crate) watch: ClusterWatch,
    pub(crate) operations: Operations,
    pub(crate) replication: Arc<ReplicationMetrics>,
    /// Of a node among others.
    pub(crate) member: Option<Membership>,
    pub(crate) health: Health,
    /// The control thread's.
    pub(crate) runtime: Handle,
    pub(crate) control: ControlLink,
    pub(crate) commands: ShardCommands,
    pub(crate) events: Sender<(ShardIndex, ShardEvent)>,
    pub(crate) drain: StopSignal,
    pub(crate) metrics: Arc<ServerMetrics>,
    pub(crate) connections: Arc<ConnectionCounts>,
}

/// What a shard of a node among others has besides.
pub(crate) struct Membership {
    /// What etcd says of its partitions, and the way to ask it.
    pub(crate) seat: Seat,
    /// Times and limits of the protocol.
    pub(crate) protocol: forebay_replication::Config,
}

/// Runs the shard to its end. What comes of it is told in events.
pub(crate) async fn run(setup: ShardSetup) {
    let (index, events) = (setup.index, setup.events.clone());
    let end = match Running::start(setup).await {
        Ok(running) => running.run().await,
        Err(error) => ShardEvent::Failed(error.to_string()),
    };
    // Without the control thread there is nobody to tell.
    events.send((index, end)).await.ok();
}

/// Partitions whose files are to be removed, and who is told when they are gone.
type FilesToRemove = (Arc<[PartitionId]>, Reply<Result<(), String>>);

/// A shard that has started.
struct Running {
    index: ShardIndex,
    engine: Shard,
    services: Rc<Services>,
    router: Rc<Router>,
    connections: Connections,
    /// Ends the connections.
    end: Stop,
    commands: ShardCommands,
    events: Sender<(ShardIndex, ShardEvent)>,
}

impl Running {
    async fn start(setup: ShardSetup) -> Result<Self, StartError> {
        let config = &setup.facts.config;
        let engine =
            Shard::start(engine_config(config, &setup), setup.inbox, setup.addresses, setup.clean)
                .await?;
        let defaults = config.topics.defaults.clone();
        let replicas = setup.member.map(|member| {
            Replicas::start(ReplicasSetup {
                cluster: setup.facts.cluster,
                node: setup.facts.node.id,
                config: member.protocol,
                traces: config.cluster.trace.clone(),
                engine: engine.clone(),
                seat: member.seat,
                watch: setup.watch.clone(),
                control: setup.control.clone(),
                leaders: Arc::clone(&setup.leaders),
                operations: setup.operations.clone(),
                metrics: setup.replication,
                faults: setup.facts.faults.clone(),
            })
        });
        let (index, shards) = (setup.index, setup.shards);
        let catalog = Catalog::new(engine.clone(), index, shards, defaults, replicas.clone());
        for (topic, leaderships) in setup.topics {
            catalog.add(topic, &leaderships);
        }
        let (end, ended) = Stop::new();
        let limits = ConnectionLimits { connections: config.network.connections_per_shard };
        let connections = Connections::new(limits, setup.connections, setup.drain.clone(), ended);
        let services = Rc::new(Services {
            catalog,
            replicas,
            leaders: setup.leaders,
            watch: setup.watch,
            operations: setup.operations,
            control: setup.control,
            facts: setup.facts,
            drain: setup.drain,
            metrics: setup.metrics,
            open_requests: OpenRequests::default(),
        });
        let router = Rc::new(Router::new(services.clone(), &setup.health, &setup.runtime));
        let (commands, events) = (setup.commands, setup.events);
        Ok(Self { index, engine, services, router, connections, end, commands, events })
    }

    async fn run(self) -> ShardEvent {
        self.tell(ShardEvent::Ready(self.engine.metrics())).await;
        let failed = match select(pin!(self.engine.failed()), pin!(self.work())).await {
            Either::Left((message, _)) => message,
            Either::Right(((), _)) => {
                match select(pin!(self.engine.failed()), pin!(self.engine.clone().stop())).await {
                    Either::Left((message, _)) => message,
                    Either::Right((entries, _)) => return ShardEvent::Stopped(entries),
                }
            }
        };
        ShardEvent::Failed(failed)
    }

    async fn tell(&self, event: ShardEvent) {
        self.events.send((self.index, event)).await.ok();
    }

    /// Follows commands, removes files and drains beside, until told to stop and what was to be removed
    /// is gone.
    async fn work(&self) {
        let (deleted, to_remove) = async_channel::unbounded();
        join3(self.follow_commands(deleted), self.remove_files(to_remove), self.drain()).await;
    }

    async fn follow_commands(&self, deleted: Sender<FilesToRemove>) {
        while let Ok(command) = self.commands.recv().await {
            match command {
                ShardCommand::Serve { socket } => self.accept(socket),
                ShardCommand::AddTopic { topic, leaderships, done } => {
                    self.services.catalog.add(topic, &leaderships);
                    done.send(());
                }
                ShardCommand::RemoveTopic { topic, forgotten } => {
                    self.services.catalog.remove(&topic.name, topic.id);
                    forgotten.send(());
                }
                ShardCommand::RemoveFiles { partitions, removed } => {
                    deleted.try_send((partitions, removed)).ok();
                }
                ShardCommand::Report { reply } => {
                    let replicas = self.services.replicas.as_ref();
                    reply.send(replicas.map(Replicas::report).unwrap_or_default());
                }
                ShardCommand::Order { partition, order, reply } => {
                    match self.services.replicas.clone() {
                        Some(replicas) => net::spawn(async move {
                            reply.send(replicas.order(partition, order).await);
                        }),
                        None => reply.send(Err(OrderError::NotHere)),
                    }
                }
                ShardCommand::Stop => return,
            }
        }
    }

    fn accept(&self, socket: TcpListener) {
        let (connections, router) = (self.connections.clone(), self.router.clone());
        net::spawn(async move {
            connections.accept(Listener::new(socket), || router.connection()).await;
        });
    }

    /// Removes the files of the partitions of deleted topics that are this shard's, until nothing more
    /// can be deleted.
    async fn remove_files(&self, deleted: Receiver<FilesToRemove>) {
        while let Ok((partitions, removed)) = deleted.recv().await {
            let mut result = Ok(());
            let owned =
                partitions.iter().filter(|partition| self.services.catalog.owns(**partition));
            for &partition in owned {
                if let Err(error) = self.engine.remove_partition(partition).await {
                    tracing::error!(%error, "files of a deleted topic are left; the next start tries again");
                    result = Err(error.to_string());
                }
            }
            removed.send(result);
        }
    }

    /// When the node drains: waits for the streams, says that they are gone, and ends the connections.
    async fn drain(&self) {
        self.services.drain.stopped().await;
        let patience = self.services.facts.config.node.drain_timeout.as_duration();
        let hand_over = async {
            if let Some(replicas) = &self.services.replicas {
                replicas.hand_over().await;
            }
        };
        let over = join(hand_over, self.services.open_requests.none());
        if net::timeout(patience, over).await.is_some() {
            // Their last answers are on the way.
            net::timeout(GOODBYE, self.connections.none()).await;
        } else {
            tracing::warn!(shard = %self.index, "streams did not end in time and are cut off");
        }
        self.end.stop();
        self.connections.none().await;
        self.tell(ShardEvent::Drained).await;
    }
}

fn engine_config(config: &Config, setup: &ShardSetup) -> ShardConfig {
    ShardConfig {
        data: config.node.data.clone(),
        shard: setup.index,
        cluster: setup.directory,
        memory_bytes: config.storage.memory_per_shard.get(),
        fsync: match config.storage.fsync {
            config::FsyncPolicy::Batch => FsyncPolicy::Batch,
            config::FsyncPolicy::Interval(span) => FsyncPolicy::Interval(span.as_duration()),
        },
        index_interval_bytes: INDEX_INTERVAL_BYTES,
        disk_reserve_bytes: config.storage.disk_reserve.get(),
        clock: Clock::default(),
    }
}
