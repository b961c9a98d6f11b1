//! What clients saw, in the order in which they saw it: one list of events per partition.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay_checker::{AttemptId, ConsumerId, Event, Outcome, Produce, Stamp, Value};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::concern::Concern;
use crate::lock::Lock;

/// See the module.
#[derive(Debug)]
pub(crate) struct Recorder {
    began: Instant,
    partitions: Vec<Lock<Seen>>,
    /// What is wrong whatever the checker says.
    findings: Lock<Vec<String>>,
    values: AtomicU64,
    attempts: AtomicU64,
    consumers: AtomicU64,
    acknowledged: Notify,
}

/// What was seen of one partition.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// With their times in milliseconds since the recorder was made.
    pub(crate) events: Vec<(u64, Event)>,
    pub(crate) counts: Counts,
    /// Writes that should be committed when they are acknowledged, with the time when they were sent.
    under_way: BTreeMap<AttemptId, (u64, usize)>,
    watch: Option<Watch>,
}

/// Waits for a committed write that was sent after a moment.
#[derive(Debug, Clone, Copy)]
struct Watch {
    since_ms: u64,
    acknowledged_ms: Option<u64>,
}

/// How often what was seen, in records and, for refusals, in batches.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) acknowledged: u64,
    pub(crate) read: u64,
    pub(crate) refused: u64,
    pub(crate) indeterminate: u64,
    pub(crate) unknown: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.read += other.read;
        self.refused += other.refused;
        self.indeterminate += other.indeterminate;
        self.unknown += other.unknown;
    }
}

/// As many things are kept that the checker does not judge.
const FINDINGS_MAX: usize = 100;

