//! Who leads and who votes, as it is written in etcd: every state of every partition, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use forebay_checker::Voter;
use forebay_format::{Epoch, NodeId, ReplicaId};
use forebay_proto::etcd::etcdserverpb::kv_client::KvClient;
use forebay_proto::etcd::etcdserverpb::watch_client::WatchClient;
use forebay_proto::etcd::etcdserverpb::{
    RangeRequest, WatchCreateRequest, WatchRequest, watch_request::RequestUnion,
};
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_stream::{StreamExt, iter, pending};
use tonic::transport::Channel;

use crate::cluster::Etcd;
use crate::error::RigError;
use crate::lock::Lock;
use crate::workload::{Recorder, Topics};

/// What the keys of partitions begin with, and the end of their range.
const PARTS: (&str, &str) = ("/forebay/parts/", "/forebay/parts0");
const RETRY_PAUSE: Duration = Duration::from_millis(50);
const RANGE_TIMEOUT: Duration = Duration::from_secs(2);

/// A state of a partition, and when the rig learnt of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) at_ms: u64,
    pub(crate) epoch: Epoch,
    pub(crate) leader: Option<NodeId>,
    pub(crate) voters: Vec<Voter>,
    pub(crate) next_voters: Option<Vec<Voter>>,
    pub(crate) in_sync: Vec<NodeId>,
    pub(crate) version: u64,
}

impl State {
    /// All but when it was learnt.
    fn is_same(&self, other: &Self) -> bool {
        *self == Self { at_ms: self.at_ms, ..other.clone() }
    }
}

/// What is known so far, by the place of the partition.
#[derive(Debug)]
pub(crate) struct States {
    partitions: Lock<Vec<Vec<State>>>,
    changed: Notify,
    /// The revision that everything up to is known; 0: nothing is.
    revision: AtomicU64,
    /// Grows when the watch has to begin anew.
    restarts: Notify,
}

/// The task that learns them. It ends with this.
#[derive(Debug)]
pub(crate) struct Watcher {
    states: Arc<States>,
    task: JoinHandle<()>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watcher {
    pub(crate) fn start(
        etcd: &Etcd,
        topics: &Arc<Topics>,
        recorder: &Arc<Recorder>,
    ) -> Result<Self, RigError> {
        let states = Arc::new(States {
            partitions: Lock::new(vec![Vec::new(); topics.partitions.len()]),
            changed: Notify::new(),
            revision: AtomicU64::new(0),
            restarts: Notify::new(),
        });
        let learning = Learning {
            channel: etcd.channel_for_watches()?,
            states: Arc::clone(&states),
            topics: Arc::clone(topics),
            recorder: Arc::clone(recorder),
        };
        Ok(Self { states, task: tokio::spawn(learning.run()) })
    }

    pub(crate) fn states(&self) -> &Arc<States> {
        &self.states
    }
}

impl States {
    /// Etcd is about to be an older one: its revisions will be used again.
    pub(crate) fn store_goes_back(&self) {
        self.revision.store(0, Ordering::Relaxed);
        self.restarts.notify_one();
    }

    /// The newest state of each partition, once each has one.
    pub(crate) fn newest(&self) -> Option<Vec<State>> {
        self.partitions.with(|all| all.iter().map(|states| states.last().cloned()).collect())
    }

    /// Everything that is known of a partition.
    pub(crate) fn of(&self, place: usize) -> Vec<State> {
        self.partitions.with(|all| all[place].clone())
    }

    /// How often somebody took a partition over.
    pub(crate) fn elections(&self) -> usize {
        let changes = |states: &Vec<State>| {
            states.windows(2).filter(|pair| pair[0].epoch != pair[1].epoch).count()
        };
        self.partitions.with(|all| all.iter().map(changes).sum())
    }

    /// Waits until the newest states are so.
    pub(crate) async fn wait_for<T>(&self, mut is: impl FnMut(&[State]) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = self.newest().and_then(|newest| is(&newest)) {
                return found;
            }
            changed.await;
        }
    }

