//! All replicas of a shard: made when the cluster assigns one to this node, and told what happens.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use async_channel::Receiver;
use forebay_engine::{Shard, StampedBatch};
use forebay_format::{ClusterId, NodeId, PartitionId, TopicId};
use forebay_proto::v1;
use forebay_proto::v1::ClusterEventKind;
use forebay_replication::metadata::{Observation, ObservationSource};
use forebay_replication::{BatchMeta, Command, CommandRefusal, Config, Event, LeaseEvent};

use super::commands::COMMAND_PATIENCE;
use super::directory::Directory;
use super::driver::Driver;
use super::links::Links;
use super::metrics::{ReplicationMetrics, add};
use super::passage::Passage;
use super::surroundings::Surroundings;
use super::terms::Terms;
use super::wire;
use crate::bridge::ControlLink;
use crate::clock;
use crate::faults::{Faults, Way};
use crate::leadership::{ClusterWatch, EtcdEvent, EtcdRequest, Leaders, Seat};
use crate::net;
use crate::operations::{Operations, Order, OrderError, ReplicaReport, changes_of_partition};

/// How often a shard shows that it runs (R3).
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// How often a leader looks whether segments have expired.
const RETENTION_EVERY: Duration = Duration::from_secs(10);

/// For how long an order is tried again that cannot be carried out for now, in milliseconds,
const ORDER_RETRIES_MS: u64 = 3_000;

/// and how often.
const ORDER_RETRY: Duration = Duration::from_millis(100);

/// How often a leader looks whether further nodes are to have copies.
const COPIES_EVERY: Duration = Duration::from_secs(2);

/// What the replicas of a shard are made of.
pub(crate) struct ReplicasSetup {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) config: Config,
    /// Where traces of the replicas are written, if anywhere.
    pub(crate) traces: Option<PathBuf>,
    pub(crate) engine: Shard,
    /// What etcd says, and the way to ask it.
    pub(crate) seat: Seat,
    pub(crate) watch: ClusterWatch,
    pub(crate) control: ControlLink,
    /// Who leads what, for all shards of the node to see.
    pub(crate) leaders: Arc<Leaders>,
    /// What people are told, and how other nodes seem.
    pub(crate) operations: Operations,
    pub(crate) metrics: Arc<ReplicationMetrics>,
    /// Where they are enabled.
    pub(crate) faults: Option<Faults>,
}

/// What comes from another node.
type Incoming = (v1::PeerMessage, VecDeque<StampedBatch>);

/// See the module. Clones are the same.
#[derive(Clone)]
pub(crate) struct Replicas(Rc<Inner>);

struct Inner {
    engine: Shard,
    surroundings: Rc<Surroundings>,
    drivers: RefCell<HashMap<PartitionId, Rc<Driver>>>,
    /// What was seen last of every partition that belongs to this shard.
    observed: RefCell<HashMap<PartitionId, Observation>>,
    /// Of the topics that are served.
    terms: RefCell<HashMap<TopicId, Terms>>,
    watch: ClusterWatch,
    /// The node's lease as it is now, for replicas that come.
    lease: Cell<Option<LeaseEvent>>,
    /// Where faults are enabled.
    faults: Option<(Faults, Arc<ReplicationMetrics>)>,
    passages: RefCell<HashMap<NodeId, Rc<Passage<Incoming>>>>,
}

