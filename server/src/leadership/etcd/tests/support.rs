//! Nodes for the tests: a coordinator with one seat and steady signs of life, and waits for what must come.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forebay_format::{NodeId, PartitionId, ReplicaId, TopicName};
use forebay_replication::metadata::{
    Guard, Incarnation, LeaderGuard, LeaderKey, LeaderWrite, Member, Observation,
    ObservationSource, Outcome, PartitionState, Revision, Transaction, TransactionKind,
};
use forebay_replication::placement::ReplicationFactor;
use forebay_replication::{Config, LeaseEvent};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock;
use crate::config::EtcdConfig;
use crate::leadership::coordinator::TopicDraft;
use crate::leadership::etcd::facade::{EtcdCoordinator, StartOptions};
use crate::leadership::etcd::identity::StartError;
use crate::leadership::etcd::seat::{EtcdEvent, EtcdRequest, Seat};
use crate::leadership::etcd::view::ClusterView;
use crate::leadership::topic::Topic;

/// Whatever is waited for must come in this time on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often a node shows life.
const LIFE: Duration = Duration::from_millis(100);

/// Waits for what must come.
pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_elapsed| panic!("never: {what}"))
}

/// Asks again until it is so.
pub(super) async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let polled = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(what, polled).await;
}

/// A node that takes part.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) coordinator: Arc<EtcdCoordinator>,
    pub(super) seat: Seat,
    /// Its data directory.
    pub(super) data: Arc<TempDir>,
    /// Its present life, once there is one.
    pub(super) life: Option<(Incarnation, Revision)>,
    numbers: u64,
    replica: ReplicaId,
    pub(super) signs: JoinSet<()>,
}

pub(super) async fn coordinator(
    etcd: &EtcdConfig,
    data: &Path,
    id: Option<u32>,
) -> Result<EtcdCoordinator, StartError> {
    let options = StartOptions {
        etcd,
        data,
        node_id: id.map(NodeId::new),
        address: "127.0.0.1:7400".to_owned(),
        shard_addresses: vec!["127.0.0.1:7401".to_owned()],
        shards: 1,
        replication: Config::default(),
    };
    within("a coordinator", EtcdCoordinator::start(options)).await
}

impl Node {
    /// A new node of this id.
    pub(super) async fn start(etcd: &EtcdConfig, id: u32) -> Self {
        let data = Arc::new(tempfile::tempdir().expect("a folder"));
        Self::start_in(etcd, id, data).await
    }

    /// A node with the data of an earlier life.
    pub(super) async fn start_in(etcd: &EtcdConfig, id: u32, data: Arc<TempDir>) -> Self {
        let coordinator = coordinator(etcd, data.path(), Some(id)).await.expect("started");
        let coordinator = Arc::new(coordinator);
        let seat = coordinator.seat(0, |_| true);
        let mut signs = JoinSet::new();
        let (probed, requests) = (Arc::downgrade(&coordinator), seat.requests.clone());
        signs.spawn(async move {
            let mut ticks = tokio::time::interval(LIFE);
            while let Some(coordinator) = probed.upgrade() {
                coordinator.disk_probed(clock::boottime());
                requests.send(EtcdRequest::ShardAlive).await.ok();
                drop(coordinator);
                ticks.tick().await;
            }
        });
        let id = NodeId::new(id);
        let replica = ReplicaId::random();
        Self { id, coordinator, seat, data, life: None, numbers: 0, replica, signs }
    }