    fn learn(&self, place: usize, state: State) {
        self.partitions.with(|all| {
            let known = &mut all[place];
            if !known.last().is_some_and(|last| last.is_same(&state)) {
                known.push(state);
            }
        });
        self.changed.notify_waiters();
    }
}

struct Learning {
    channel: Channel,
    states: Arc<States>,
    topics: Arc<Topics>,
    recorder: Arc<Recorder>,
}

impl Learning {
    async fn run(self) {
        loop {
            tokio::select! {
                _broken = self.follow() => {}
                () = self.states.restarts.notified() => {}
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Goes on behind what is known; lists everything where that does not help.
    async fn follow(&self) -> Result<(), tonic::Status> {
        let known = self.states.revision.load(Ordering::Relaxed);
        let from = if known == 0 { self.list().await? } else { known };
        let create = WatchCreateRequest {
            key: PARTS.0.into(),
            range_end: PARTS.1.into(),
            start_revision: i64::try_from(from).unwrap_or(i64::MAX) + 1,
            ..WatchCreateRequest::default()
        };
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let requests = iter([request]).chain(pending());
        let mut answers =
            WatchClient::new(self.channel.clone()).watch(requests).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            if answer.canceled {
                // What it wanted was compacted.
                self.states.revision.store(0, Ordering::Relaxed);
                return Ok(());
            }
            for event in answer.events {
                if let Some(kv) = event.kv {
                    self.take(&kv.key, &kv.value);
                    let revision = u64::try_from(kv.mod_revision).unwrap_or_default();
                    self.states.revision.store(revision, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    async fn list(&self) -> Result<u64, tonic::Status> {
        let request = RangeRequest {
            key: PARTS.0.into(),
            range_end: PARTS.1.into(),
            ..RangeRequest::default()
        };
        let mut service = KvClient::new(self.channel.clone());
        let answer = tokio::time::timeout(RANGE_TIMEOUT, service.range(request)).await;
        let answer =
            answer.map_err(|_late| tonic::Status::deadline_exceeded("etcd"))??.into_inner();
        for kv in &answer.kvs {
            self.take(&kv.key, &kv.value);
        }
        let revision = answer.header.unwrap_or_default().revision;
        let revision = u64::try_from(revision).unwrap_or_default();
        self.states.revision.store(revision, Ordering::Relaxed);
        Ok(revision)
    }

    fn take(&self, key: &[u8], value: &[u8]) {
        let Some(place) = self.place_of(key) else { return };
        // A deleted key has no value.
        if let Some(state) = read(value, self.recorder.now_ms()) {
            self.states.learn(place, state);
        }
    }

    fn place_of(&self, key: &[u8]) -> Option<usize> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(PARTS.0)?;
        let mut parts = rest.split('/');
        let (topic, partition, name) = (parts.next()?, parts.next()?, parts.next()?);
        let place = self.topics.place_of(topic.parse().ok()?, partition.parse().ok()?)?;
        (name == "state").then_some(place)
    }
}

#[derive(Deserialize)]
struct MemberJson {
    node: u32,
    replica: String,
}

#[derive(Deserialize)]
struct StateJson {
    epoch: u64,
    leader: Option<u32>,
    replicas: Vec<MemberJson>,
    next: Option<Vec<MemberJson>>,
    isr: Vec<u32>,
    version: u64,
}

fn read(value: &[u8], at_ms: u64) -> Option<State> {
    let json: StateJson = serde_json::from_slice(value).ok()?;
    let voters = |members: Vec<MemberJson>| -> Option<Vec<Voter>> {
        members
            .into_iter()
            .map(|member| {
                let replica: ReplicaId = member.replica.parse().ok()?;
                Some(Voter { node: NodeId::new(member.node), replica })
            })
            .collect()
    };
    Some(State {
        at_ms,
        epoch: Epoch::new(json.epoch),
        leader: json.leader.map(NodeId::new),
        voters: voters(json.replicas)?,
        next_voters: json.next.and_then(voters),
        in_sync: json.isr.into_iter().map(NodeId::new).collect(),
        version: json.version,
    })
}
