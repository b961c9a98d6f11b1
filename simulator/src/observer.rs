//! Who sees everything: writes the history that the checker judges.

use std::collections::BTreeMap;

use forebay_checker::{
    AttemptId, Event, FinalReplica, History, LogView, Outcome, Record, Value, Voter,
};
use forebay_format::{Epoch, NodeId, Offset};
use forebay_replication::metadata::{Member, PartitionState};
use forebay_replication::{BatchMeta, Marks};

use crate::disk::{Disk, StoredLog};

/// Records of one batch have numbers of their own from here on.
const VALUES_PER_BATCH: u64 = 256;

/// The number that a client gave its batch. It travels in a field of the header that the protocol
/// hands on untouched.
pub(crate) fn batch_number(batch: &BatchMeta) -> u64 {
    batch.client.first_timestamp.get().unsigned_abs()
}

/// What the records of a batch hold.
pub(crate) fn values(number: u64, count: u32) -> Vec<Value> {
    (0..u64::from(count)).map(|place| Value(number * VALUES_PER_BATCH + place)).collect()
}

/// The records of `log` from `from` up to `to`, exclusive.
pub(crate) fn records(log: &StoredLog, from: Offset, to: Offset) -> Vec<Record> {
    let mut records = Vec::new();
    for batch in log.with_records(from, to) {
        let values = values(batch_number(batch), batch.client.record_count);
        for (distance, value) in (0..).zip(values) {
            let offset = batch.leader.base_offset + distance;
            if (from..to).contains(&offset) {
                records.push(Record { offset, epoch: batch.leader.epoch, value });
            }
        }
    }
    records
}

/// The history so far, and what is needed to go on with it.
#[derive(Debug)]
pub(crate) struct Observer {
    history: History,
    /// For every batch at its offset: the replicas that have ever synced it, and how long the history was then.
    synced: BTreeMap<(Offset, u64), Vec<(Voter, usize)>>,
    /// How long the history was when a node learnt of the shared state last.
    learnt: BTreeMap<NodeId, usize>,
    /// Where the logs began that are lost with their disks.
    lost: Vec<(Voter, Offset)>,
    /// What was committed at each offset first, until an unclean election gives it up.
    committed: BTreeMap<Offset, (Epoch, Value)>,
    unclean: usize,
}

impl Observer {
    pub(crate) const fn new() -> Self {
        Self {
            history: History::new(),
            synced: BTreeMap::new(),
            learnt: BTreeMap::new(),
            lost: Vec::new(),
            committed: BTreeMap::new(),
            unclean: 0,
        }
    }

    pub(crate) const fn history(&self) -> &History {
        &self.history
    }

    pub(crate) fn add(&mut self, at_ms: u64, event: Event) {
        if let Event::StateLearnt { node } = event {
            self.learnt.insert(node, self.history.len());
        }
        self.history.push(at_ms, event);
    }

    pub(crate) fn synced(&mut self, by: Voter, batches: &[BatchMeta]) {
        for batch in batches {
            let key = (batch.leader.base_offset, batch_number(batch));
            let synced = self.synced.entry(key).or_default();
            if synced.iter().all(|(voter, _)| *voter != by) {
                synced.push((by, self.history.len()));
            }
        }
    }

    /// The disk of a replica, with a log that begins there, is about to be lost.
    pub(crate) fn lost(&mut self, replica: Voter, begins: Offset) {
        self.lost.push((replica, begins));
    }

    /// Who has ever synced this batch at this offset.
    pub(crate) fn synced_on(
        &self,
        base_offset: Offset,
        number: u64,
    ) -> impl Iterator<Item = Voter> {
        let synced = self.synced.get(&(base_offset, number)).into_iter().flatten();
        synced.map(|(voter, _)| *voter)
    }

    /// Whether some mark has passed this batch at this offset.
    pub(crate) fn is_committed(&self, base_offset: Offset, number: u64) -> bool {
        let committed = self.committed.get(&base_offset);
        committed.is_some_and(|(_, value)| Some(value) == values(number, 1).first())
    }

