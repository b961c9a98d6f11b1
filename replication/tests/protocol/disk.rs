//! A disk with one partition: batches and meta, and what of them a crash would leave.

use std::collections::VecDeque;

use forebay_format::{Offset, PartitionMeta, ReplicaId};
use forebay_replication::metadata::PartitionState;
use forebay_replication::{BatchMeta, LogEvent, LogState, Position, Recovered};

/// Something that was asked of the disk and is not done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DiskWork {
    /// Makes everything appended so far durable.
    Sync,
    Cut(Position),
    Reset(Box<LogState>),
}

/// What a replica has on disk.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Disk {
    /// What the log was when it began; batches come on top.
    base: LogState,
    batches: Vec<BatchMeta>,
    /// How many of the batches are on stable storage.
    synced: usize,
    meta: PartitionMeta,
    /// The copy of the state that is kept.
    pub(crate) state: Option<Box<PartitionState>>,
    pub(crate) log_work: VecDeque<DiskWork>,
    pub(crate) meta_work: VecDeque<(u64, PartitionMeta)>,
}

impl Disk {
    /// An empty disk, whose replica mints this id.
    pub(crate) fn new(replica: ReplicaId) -> Self {
        Self {
            base: LogState::default(),
            batches: Vec::new(),
            synced: 0,
            meta: PartitionMeta::new(replica),
            state: None,
            log_work: VecDeque::new(),
            meta_work: VecDeque::new(),
        }
    }

    pub(crate) fn append(&mut self, batches: Vec<BatchMeta>) {
        self.batches.extend(batches);
        self.log_work.push_back(DiskWork::Sync);
    }

    /// Does the first thing that was asked of the log.
    pub(crate) fn do_log_work(&mut self) -> Option<LogEvent> {
        Some(match self.log_work.pop_front()? {
            DiskWork::Sync => {
                self.synced = self.batches.len();
                LogEvent::Durable(self.log().position())
            }
            DiskWork::Cut(to) => {
                self.batches.retain(|batch| batch.position() <= to);
                self.synced = self.batches.len();
                LogEvent::CutDone(Box::new(self.log()))
            }
            DiskWork::Reset(at) => {
                self.base = *at;
                self.batches.clear();
                self.synced = 0;
                LogEvent::ResetDone(Box::new(self.log()))
            }
        })
    }

    /// Does the first thing that was asked of the meta.
    pub(crate) fn do_meta_work(&mut self) -> Option<LogEvent> {
        let (number, meta) = self.meta_work.pop_front()?;
        self.meta = meta;
        Some(LogEvent::MetaDurable(number))
    }

    /// The power goes: what is not synced is lost.
    pub(crate) fn crash(&mut self) {
        self.batches.truncate(self.synced);
        self.log_work.clear();
        self.meta_work.clear();
    }

    pub(crate) fn recover(&self) -> Recovered {
        Recovered { meta: self.meta, log: self.log(), state: self.state.clone() }
    }

    pub(crate) fn batches(&self) -> &[BatchMeta] {
        &self.batches
    }

    /// Offset of the first record that the log can have.
    pub(crate) fn first_offset(&self) -> Offset {
        self.base.end
    }

    /// The batches that follow `after`, at most `max`, and perhaps only durable ones.
    pub(crate) fn read(&self, after: Position, max: usize, durable: bool) -> Vec<BatchMeta> {
        if !self.stores_after(after) {
            return Vec::new();
        }
        let there = if durable { &self.batches[..self.synced] } else { &self.batches[..] };
        let from = there.partition_point(|batch| batch.position() <= after);
        there[from..].iter().take(max).copied().collect()
    }

    /// Whether what follows `after` was not trimmed.
    pub(crate) fn stores_after(&self, after: Position) -> bool {
        after >= self.base.position()
    }

    /// Forgets what lies below the log start, unless something is under way.
    pub(crate) fn trim(&mut self) {
        if self.log_work.is_empty() {
            self.base = self.start();
            let base = self.base.position();
            self.batches.retain(|batch| batch.position() > base);
            self.synced = self.batches.len();
        }
    }

    /// What a log knows that begins at the log start. Here segments begin anywhere.
    pub(crate) fn start(&self) -> LogState {
        let mut state = self.base.clone();
        for batch in &self.batches {
            // At the log start itself may be the first batch of an epoch, and that may not be committed.
            let start = self.meta.log_start;
            if batch.next_offset() > start || batch.leader.base_offset >= start {
                break;
            }
            state.append(batch);
        }
        state.log_start = state.end;
        state
    }

    fn log(&self) -> LogState {
        let mut state = self.base.clone();
        self.batches.iter().for_each(|batch| state.append(batch));
        state.log_start = state.log_start.max(self.meta.log_start).min(state.end);
        state
    }
}
