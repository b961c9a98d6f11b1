//! Watches all keys of the cluster, and tells what they come to.
//!
//! ```text
//!          listed at a revision                 broken: again from the revision after
//!  listing ────────────────────▶ following ◀─────────────────────────────────────────┐
//!     ▲                              │ └─────────────────────────────────────────────┘
//!     └──────────────────────────────┘
//!       compacted, cancelled, or another history: etcd was restored
//! ```
//!
//! What one answer holds leads from one revision to another; in between nothing is told. Correctness never
//! needs any of it: whoever must know reads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use forebay_format::PartitionId;
use forebay_proto::etcd::etcdserverpb::{
    RangeRequest, RangeResponse, WatchCreateRequest, WatchRequest, WatchResponse, watch_request,
};
use forebay_proto::etcd::mvccpb::KeyValue;
use forebay_replication::metadata::{Observation, Revision};
use futures_util::FutureExt;
use tokio::time::MissedTickBehavior;
use tonic::Streaming;

use super::connection::{Asked, Connection};
use super::error::EtcdError;
use super::keys::{Keys, end_of};
use super::mirror::{Changes, Mirror};
use super::sweep::sweep;
use super::txn::{revision, signed};
use super::view::ClusterView;

/// Keys that are listed in one answer.
const PAGE: i64 = 2000;

/// How often it is looked for partitions that belong to no topic.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// Whoever wants to be told of partitions.
pub(super) struct Listener {
    pub(super) owns: Box<dyn Fn(PartitionId) -> bool + Send + Sync>,
    pub(super) observed: Sender<(PartitionId, Observation)>,
}

/// See the module.
pub(super) struct Watcher {
    connection: Connection,
    keys: Keys,
    mirror: Mirror,
    view: tokio::sync::watch::Sender<Arc<ClusterView>>,
    listeners: Vec<Listener>,
    joining: Receiver<Listener>,
}

type Opened = (usize, Sender<WatchRequest>, Streaming<WatchResponse>);

/// Why following came to an end.
#[derive(Debug)]
enum Ended {
    /// The stream broke; what follows can be had.
    Broken,
    /// What follows cannot be had, or does not follow.
    Lost(&'static str),
}

impl Watcher {
    pub(super) fn new(
        connection: Connection,
        keys: Keys,
        joining: Receiver<Listener>,
    ) -> (Self, tokio::sync::watch::Receiver<Arc<ClusterView>>) {
        let (view, seen) = tokio::sync::watch::channel(Arc::default());
        let mirror = Mirror::new(keys.clone());
        (Self { connection, keys, mirror, view, listeners: Vec::new(), joining }, seen)
    }