    /// The committed mark of a node's process moved.
    pub(crate) fn published(
        &mut self,
        at_ms: u64,
        node: NodeId,
        (from, to): (Offset, Offset),
        log: &StoredLog,
    ) {
        // What lies below the start of the log came with it, and was never this replica's to commit.
        let from = if from < to { from.max(log.begins()).min(to) } else { from };
        if from == to {
            return;
        }
        let records = records(log, from, to);
        for record in &records {
            self.committed.entry(record.offset).or_insert((record.epoch, record.value));
        }
        self.add(at_ms, Event::Committed { node, from, to, records });
    }

    /// A produce was answered. Of an acknowledged one, it says too which replicas had synced it; `disks` are all
    /// that lie on a disk, with the start of their logs.
    pub(crate) fn answered(
        &mut self,
        at_ms: u64,
        (attempt, outcome): (AttemptId, Outcome),
        number: u64,
        disks: &[(Voter, Offset)],
    ) {
        let acked = match &outcome {
            Outcome::Acked { by, base_offset: Some(base_offset), .. } => Some((*by, *base_offset)),
            _ => None,
        };
        self.add(at_ms, Event::ProduceEnded { attempt, outcome });
        let Some((by, base_offset)) = acked else { return };
        let synced = self.synced.get(&(base_offset, number)).map_or(&[][..], Vec::as_slice);
        let learnt = self.learnt.get(&by).copied().unwrap_or_default();
        let before = synced.iter().filter(|(_, at)| *at <= learnt);
        let synced_before = before.map(|(voter, _)| *voter).collect();
        let mut synced_on: Vec<_> = synced.iter().map(|(voter, _)| *voter).collect();
        // A replica whose log begins above it was given a log without it, because it was trimmed.
        let above = disks.iter().chain(&self.lost).filter(|(_, begins)| *begins > base_offset);
        synced_on.extend(above.map(|(replica, _)| *replica));
        self.add(at_ms, Event::Copies { attempt, synced_on, synced_before });
    }

    /// The state of the partition was written. `leader_log` is what the node that it names holds.
    pub(crate) fn state_written(
        &mut self,
        at_ms: u64,
        by: NodeId,
        state: &PartitionState,
        leader_log: Option<&StoredLog>,
    ) {
        let Some(leader) = state.leader else { return };
        if state.unclean.len() > self.unclean {
            self.unclean = state.unclean.len();
            let lost_from = leader_log.map_or(Offset::ZERO, |log| self.parts_from_committed(log));
            drop(self.committed.split_off(&lost_from));
            self.add(at_ms, Event::UncleanElection { epoch: state.epoch, lost_from });
        }
        let voters = |members: &[Member]| {
            let voter = |member: &Member| Voter { node: member.node, replica: member.replica };
            members.iter().map(voter).collect::<Vec<_>>()
        };
        self.add(
            at_ms,
            Event::StateWritten {
                by,
                epoch: state.epoch,
                leader,
                voters: voters(&state.replicas),
                next_voters: state.next.as_deref().map(voters),
                in_sync: state.isr.clone(),
            },
        );
    }

    /// The first offset at which `log` does not hold what was committed. It may lie below its end: there
    /// it can have what an older leader left, and never committed.
    fn parts_from_committed(&self, log: &StoredLog) -> Offset {
        let mut expected = log.begins();
        for record in records(log, log.begins(), log.position().end) {
            let committed = self.committed.get(&record.offset);
            if committed.is_some_and(|committed| *committed != (record.epoch, record.value)) {
                return record.offset;
            }
            expected = record.offset + 1;
        }
        expected
    }

    /// All that a disk holds below `committed`, for the checker.
    pub(crate) fn log_view(disk: &Disk, marks: &Marks) -> LogView {
        let log_start = marks.log_start.max(disk.log().begins());
        // A cut is seen at once, and the marks follow when it is done. Whether it was right is judged elsewhere.
        let committed = marks.committed.clamp(log_start, disk.log().position().end.max(log_start));
        let records = records(disk.log(), log_start, committed);
        LogView { log_start, committed, records }
    }

    pub(crate) fn final_replica(node: NodeId, disk: &Disk, marks: &Marks) -> FinalReplica {
        FinalReplica { node, end: disk.log().position().end, log: Self::log_view(disk, marks) }
    }
}
