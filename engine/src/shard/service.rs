//! The shard itself: its partitions, its housekeeping, and the requests of other shards.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use forebay_format::{CleanEntry, Epoch, PartitionId};
use futures_util::StreamExt;

use super::inbox::{Inbox, RemoteAppend, RemoteRun, Request, ShardAddress};
use super::partition_ref::{PartitionRef, Place};
use super::remote::Peer;
use super::{PartitionSpec, RemoveError, ShardConfig, ShardIndex, StartError, shard_of};
use crate::clock::Clock;
use crate::io::{BufferPool, nothing_blocks, probe_direct_io};
use crate::log::{
    AppendError, Completed, Completion, CompletionQueue, CursorStart, Decider, LogContext,
    LogSettings, PartitionLog, PartitionStatus, ReadError, ReplicaLog, ReserveError,
};
use crate::metrics::ShardMetrics;
use crate::runtime::{Signal, sleep, spawn, yield_if_needed};
use crate::segment::SpareFiles;

/// How often a shard looks after its logs: retention, age, idle logs.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(1);

/// One part in this many of a shard's memory is for what readers have read ahead.
const READ_AHEAD_SHARE: u64 = 8;

/// Logs that are closed at once when the shard stops.
const CLOSING_MAX: usize = 64;

/// One core's partitions. Clones are handles to the same shard; all stay on its executor.
#[derive(Clone)]
pub struct Shard(Rc<Inner>);

struct Inner {
    context: Rc<LogContext>,
    config: ShardConfig,
    logs: RefCell<HashMap<PartitionId, Rc<PartitionLog>>>,
    /// What the last clean stop left, for logs that were not added yet.
    clean: RefCell<HashMap<PartitionId, CleanEntry>>,
    peers: Vec<Rc<Peer>>,
}

impl Shard {
    /// Starts a shard on this executor. `addresses` leads to every shard of the node, by index;
    /// `clean` holds the entries of the data directory's clean file for partitions of this shard.
    ///
    /// # Errors
    /// The data directory cannot do direct I/O, or its spare files cannot be listed.
    pub async fn start(
        config: ShardConfig,
        inbox: Inbox,
        addresses: Vec<ShardAddress>,
        clean: Vec<CleanEntry>,
    ) -> Result<Self, StartError> {
        probe_direct_io(&config.data).await?;
        let failed = |source| StartError::Io { shard: config.shard, source };
        let spare = config.data.join("spare");
        if config.shard == ShardIndex::new(0) {
            let shards = addresses.len();
            SpareFiles::remove_of_absent_shards(spare.clone(), shards).await.map_err(failed)?;
        }
        let spare = spare.join(config.shard.to_string());
        let spares = SpareFiles::open(spare).await.map_err(failed)?;
        let context = Rc::new(LogContext {
            data: config.data.clone(),
            cluster: config.cluster,
            fsync: config.fsync,
            index_interval_bytes: config.index_interval_bytes,
            disk_reserve_bytes: config.disk_reserve_bytes,
            clock: config.clock.clone(),
            pool: BufferPool::new(config.memory_bytes - config.memory_bytes / READ_AHEAD_SHARE),
            read_ahead: BufferPool::new(config.memory_bytes / READ_AHEAD_SHARE),
            spares,
            metrics: Arc::default(),
            stopping: false.into(),
            fatal: RefCell::default(),
            fatal_raised: Signal::default(),
            cache_order: RefCell::default(),
        });
        let shard = Self(Rc::new(Inner {
            context,
            config,
            logs: RefCell::default(),
            clean: RefCell::new(clean.into_iter().map(|entry| (entry.partition, entry)).collect()),
            peers: addresses.into_iter().map(Peer::new).collect(),
        }));
        spawn(shard.clone().serve(inbox));
        spawn(shard.clone().keep_house());
        Ok(shard)
    }

    /// Begins to serve a partition, or changes the settings of one that is served. No I/O: the
    /// log is opened on first use.
    pub fn add_partition(&self, spec: PartitionSpec) {
        let PartitionSpec { id, epoch, settings } = spec;
        if let Some(known) = self.0.logs.borrow().get(&id) {
            known.set_settings(settings);
            return;
        }
        let clean = self.0.clean.borrow_mut().remove(&id);
        let decider = Decider::Alone { epoch };
        let log = PartitionLog::new(id, Rc::clone(&self.0.context), settings, decider, clean);
        self.0.logs.borrow_mut().insert(id, log);
    }

