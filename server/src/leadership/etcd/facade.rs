//! The whole of a node's coordination, as the rest of the server sees it. Starts the parts, owns their
//! tasks, and takes them apart.

use std::path::Path;
use std::sync::Arc;

use async_channel::Sender;
use forebay_format::{NodeId, PartitionId, TopicName};
use forebay_replication::lease::LeaseInput;
use forebay_replication::{Config, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::Connection;
use super::error::EtcdError;
use super::grant::{Granter, Life, revoke};
use super::identity::{Identity, StartError, settle};
use super::keys::Keys;
use super::lease::{LeaseDriver, SignsOfLife};
use super::seat::{Desk, Seat};
use super::topics::Topics;
use super::transactions::Transactor;
use super::view::ClusterView;
use super::watch::{Listener, Watcher};
use crate::config::EtcdConfig;
use crate::leadership::coordinator::{CreateTopicError, DeleteTopicError, TopicDraft};
use crate::leadership::topic::Topic;

/// Seats that wait to be told of their partitions. A node has one for each shard, of which there are at
/// most so many.
const SEATS_MAX: usize = crate::config::ShardCount::MAX as usize;

/// What a node says of itself.
#[derive(Debug)]
pub(crate) struct StartOptions<'a> {
    pub(crate) etcd: &'a EtcdConfig,
    /// The data directory, which this process holds.
    pub(crate) data: &'a Path,
    /// Who it is, if somebody has said so.
    pub(crate) node_id: Option<NodeId>,
    /// `HOST:PORT` that every shard answers on.
    pub(crate) address: String,
    /// `HOST:PORT` of each shard alone.
    pub(crate) shard_addresses: Vec<String>,
    pub(crate) shards: usize,
    pub(crate) replication: Config,
}

/// See the module. What it started ends when it is dropped; the lease then runs out by itself.
#[derive(Debug)]
pub(crate) struct EtcdCoordinator {
    identity: Identity,
    transactor: Transactor,
    topics: Topics,
    signs: SignsOfLife,
    life: watch::Receiver<Option<Life>>,
    view: watch::Receiver<Arc<ClusterView>>,
    joining: Sender<Listener>,
    driver: JoinSet<()>,
    desks: Desks,
}

/// The tasks of the seats. A seat is taken by `&self`.
#[derive(Debug)]
struct Desks(Sender<Desk>);

impl EtcdCoordinator {
    /// Settles who this node is, and begins to keep its lease and to watch. Who it is is durable in the data
    /// directory when this returns; the lease is asked for when the disk and every shard have shown life.
    /// Waits for etcd without limit.
    ///
    /// # Errors
    /// What waiting does not mend, see [`StartError`].
    pub(crate) async fn start(options: StartOptions<'_>) -> Result<Self, StartError> {
        let connection = Connection::new(options.etcd)?;
        let keys = Keys::new(options.etcd.prefix.as_str());
        let settled = settle(&connection, &keys, options.data, options.node_id).await?;
        let (memory, remembered) = settled;
        let identity = Identity { cluster: remembered.cluster, node: remembered.node };
        let ttl_s = options.etcd.lease_ttl.as_millis().div_ceil(1000);
        let granter = Granter {
            connection: connection.clone(),
            keys: keys.clone(),
            memory: Arc::new(memory),
            remembered,
            address: options.address,
            shard_addresses: options.shard_addresses,
            ttl_s: i64::try_from(ttl_s).unwrap_or(i64::MAX),
        };
        let (lease, signs, life) = LeaseDriver::new(options.replication, options.shards, granter);
        let (joining, joins) = async_channel::bounded(SEATS_MAX);
        let (watcher, view) = Watcher::new(connection.clone(), keys.clone(), joins);
        let (desks_in, desks) = async_channel::bounded(SEATS_MAX);
        let mut driver = JoinSet::new();
        driver.spawn(lease.run());
        driver.spawn(watcher.run());
        driver.spawn(run_desks(desks));
        let transactor =
            Transactor { connection: connection.clone(), keys: keys.clone(), node: identity.node };
        let topics = Topics { connection, keys };
        let desks = Desks(desks_in);
        Ok(Self { identity, transactor, topics, signs, life, view, joining, driver, desks })
    }