impl Replicas {
    /// None yet. They come with the topics, and with what etcd says.
    pub(crate) fn start(setup: ReplicasSetup) -> Self {
        let ReplicasSetup { cluster, node, config, traces, engine, seat, watch, control, .. } =
            setup;
        let ReplicasSetup { leaders, operations, metrics, faults, .. } = setup;
        let faults = faults.map(|faults| (faults, Arc::clone(&metrics)));
        let Seat { requests, events } = seat;
        let replicas = Rc::new_cyclic(|inner: &Weak<Inner>| {
            let inner = Weak::clone(inner);
            let lost = move |node| {
                if let Some(inner) = inner.upgrade() {
                    inner.peer_lost(node);
                }
            };
            let directory = Directory::new(watch.clone(), control);
            let health = operations.health.clone();
            let links = Links::new((cluster, node), directory, health, faults.clone(), lost);
            let shared = (leaders, operations, metrics);
            let surroundings = Surroundings::new(node, (config, traces), links, shared, requests);
            Inner {
                engine,
                surroundings: Rc::new(surroundings),
                drivers: RefCell::default(),
                observed: RefCell::default(),
                terms: RefCell::default(),
                watch,
                lease: Cell::default(),
                faults,
                passages: RefCell::default(),
            }
        });
        net::spawn(follow(Rc::clone(&replicas), events));
        net::spawn(show_life(Rc::clone(&replicas)));
        net::spawn(expire(Rc::clone(&replicas)));
        net::spawn(spread(Rc::clone(&replicas)));
        Self(replicas)
    }

    /// Serves a topic: on these terms for each replica that this node is to have.
    pub(crate) fn add_topic(&self, topic: TopicId, terms: Terms) {
        self.0.terms.borrow_mut().insert(topic, terms);
        let observed: Vec<_> = {
            let observed = self.0.observed.borrow();
            observed.keys().filter(|partition| partition.topic == topic).copied().collect()
        };
        for partition in observed {
            self.0.consider(partition);
        }
    }

    /// Serves a topic no more. Its files are removed by whoever asks the engine to.
    pub(crate) fn remove_topic(&self, topic: TopicId) {
        self.0.terms.borrow_mut().remove(&topic);
        self.0.observed.borrow_mut().retain(|partition, _| partition.topic != topic);
        self.0.drivers.borrow_mut().retain(|partition, _| partition.topic != topic);
    }

    /// A message of a replica on another node has come, with these batches. What makes no sense, or is
    /// for a replica that is not here, is dropped: whoever sent it asks again.
    pub(crate) fn receive(
        &self,
        from: NodeId,
        message: v1::PeerMessage,
        batches: VecDeque<StampedBatch>,
    ) {
        match self.passage(from) {
            None => self.0.take(from, (message, batches)),
            Some(passage) => passage.pass((message, batches)),
        }
    }

    fn passage(&self, from: NodeId) -> Option<Rc<Passage<Incoming>>> {
        let faults = self.0.faults.as_ref()?;
        let mut passages = self.0.passages.borrow_mut();
        let passage = passages.entry(from).or_insert_with(|| {
            let inner = Rc::downgrade(&self.0);
            Passage::new(faults.clone(), from, Way::In, move |incoming| {
                if let Some(inner) = inner.upgrade() {
                    inner.take(from, incoming);
                }
            })
        });
        Some(Rc::clone(passage))
    }

    /// How the replicas are.
    pub(crate) fn report(&self) -> Vec<ReplicaReport> {
        self.0.all().iter().map(|driver| driver.report()).collect()
    }

    /// Carries out an operator's order. What passes by itself is waited for, not for long.
    ///
    /// # Errors
    /// See [`OrderError`]; but for one that says so, nothing has changed then, as far as is known.
    pub(crate) async fn order(
        &self,
        partition: PartitionId,
        order: Order,
    ) -> Result<(), OrderError> {
        let given_at = clock::boottime();
        loop {
            let driver = self.0.drivers.borrow().get(&partition).cloned();
            let driver = driver.ok_or(OrderError::NotHere)?;
            let answer = driver.command(order.into());
            let answer = net::timeout(COMMAND_PATIENCE, answer.recv()).await;
            let done = answer.ok_or(OrderError::Unknown)?.unwrap_or(Err(CommandRefusal::GivenUp));
            let done = done.map_err(OrderError::from);
            let late = clock::boottime().ms_since(given_at) >= ORDER_RETRIES_MS;
            match done {
                Err(error) if error.passes(order) && !late => net::sleep(ORDER_RETRY).await,
                done => return done,
            }
        }
    }