impl Recorder {
    pub(crate) fn new(partitions: usize) -> Self {
        Self {
            began: Instant::now(),
            partitions: std::iter::repeat_with(Lock::default).take(partitions).collect(),
            findings: Lock::default(),
            values: AtomicU64::new(1),
            attempts: AtomicU64::new(1),
            consumers: AtomicU64::new(1),
            acknowledged: Notify::new(),
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Numbers that no record has.
    pub(crate) fn values(&self, count: u64) -> Vec<Value> {
        let first = self.values.fetch_add(count, Ordering::Relaxed);
        (first..first + count).map(Value).collect()
    }

    pub(crate) fn consumer(&self) -> ConsumerId {
        ConsumerId(self.consumers.fetch_add(1, Ordering::Relaxed))
    }

    /// Something happened in a partition, now.
    pub(crate) fn push(&self, place: usize, event: Event) {
        self.partitions[place].with(|seen| {
            // Within the lock, so that times never go back.
            let now_ms = self.now_ms();
            if let Event::Read { records, .. } = &event {
                seen.counts.read += records.len() as u64;
            }
            seen.events.push((now_ms, event));
        });
    }

    /// Likewise in all of them.
    pub(crate) fn push_everywhere(&self, event: &Event) {
        (0..self.partitions.len()).for_each(|place| self.push(place, event.clone()));
    }

    /// A client is about to send this.
    pub(crate) fn sends(
        &self,
        place: usize,
        values: Vec<Value>,
        concern: Concern,
        stamp: Option<Stamp>,
    ) -> AttemptId {
        let attempt = AttemptId(self.attempts.fetch_add(1, Ordering::Relaxed));
        let count = values.len();
        self.partitions[place].with(|seen| {
            let now_ms = self.now_ms();
            seen.under_way.insert(attempt, (now_ms, count));
            let produce = Produce { attempt, values, concern: concern.0, stamp };
            seen.events.push((now_ms, Event::Produce(produce)));
        });
        attempt
    }

    /// How that ended.
    pub(crate) fn ended(
        &self,
        place: usize,
        attempt: AttemptId,
        concern: Concern,
        outcome: Outcome,
    ) {
        self.partitions[place].with(|seen| {
            let now_ms = self.now_ms();
            let Some((sent_ms, records)) = seen.under_way.remove(&attempt) else { return };
            match &outcome {
                Outcome::Acked { .. } => {
                    seen.counts.acknowledged += records as u64;
                    if let Some(watch) = &mut seen.watch
                        && concern.is_committed()
                        && sent_ms > watch.since_ms
                    {
                        watch.acknowledged_ms.get_or_insert(now_ms);
                    }
                }
                Outcome::Refused { .. } => seen.counts.refused += 1,
                Outcome::Indeterminate => seen.counts.indeterminate += 1,
                Outcome::Unknown => seen.counts.unknown += 1,
            }
            seen.events.push((now_ms, Event::ProduceEnded { attempt, outcome }));
        });
        self.acknowledged.notify_waiters();
    }

    /// From now on, [`Self::written`] waits for writes that are sent later.
    pub(crate) fn watch_writes(&self) {
        for partition in &self.partitions {
            partition.with(|seen| {
                seen.watch = Some(Watch { since_ms: self.now_ms(), acknowledged_ms: None });
            });
        }
    }

    /// Waits until in each partition a write that was sent after [`Self::watch_writes`] is acknowledged as
    /// committed. The longest time that this took, in milliseconds.
    pub(crate) async fn written(&self) -> u64 {
        loop {
            let mut acknowledged = std::pin::pin!(self.acknowledged.notified());
            acknowledged.as_mut().enable();
            let gaps = self.partitions.iter().map(|partition| {
                partition.with(|seen| {
                    let watch = seen.watch?;
                    Some(watch.acknowledged_ms?.saturating_sub(watch.since_ms))
                })
            });
            if let Some(gaps) = gaps.collect::<Option<Vec<u64>>>() {
                return gaps.into_iter().max().unwrap_or_default();
            }
            acknowledged.await;
        }
    }

    /// Waits until so many records of each partition were acknowledged, with whatever write concern.
    pub(crate) async fn acknowledged(&self, records: u64) {
        loop {
            let mut acknowledged = std::pin::pin!(self.acknowledged.notified());
            acknowledged.as_mut().enable();
            let is_enough = |one: &Lock<Seen>| one.with(|seen| seen.counts.acknowledged >= records);
            if self.partitions.iter().all(is_enough) {
                return;
            }
            acknowledged.await;
        }
    }

    /// Waits until a write is refused for one of these reasons, in any partition, from now on.
    pub(crate) async fn refused(&self, reasons: &[&str]) {
        let mut looked: Vec<usize> =
            self.partitions.iter().map(|one| one.with(|seen| seen.events.len())).collect();
        let is = |(_, event): &(u64, Event)| match event {
            Event::ProduceEnded { outcome: Outcome::Refused { reason: found }, .. } => {
                reasons.contains(&found.as_str())
            }
            Event::ProduceEnded { outcome: Outcome::Indeterminate, .. } => {
                reasons.contains(&forebay_client::reason::INDETERMINATE)
            }
            _ => false,
        };
        loop {
            let mut ended = std::pin::pin!(self.acknowledged.notified());
            ended.as_mut().enable();
            for (partition, looked) in self.partitions.iter().zip(&mut looked) {
                let found = partition.with(|seen| {
                    let new = &seen.events[*looked..];
                    *looked = seen.events.len();
                    new.iter().any(is)
                });
                if found {
                    return;
                }
            }
            ended.await;
        }
    }

    /// Something is wrong, whatever the checker says.
    pub(crate) fn find(&self, what: &str) {
        let what = format!("at {} ms: {what}", self.now_ms());
        self.findings.with(|findings| {
            if findings.len() < FINDINGS_MAX {
                findings.push(what);
            }
        });
    }

    pub(crate) fn findings(&self) -> Vec<String> {
        self.findings.with(|findings| findings.clone())
    }

    /// Takes out what was seen of a partition.
    pub(crate) fn take(&self, place: usize) -> Seen {
        self.partitions[place].with(std::mem::take)
    }
}