    /// The first event that is wanted. Those before are dropped.
    pub(super) async fn event<T>(&self, what: &str, wanted: impl Fn(EtcdEvent) -> Option<T>) -> T {
        let found = async {
            loop {
                let event = self.seat.events.recv().await.expect("the seat is there");
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
        };
        within(what, found).await
    }

    /// Waits until it has a lease, and says which life began with it.
    pub(super) async fn leased(&mut self) -> (Incarnation, Revision) {
        let granted = |event| match event {
            EtcdEvent::Lease(LeaseEvent::Granted { incarnation, node_created, .. }) => {
                Some((incarnation, node_created))
            }
            _ => None,
        };
        let life = self.event("a lease", granted).await;
        self.life = Some(life);
        life
    }

    /// Waits until etcd says that its lease is gone.
    pub(super) async fn loses_its_lease(&mut self) {
        let lost = |event| (event == EtcdEvent::Lease(LeaseEvent::Lost)).then_some(());
        self.event("the end of a lease", lost).await;
        self.life = None;
    }

    /// Waits until the cluster is seen so.
    pub(super) async fn sees(
        &self,
        what: &str,
        is_so: impl Fn(&ClusterView) -> bool,
    ) -> Arc<ClusterView> {
        let mut cluster = self.coordinator.cluster();
        within(what, cluster.wait_for(|view| is_so(view))).await.expect("watched").clone()
    }

    pub(super) fn member(&self) -> Member {
        Member { node: self.id, replica: self.replica }
    }

    /// Asks for a transaction, and says its number.
    pub(super) async fn propose(
        &mut self,
        partition: PartitionId,
        transaction: &Transaction,
    ) -> u64 {
        self.numbers += 1;
        let request = EtcdRequest::Transact {
            partition,
            number: self.numbers,
            transaction: Box::new(transaction.clone()),
        };
        self.seat.requests.send(request).await.expect("taken");
        self.numbers
    }

    pub(super) async fn outcome(&self, wanted: u64) -> Outcome {
        let answer = |event| match event {
            EtcdEvent::Transacted { number, outcome, .. } if number == wanted => Some(outcome),
            _ => None,
        };
        self.event("an outcome", answer).await
    }

    pub(super) async fn transact(
        &mut self,
        partition: PartitionId,
        transaction: &Transaction,
    ) -> Outcome {
        let number = self.propose(partition, transaction).await;
        self.outcome(number).await
    }

    pub(super) async fn read(&mut self, of: PartitionId) -> Observation {
        self.numbers += 1;
        let wanted = self.numbers;
        let read = EtcdRequest::Read { partition: of, number: wanted };
        self.seat.requests.send(read).await.expect("taken");
        let answer = |event| match event {
            EtcdEvent::Observed { partition, observation }
                if partition == of && observation.source == ObservationSource::Read(wanted) =>
            {
                Some(*observation)
            }
            _ => None,
        };
        self.event("an observation", answer).await
    }

    pub(super) async fn create_topic(
        &self,
        name: &str,
        partitions: u32,
        replicas: usize,
    ) -> Arc<Topic> {
        let factor = ReplicationFactor::Replicas(replicas);
        let created =
            self.coordinator.create_topic(TopicDraft { factor, ..draft(name, partitions) });
        within("a topic", created).await.expect("created")
    }

    /// A transaction on the state as it was read, which makes this node the leader.
    pub(super) fn take_over(&self, read: &Observation) -> Transaction {
        let (incarnation, node_created) = self.life.expect("a lease");
        let state = read.state.clone().expect("a state");
        let epoch = forebay_format::Epoch::new(state.value.epoch.get() + 1);
        Transaction {
            kind: TransactionKind::TakeOver,
            leader: LeaderWrite::Put(LeaderKey { node: self.id, incarnation }),
            state: Some(state.value.with_leader(self.id, epoch)),
            guard: Guard {
                leader: LeaderGuard::Absent,
                state: Some(state),
                incarnation,
                node_created,
            },
            report: None,
        }
    }

    /// Reports its replica of a partition that has no state yet.
    pub(super) async fn report(&mut self, partition: PartitionId) -> Outcome {
        let transaction = self.begin(TransactionKind::Report, None, Some(self.member()));
        self.transact(partition, &transaction).await
    }

    /// Writes the first state of a partition.
    pub(super) async fn first_state(
        &mut self,
        partition: PartitionId,
        members: Vec<Member>,
    ) -> Outcome {
        let state = PartitionState::first(members);
        let transaction = self.begin(TransactionKind::FirstState, Some(state), None);
        self.transact(partition, &transaction).await
    }

    fn begin(
        &self,
        kind: TransactionKind,
        state: Option<PartitionState>,
        report: Option<Member>,
    ) -> Transaction {
        let (incarnation, node_created) = self.life.expect("a lease");
        let guard = Guard { leader: LeaderGuard::Any, state: None, incarnation, node_created };
        Transaction { kind, guard, leader: LeaderWrite::Keep, state, report }
    }
}

/// A topic to be.
pub(super) fn draft(name: &str, partitions: u32) -> TopicDraft {
    TopicDraft {
        name: topic_name(name),
        partitions,
        factor: ReplicationFactor::Replicas(1),
        settings: BTreeMap::new(),
    }
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName::new(name).expect("a name")
}