    /// The shard of a node that a partition belongs to; `None` while the node is not there.
    pub(crate) fn shard_of(&self, node: NodeId, partition: PartitionId) -> Option<u32> {
        self.0.surroundings.links.directory().shard_of(node, partition)
    }

    /// The address of a shard of another node, as its name resolves now.
    pub(crate) async fn address(&self, node: NodeId, shard: u32) -> Option<SocketAddr> {
        self.0.surroundings.links.directory().address(node, shard).await
    }

    /// Hands everything that this node leads to other replicas, and waits until that is done or given up.
    /// Nothing is admitted meanwhile.
    pub(crate) async fn hand_over(&self) {
        let led = self.0.all().into_iter().filter(|driver| driver.leads());
        let handed = led.map(|driver| driver.command(Command::Transfer { to: None }));
        let handed: Vec<_> = handed.collect();
        let answered = async {
            for answer in handed {
                if let Ok(Err(refusal)) = answer.recv().await {
                    tracing::info!(
                        ?refusal,
                        "a leadership was not handed over; another node takes it when the lease is gone"
                    );
                }
            }
        };
        if net::timeout(COMMAND_PATIENCE, answered).await.is_none() {
            tracing::warn!("it is not known in time whether all leaderships were handed over");
        }
    }
}

impl Inner {
    /// Makes the replica of a partition that this node is to have, and has not.
    fn consider(&self, partition: PartitionId) {
        let terms = self.terms.borrow().get(&partition.topic).cloned();
        let Some(terms) = terms else { return };
        let observation = self.observed.borrow().get(&partition).cloned();
        let Some(mut observation) = observation else { return };
        let node = self.surroundings.node;
        let known = self.drivers.borrow().get(&partition).cloned();
        let driver = match known {
            Some(driver) => driver,
            None if !holds(node, &observation) => return,
            None => {
                let config = terms.protocol(&self.surroundings.config, voters(&observation));
                let log = self.engine.replica_log(partition, terms.log);
                let driver = Driver::start(partition, Rc::clone(&self.surroundings), config, log);
                self.drivers.borrow_mut().insert(partition, Rc::clone(&driver));
                if let Some(lease) = self.lease.get() {
                    driver.handle(Event::Lease(lease));
                }
                // Whatever it answered was not asked by this one.
                observation.source = ObservationSource::Watch;
                driver
            }
        };
        driver.handle(Event::Observed(Box::new(observation)));
    }

    fn on_event(&self, event: EtcdEvent) {
        match event {
            EtcdEvent::Lease(event) => {
                self.lease.set(after(self.lease.get(), event));
                for driver in self.all() {
                    driver.handle(Event::Lease(event));
                }
            }
            EtcdEvent::Transacted { partition, number, outcome } => {
                let driver = self.drivers.borrow().get(&partition).cloned();
                if let Some(driver) = driver {
                    driver.handle(Event::Transacted(number, outcome));
                }
            }
            EtcdEvent::Observed { partition, observation } => {
                let blank = is_blank(&observation);
                self.surroundings.leaders.observed(partition, &observation);
                self.tell_people(partition, &observation);
                self.observed.borrow_mut().insert(partition, *observation);
                self.consider(partition);
                if blank {
                    // Of a topic that was deleted there may be one more observation, but not for ever.
                    self.observed.borrow_mut().remove(&partition);
                }
            }
        }
    }

    /// Keeps what has happened to a partition since it was seen last.
    fn tell_people(&self, partition: PartitionId, observation: &Observation) {
        let Surroundings { node, operations, metrics, .. } = &*self.surroundings;
        let observed = self.observed.borrow();
        let Some(before) = observed.get(&partition) else { return };
        let leads = |it: &Observation| it.leader.as_ref().is_some_and(|it| it.value.node == *node);
        for event in changes_of_partition(partition, before, observation) {
            match event.kind {
                ClusterEventKind::InSyncChanged if leads(observation) => {
                    add(&metrics.in_sync_changes, 1);
                }
                ClusterEventKind::LeaderTransferred if leads(before) => add(&metrics.transfers, 1),
                ClusterEventKind::UncleanElection if leads(observation) => {
                    add(&metrics.unclean_elections, 1);
                }
                _ => {}
            }
            operations.history.record(event);
        }
    }