    /// The log of a replica on this shard, for whoever drives it. Settings are replaced when it is known. No
    /// I/O: nobody can use the log before it is opened.
    ///
    /// # Panics
    /// When the partition belongs to another shard, or is served alone.
    pub fn replica_log(&self, id: PartitionId, settings: LogSettings) -> ReplicaLog {
        assert_eq!(self.owner(id), self.0.config.shard, "a log is driven where it lives");
        if let Some(known) = self.log(id) {
            assert!(known.is_replica(), "a partition is served alone or replicated");
            known.set_settings(settings);
            return ReplicaLog(known);
        }
        let clean = self.0.clean.borrow_mut().remove(&id);
        let context = Rc::clone(&self.0.context);
        let log = PartitionLog::new(id, context, settings, Decider::replica(), clean);
        self.0.logs.borrow_mut().insert(id, Rc::clone(&log));
        ReplicaLog(log)
    }

    /// Ends the service of a partition and removes its files. Gone durably on return. A partition
    /// that was never added, but has files from an earlier run, loses them too.
    ///
    /// # Errors
    /// A file could not be removed; calling again goes on.
    pub async fn remove_partition(&self, id: PartitionId) -> Result<(), RemoveError> {
        let known = self.0.logs.borrow_mut().remove(&id);
        self.0.clean.borrow_mut().remove(&id);
        let log = known.unwrap_or_else(|| {
            let (context, settings) = (Rc::clone(&self.0.context), LogSettings::default());
            let decider = Decider::Alone { epoch: Epoch::ZERO };
            PartitionLog::new(id, context, settings, decider, None)
        });
        log.remove().await.map_err(|source| RemoveError { id, source })
    }

    /// A handle to a partition of this node, on whichever shard it is.
    pub fn partition(&self, id: PartitionId) -> PartitionRef {
        let owner = self.owner(id);
        if owner != self.0.config.shard {
            let peer = Rc::clone(&self.0.peers[owner.index()]);
            return PartitionRef(Place::Remote { id, peer });
        }
        PartitionRef(self.log(id).map_or(Place::Unknown, Place::Local))
    }

    /// What the shard counts.
    pub fn metrics(&self) -> Arc<ShardMetrics> {
        Arc::clone(&self.0.context.metrics)
    }

    /// Returns when a write or an fsync has failed, with what happened. The process must end then:
    /// what the disk holds is not known any more.
    pub async fn failed(&self) -> String {
        loop {
            let seen = self.0.context.fatal_raised.version();
            if let Some(message) = self.0.context.fatal.borrow().clone() {
                return message;
            }
            self.0.context.fatal_raised.beyond(seen).await;
        }
    }

    /// Admits nothing more, waits until everything admitted is durable, and closes all logs.
    /// Returns what the next start may trust, for the clean file; all of it is on stable storage.
    pub async fn stop(self) -> Vec<CleanEntry> {
        self.0.context.stopping.set(true);
        let logs: Vec<_> = self.0.logs.borrow().values().cloned().collect();
        let mut entries: Vec<CleanEntry> = self.0.clean.take().into_values().collect();
        let mut closing = futures_util::stream::iter(logs)
            .map(|log| async move {
                let entry = log.close().await;
                log.wake_readers();
                entry
            })
            .buffer_unordered(CLOSING_MAX);
        while let Some(entry) = closing.next().await {
            entries.extend(entry);
        }
        if self.0.context.fatal.borrow().is_some() {
            // The failed log's state is not known, and the others' files are on the same disk.
            entries.clear();
        }
        // What replicas note beside their logs is nobody's to wait for but the shard's.
        nothing_blocks().await;
        entries
    }

    fn owner(&self, id: PartitionId) -> ShardIndex {
        shard_of(id, u32::try_from(self.0.peers.len()).unwrap_or(u32::MAX))
    }

    fn log(&self, id: PartitionId) -> Option<Rc<PartitionLog>> {
        self.0.logs.borrow().get(&id).map(Rc::clone)
    }