    /// Who this node is.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// A shard's place. It is first told the lease, if there is one, and of every partition that it owns.
    pub(crate) fn seat(
        &self,
        shard: usize,
        owns: impl Fn(PartitionId) -> bool + Send + Sync + 'static,
    ) -> Seat {
        let (transactor, signs) = (self.transactor.clone(), self.signs.clone());
        let (desk, seat, observed) = Desk::new(shard, transactor, signs, self.life.clone());
        let listener = Listener { owns: Box::new(owns), observed };
        // There is room for as many as a node can have shards.
        let seated = self.joining.try_send(listener).is_ok() && self.desks.0.try_send(desk).is_ok();
        assert!(seated, "a seat for each shard, and no more");
        seat
    }

    /// A small write and fsync on the data disk, begun then, has succeeded.
    pub(crate) fn disk_probed(&self, begun_at: Instant) {
        self.signs.send(LeaseInput::DiskProbed { begun_at });
    }

    /// Waits until the node has a lease, and so a key that others see.
    pub(crate) fn leased(&self) -> impl Future<Output = ()> + use<> {
        let mut life = self.life.clone();
        async move {
            // Without the driver the node is about to end.
            life.wait_for(Option::is_some).await.ok();
        }
    }

    /// The cluster as the watch shows it, a new one with each change of nodes or topics. Before the first
    /// listing it is empty.
    pub(crate) fn cluster(&self) -> watch::Receiver<Arc<ClusterView>> {
        self.view.clone()
    }

    /// Waits for the first listing: before it, nothing is known of the cluster.
    pub(crate) async fn listed(&self) {
        // What is seen through `self.view` is never marked as seen. Without a watch the node is about to end.
        self.view.clone().changed().await.ok();
    }

    /// Says the local deadline of the node's lease, while there is one.
    pub(crate) fn lease_deadline(&self) -> impl Fn() -> Option<Instant> + Send + Sync + use<> {
        let life = self.life.clone();
        move || life.borrow().as_ref().map(|life| life.until)
    }

    /// Makes a topic. Durable in etcd when it returns.
    ///
    /// # Errors
    /// See [`CreateTopicError`]; after one of etcd, whether the topic exists is unknown.
    pub(crate) async fn create_topic(
        &self,
        draft: TopicDraft,
    ) -> Result<Arc<Topic>, CreateTopicError> {
        let view = self.view.borrow().clone();
        Box::pin(self.topics.create(draft, &view)).await
    }

    /// Ends a topic. Durable in etcd when it returns.
    ///
    /// # Errors
    /// See [`DeleteTopicError`]; after one of etcd, whether the topic exists is unknown.
    pub(crate) async fn delete_topic(
        &self,
        name: &TopicName,
    ) -> Result<Arc<Topic>, DeleteTopicError> {
        Box::pin(self.topics.delete(name)).await
    }

    /// Ends this life at once: the node's key and its leader keys go with the lease. For when everything
    /// that leads has stopped.
    ///
    /// # Errors
    /// etcd does not answer; the lease runs out by itself.
    pub(crate) async fn stop(mut self) -> Result<(), EtcdError> {
        self.driver.shutdown().await;
        let life = self.life.borrow().clone();
        match life {
            Some(life) => revoke(&self.transactor.connection, life.lease).await,
            None => Ok(()),
        }
    }
}

/// Owns the tasks of the seats, which end with it.
async fn run_desks(desks: async_channel::Receiver<Desk>) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            Ok(desk) = desks.recv() => drop(tasks.spawn(desk.run())),
            Some(_) = tasks.join_next() => {}
            else => return,
        }
    }
}