    /// Hands a message to the replica that it is for.
    fn take(&self, from: NodeId, (message, batches): Incoming) {
        let metas: Vec<BatchMeta> = batches.iter().map(|batch| *batch.meta()).collect();
        let decoded = wire::partition(&message)
            .and_then(|partition| Ok((partition, wire::decode(message, metas)?)));
        match decoded {
            Ok((partition, message)) => {
                let driver = self.drivers.borrow().get(&partition).cloned();
                if let Some(driver) = driver {
                    driver.receive(from, message, batches);
                }
            }
            Err(error) => tracing::warn!(node = %from, %error, "a message is not understood"),
        }
    }

    fn peer_lost(&self, node: NodeId) {
        add(&self.surroundings.metrics.links_lost, 1);
        for driver in self.all() {
            driver.peer_lost(node);
        }
    }

    /// The nodes that live, whoever has least to do first.
    fn idlest_first(&self) -> Vec<NodeId> {
        let view = self.watch.borrow();
        let load = |node: &NodeId| view.loads.get(node).map_or(0, |load| load.replicas);
        let mut nodes: Vec<NodeId> = view.nodes.keys().copied().collect();
        nodes.sort_by_key(load);
        nodes
    }

    fn all(&self) -> Vec<Rc<Driver>> {
        self.drivers.borrow().values().cloned().collect()
    }
}

/// Whether a node is to have a replica.
fn holds(node: NodeId, observation: &Observation) -> bool {
    let state = observation.state.as_ref().map(|state| &state.value);
    state
        .map_or_else(|| observation.assigned.contains(&node), |state| state.nodes().contains(&node))
}

/// Whether there is nothing of the partition.
fn is_blank(observation: &Observation) -> bool {
    observation.leader.is_none() && observation.state.is_none() && observation.assigned.is_empty()
}

/// How many replicas vote.
fn voters(observation: &Observation) -> usize {
    let state = observation.state.as_ref().map(|state| state.value.replicas.len());
    state.unwrap_or(observation.assigned.len())
}

/// The lease after an event, as one that comes new is to be told of it.
fn after(lease: Option<LeaseEvent>, event: LeaseEvent) -> Option<LeaseEvent> {
    match (lease, event) {
        (_, LeaseEvent::Lost) => None,
        (_, LeaseEvent::Granted { .. }) => Some(event),
        (
            Some(LeaseEvent::Granted { incarnation, node_created, .. }),
            LeaseEvent::Renewed { until },
        ) => Some(LeaseEvent::Granted { incarnation, node_created, until }),
        (lease, LeaseEvent::Renewed { .. }) => lease,
    }
}

async fn follow(inner: Rc<Inner>, events: Receiver<EtcdEvent>) {
    while let Ok(event) = events.recv().await {
        inner.on_event(event);
    }
}

/// Lets go of what the topics' settings want no more, on every replica: the leader decides (log start).
async fn expire(inner: Rc<Inner>) {
    loop {
        net::sleep(RETENTION_EVERY).await;
        for driver in inner.all() {
            driver.expire().await;
        }
    }
}

/// Gives nodes the copies that the topics are to have there, where this node leads.
async fn spread(inner: Rc<Inner>) {
    loop {
        net::sleep(COPIES_EVERY).await;
        let nodes = inner.idlest_first();
        for driver in inner.all() {
            let factor = inner.terms.borrow().get(&driver.id.topic).map(|terms| terms.factor);
            if let Some(factor) = factor {
                driver.spread(factor, &nodes).await;
            }
        }
    }
}

async fn show_life(inner: Rc<Inner>) {
    loop {
        inner.surroundings.ask(EtcdRequest::ShardAlive);
        net::sleep(SIGN_OF_LIFE).await;
    }
}

impl fmt::Debug for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replicas")
            .field("replicas", &self.0.drivers.borrow().len())
            .finish_non_exhaustive()
    }
}
