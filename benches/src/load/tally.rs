//! Acknowledgements: counted and timed when they fall into the window, verified always.

use forebay_client::BatchAck;

use super::{Plan, Window};
use crate::latency::Recorder;

/// So many problems are described; more would only repeat them.
const PROBLEMS_MAX: usize = 5;

/// How latencies from the intended send time are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timing {
    /// There is no intended time: everything is sent as fast as answers allow.
    Closed,
    /// A batch as a whole has one: that of its first record.
    PerBatch,
    /// Each record has its own.
    PerRecord,
}

/// One connection's acknowledgements.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) window: Window,
    plan: Plan,
    timing: Timing,
    record_bytes: u64,
    pub(super) records: u64,
    pub(super) batches: u64,
    pub(super) duplicates: u64,
    pub(super) acknowledged: u64,
    pub(super) verified_batches: u64,
    pub(super) intended: Recorder,
    pub(super) service: Recorder,
    /// By partition: the offset that comes next, and whether nobody else writes there.
    next_offsets: Vec<Option<u64>>,
    alone: bool,
    pub(super) problems: Vec<String>,
}

impl Tally {
    pub(super) fn new(window: Window, plan: Plan, timing: Timing, record_bytes: u64) -> Self {
        Self {
            window,
            plan,
            timing,
            record_bytes,
            records: 0,
            batches: 0,
            duplicates: 0,
            acknowledged: 0,
            verified_batches: 0,
            intended: Recorder::new(),
            service: Recorder::new(),
            next_offsets: Vec::new(),
            alone: true,
            problems: Vec::new(),
        }
    }

    /// Other connections write to the same partitions.
    pub(super) fn shared_partitions(&mut self) {
        self.alone = false;
    }

    /// Bytes of values in the window.
    pub(super) fn bytes(&self) -> u64 {
        self.records * self.record_bytes
    }

    /// An acknowledgement.
    pub(super) fn acked(&mut self, ack: &BatchAck) {
        self.verify(ack);
        self.acknowledged += u64::from(ack.record_count);
        self.duplicates += u64::from(ack.duplicate);
        if self.window.contains(ack.acked_at) {
            self.records += u64::from(ack.record_count);
            self.batches += 1;
            self.service.record(ack.service_time);
        }
        match self.timing {
            Timing::Closed => {}
            Timing::PerBatch => self.time(ack, ack.first_sequence, ack.record_count.into()),
            Timing::PerRecord => {
                for at in 0..u64::from(ack.record_count) {
                    self.time(ack, ack.first_sequence + at, 1);
                }
            }
        }
        if let Some(passed) = ack.acked_at.checked_duration_since(self.window.from) {
            self.service.tick(passed);
            self.intended.tick(passed);
        }
    }

    /// Counts the latency of records that should have been sent within the window, whenever they
    /// are acknowledged.
    #[inline]
    fn time(&mut self, ack: &BatchAck, sequence: u64, count: u64) {
        let due = self
            .plan
            .record_of(ack.partition, sequence)
            .and_then(|n| self.plan.due(self.window.start, n));
        if let Some(due) = due.filter(|due| self.window.contains(*due)) {
            self.intended.record_many(ack.acked_at.saturating_duration_since(due), count);
        }
    }

    fn verify(&mut self, ack: &BatchAck) {
        let at = ack.partition.get() as usize;
        if self.next_offsets.len() <= at {
            self.next_offsets.resize(at + 1, None);
        }
        let base = ack.base_offset.get();
        let end = base + u64::from(ack.record_count);
        let good = match self.next_offsets[at] {
            None => true,
            Some(next) if self.alone => base == next,
            Some(next) => base >= next,
        };
        if !good {
            let next = self.next_offsets[at];
            self.problem(|| {
                format!("partition {at}: acknowledged offset {base}, expected {next:?}")
            });
        }
        self.next_offsets[at] = Some(end);
        self.verified_batches += 1;
    }

    pub(super) fn problem(&mut self, describe: impl FnOnce() -> String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(describe());
        }
    }

    /// By partition: where the log must end by now, as far as this connection knows.
    pub(super) fn ends(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.next_offsets.iter().enumerate().filter_map(|(at, end)| Some((at, (*end)?)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;
    use forebay_format::{Epoch, Offset, PartitionIndex, TimestampMs};

    use super::*;
    use crate::args::{Cli, Command};

    fn tally(timing: Timing) -> Tally {
        let cli = Cli::try_parse_from(["forebay-loadgen", "produce", "--rate", "1000"]).unwrap();
        let Command::Produce(args) = cli.command else { panic!("not produce") };
        let window = Window::begin(Duration::ZERO, Duration::from_secs(10));
        Tally::new(window, Plan::new(&args, 0).with_block(10), timing, 100)
    }

    fn ack(tally: &Tally, first: u64, after: Duration) -> BatchAck {
        BatchAck {
            partition: PartitionIndex::new(0),
            base_offset: Offset::new(first),
            record_count: 10,
            first_sequence: first,
            durable_replicas: 1,
            replicas: 1,
            epoch: Epoch::new(1),
            append_time: TimestampMs::ZERO,
            duplicate: false,
            latency: Duration::ZERO,
            service_time: Duration::from_micros(1),
            acked_at: tally.window.start + after,
            batch_bytes: 0,
        }
    }

    #[test]
    fn a_stall_counts_for_everything_that_should_have_been_sent_meanwhile() {
        // 1000 records per second; all answers come together after one second.
        let mut tally = tally(Timing::PerRecord);
        for first in (0..1000).step_by(10) {
            tally.acked(&ack(&tally, first, Duration::from_secs(1)));
        }
        let intended = tally.intended.percentiles();
        assert_eq!(intended.count, 1000);
        assert!((intended.p50_us - 500_000.0).abs() < 2000.0, "{intended:?}");
        assert!(tally.service.percentiles().max_us < 2.0, "the service time hides the stall");
        assert_eq!((tally.records, tally.bytes(), tally.problems.len()), (1000, 100_000, 0));
    }

    #[test]
    fn an_offset_that_does_not_follow_is_a_problem() {
        let mut tally = tally(Timing::PerBatch);
        tally.acked(&ack(&tally, 0, Duration::ZERO));
        tally.acked(&ack(&tally, 20, Duration::ZERO));
        assert_eq!(tally.problems.len(), 1, "{:?}", tally.problems);
    }
}