    /// Watches until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            self.list().await;
            let why = loop {
                if let Ended::Lost(why) = self.follow().await {
                    break why;
                }
            };
            tracing::info!(why, "the cluster's keys are listed anew");
        }
    }

    /// Takes in all keys as they are at one revision.
    async fn list(&mut self) {
        let mut told = false;
        let (pairs, revision) = loop {
            match self.pages().await {
                Ok(listed) => break listed,
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "the cluster's keys cannot be listed; it is tried on and on");
                    }
                    self.connection.pause_after(&error).await;
                }
            }
        };
        tracing::debug!(keys = pairs.len(), %revision, "listed");
        let changes = self.mirror.list(&pairs, revision);
        self.tell(changes).await;
    }

    async fn pages(&self) -> Result<(Vec<KeyValue>, Revision), EtcdError> {
        let mut pairs = Vec::new();
        let (mut from, mut at) = (self.keys.prefix().as_bytes().to_vec(), 0);
        loop {
            let page = self.page(from.clone(), at).await?;
            if at == 0 {
                at = page.header.map_or(0, |header| header.revision);
            }
            // The key right after the last one.
            from = page.kvs.last().map_or_else(Vec::new, |last| [&last.key[..], &[0]].concat());
            pairs.extend(page.kvs);
            if !page.more || from.is_empty() {
                return Ok((pairs, revision(at)));
            }
        }
    }

    async fn page(&self, key: Vec<u8>, revision: i64) -> Result<RangeResponse, EtcdError> {
        let range_end = end_of(self.keys.prefix());
        let request =
            RangeRequest { key, range_end, limit: PAGE, revision, ..RangeRequest::default() };
        self.range(request).await
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, EtcdError> {
        let call = move |asked: Asked| {
            let request = asked.request(request.clone());
            async move { asked.kv().range(request).await }.boxed()
        };
        self.connection.ask_until_answered(call).await
    }

    /// Whether the store still has the history that the mirror comes from: one that was restored from a
    /// snapshot and has gone on since may have come to the same revision by another way.
    async fn is_continued(&self) -> bool {
        let Some(anchor) = self.mirror.anchor() else { return true };
        let request = RangeRequest {
            key: anchor.key.clone(),
            revision: anchor.mod_revision,
            ..RangeRequest::default()
        };
        // A revision that was compacted, or has not come yet, is an error.
        let found = self.range(request).await.map(|found| found.kvs);
        found.is_ok_and(|pairs| pairs.first() == Some(anchor))
    }

    /// Follows one stream from the revision after the mirror's.
    async fn follow(&mut self) -> Ended {
        if !self.is_continued().await {
            return Ended::Lost("etcd does not have the revision before");
        }
        let (at, requests, mut answers) = match self.open().await {
            Ok(opened) => opened,
            Err(error) => {
                self.connection.pause_after(&error).await;
                return Ended::Broken;
            }
        };
        let mut sweeps = tokio::time::interval(SWEEP_INTERVAL);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = loop {
            tokio::select! {
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => {
                        if let Some(ended) = self.on_answer(&answer).await {
                            break ended;
                        }
                    }
                    Ok(None) => {
                        self.connection.stream_ended(at, None);
                        break Ended::Broken;
                    }
                    Err(status) => {
                        self.connection.stream_ended(at, Some(&status));
                        break Ended::Broken;
                    }
                },
                Ok(listener) = self.joining.recv() => self.join(listener).await,
                _ = sweeps.tick() => sweep(&self.connection, &self.keys, &self.mirror.orphans()).await,
            }
        };
        // While this is there, etcd takes the stream for wanted.
        drop(requests);
        ended
    }

    async fn open(&self) -> Result<Opened, EtcdError> {
        let create = WatchCreateRequest {
            key: self.keys.prefix().as_bytes().to_vec(),
            range_end: end_of(self.keys.prefix()),
            start_revision: signed(self.mirror.revision()) + 1,
            ..WatchCreateRequest::default()
        };
        let create = WatchRequest {
            request_union: Some(watch_request::RequestUnion::CreateRequest(create)),
        };
        let call = move |asked: Asked| {
            let (requests, sent) = async_channel::bounded(1);
            // There is room for the one request.
            requests.try_send(create.clone()).ok();
            async move {
                let opened = asked.watch().watch(asked.request(sent)).await?;
                Ok(opened.map(|answers| (requests, answers)))
            }
            .boxed()
        };
        let (at, (requests, answers)) = self.connection.open(call).await?;
        Ok((at, requests, answers))
    }

    async fn on_answer(&mut self, answer: &WatchResponse) -> Option<Ended> {
        let store = answer.header.as_ref().map_or(0, |header| header.revision);
        if answer.canceled {
            return Some(Ended::Lost("cancelled, or what follows was compacted"));
        }
        if answer.created && revision(store) < self.mirror.revision() {
            return Some(Ended::Lost("etcd has gone back"));
        }
        let changes = self.mirror.apply(&answer.events);
        self.tell(changes).await;
        None
    }

    /// A new listener is told of everything that it owns.
    async fn join(&mut self, listener: Listener) {
        let all: BTreeSet<PartitionId> = self.mirror.partitions().collect();
        self.listeners.push(listener);
        let newest = self.listeners.len() - 1;
        self.tell_from(newest, &all).await;
    }

    async fn tell(&mut self, changes: Changes) {
        if changes.cluster {
            self.view.send_replace(Arc::new(self.mirror.view()));
        }
        self.tell_from(0, &changes.partitions).await;
    }

    /// Tells the listeners from this one on. Those that are gone are forgotten.
    async fn tell_from(&mut self, first: usize, partitions: &BTreeSet<PartitionId>) {
        let mut gone = Vec::new();
        for (index, listener) in self.listeners.iter().enumerate().skip(first) {
            for partition in partitions.iter().filter(|partition| (listener.owns)(**partition)) {
                let Some(observation) = self.mirror.observation(*partition) else { continue };
                if listener.observed.send((*partition, observation)).await.is_err() {
                    gone.push(index);
                    break;
                }
            }
        }
        for index in gone.into_iter().rev() {
            self.listeners.remove(index);
        }
    }
}