    async fn keep_house(self) {
        while !self.0.context.stopping.get() {
            sleep(HOUSEKEEPING_EVERY).await;
            let now = Clock::monotonic();
            let logs: Vec<_> = self.0.logs.borrow().values().cloned().collect();
            for log in logs {
                if self.0.context.stopping.get() {
                    return;
                }
                log.keep_house(now).await;
                yield_if_needed().await;
            }
        }
    }

    async fn serve(self, inbox: Inbox) {
        while let Ok(request) = inbox.0.recv().await {
            match request {
                Request::AppendSession { appends, answers } => {
                    self.clone().serve_appends(appends, answers);
                }
                Request::Read { partition, start, max_bytes, opened, runs } => {
                    spawn(self.clone().serve_read((partition, start), max_bytes, opened, runs));
                }
                Request::Status { partition, answer } => {
                    let shard = self.clone();
                    spawn(async move {
                        let status = shard.status(partition).await;
                        // The asker may have gone away.
                        answer.send(status).await.ok();
                    });
                }
            }
        }
    }

    async fn status(&self, id: PartitionId) -> Result<PartitionStatus, ReserveError> {
        match self.log(id) {
            Some(log) => log.status().await,
            None => Err(ReserveError::Unknown),
        }
    }

    /// One stream's appends from another shard: admitted in order, answered in batches.
    fn serve_appends(self, appends: Receiver<RemoteAppend>, answers: Sender<Vec<Completed>>) {
        let queue = CompletionQueue::new();
        let answering = queue.clone();
        spawn(async move {
            loop {
                let mut completed = Vec::new();
                std::future::poll_fn(|cx| answering.poll_drain(cx, &mut completed)).await;
                if completed.is_empty() || answers.send(completed).await.is_err() {
                    return;
                }
            }
        });
        spawn(async move {
            while let Ok(append) = appends.recv().await {
                let RemoteAppend { partition, batch, token, when } = append;
                let done = Completion { queue: queue.clone(), token, when };
                let reserved = match self.log(partition) {
                    Some(log) => log.reserve(batch.batch_bytes()).await.map(|room| (log, room)),
                    None => Err(ReserveError::Unknown),
                };
                match reserved {
                    Ok((log, room)) => log.append(room, &batch, done),
                    Err(error) => done.answer(Err(AppendError::Refused(error))),
                }
            }
            queue.end();
        });
    }

    async fn serve_read(
        self,
        what: (PartitionId, CursorStart),
        max_bytes: usize,
        opened: Sender<
            Result<
                (forebay_format::Offset, forebay_format::Offset, forebay_format::Offset),
                ReadError,
            >,
        >,
        runs: Sender<Result<RemoteRun, ReadError>>,
    ) {
        let (partition, start) = what;
        let cursor = match self.log(partition) {
            Some(log) => log.cursor(start).await,
            None => Err(ReadError::Unknown),
        };
        let mut cursor = match cursor {
            Ok(cursor) => cursor,
            Err(error) => {
                opened.send(Err(error)).await.ok();
                return;
            }
        };
        let position = cursor.position();
        let (earliest, committed) = cursor.marks().unwrap_or((position, position));
        opened.send(Ok((position, earliest, committed))).await.ok();
        loop {
            let run = {
                let gone = std::pin::pin!(runs.closed());
                let next = std::pin::pin!(cursor.next(max_bytes));
                match futures_util::future::select(next, gone).await {
                    futures_util::future::Either::Left((run, _)) => run,
                    futures_util::future::Either::Right(_) => return,
                }
            };
            let ended = run.is_err();
            let sent = run.map(|run| RemoteRun {
                bytes: run.slices.concat().into(),
                first_offset: run.first_offset,
                next_offset: run.next_offset,
                epoch: cursor.epoch(),
                committed: run.committed,
                earliest: run.earliest,
                at_end: run.next_offset >= run.committed,
            });
            if runs.send(sent).await.is_err() || ended {
                return;
            }
        }
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard")
            .field("shard", &self.0.config.shard)
            .field("partitions", &self.0.logs.borrow().len())
            .finish_non_exhaustive()
    }
}
