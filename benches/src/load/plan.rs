//! Which record goes to which partition, and when it should be sent. Pure: record n of a connection
//! has its place and its time from n alone, so that a latency can be measured from the time at which
//! a record *should* have been sent, without remembering anything per record.

use std::time::{Duration, Instant};

use forebay_format::{PartitionIndex, limits::HEADER_BYTES};

use crate::args::LoadArgs;

/// Bytes that the format adds to a value of up to 2 MiB without key and headers, at most.
const RECORD_OVERHEAD_BYTES: usize = 10;

/// A connection's share of a load. Its records go in blocks of one batch to its partitions in turn.
#[derive(Debug, Clone)]
pub struct Plan {
    partitions: Vec<PartitionIndex>,
    records_per_block: u64,
    /// Records per second of this connection.
    rate: Option<f64>,
}

impl Plan {
    /// The share of connection number `connection`.
    pub fn new(args: &LoadArgs, connection: u32) -> Self {
        let all = args.partitions.max(1);
        let own: Vec<PartitionIndex> = (0..all)
            .filter(|partition| partition % args.connections == connection % args.connections)
            .map(PartitionIndex::new)
            .collect();
        // More connections than partitions share them.
        let partitions =
            if own.is_empty() { vec![PartitionIndex::new(connection % all)] } else { own };
        let room = args.batch_bytes.len().saturating_sub(HEADER_BYTES);
        let records = room / (args.record_bytes.len() + RECORD_OVERHEAD_BYTES);
        Self {
            partitions,
            records_per_block: records.max(1) as u64,
            rate: args.rate.map(|rate| rate.0 / f64::from(args.connections)),
        }
    }

    /// Partitions of this connection.
    pub fn partitions(&self) -> &[PartitionIndex] {
        &self.partitions
    }

    /// Whether records have times at which they should be sent.
    pub fn is_open_loop(&self) -> bool {
        self.rate.is_some()
    }

    /// With another number of records per block: that of batches built beforehand.
    #[must_use]
    pub fn with_block(self, records: u32) -> Self {
        Self { records_per_block: records.into(), ..self }
    }

    /// Records that go to one partition before the next one's turn.
    pub fn records_per_block(&self) -> u64 {
        self.records_per_block
    }

    /// Where record `n` goes.
    #[inline]
    pub fn partition_of(&self, n: u64) -> PartitionIndex {
        let block = n / self.records_per_block;
        let at = block % self.partitions.len() as u64;
        self.partitions[usize::try_from(at).expect("an index of a Vec")]
    }

    /// Which record has this sequence in this partition.
    #[inline]
    pub fn record_of(&self, partition: PartitionIndex, sequence: u64) -> Option<u64> {
        let at = self.partitions.iter().position(|one| *one == partition)? as u64;
        let (round, within) =
            (sequence / self.records_per_block, sequence % self.records_per_block);
        Some((round * self.partitions.len() as u64 + at) * self.records_per_block + within)
    }

    /// When record `n` should be sent; `None` as fast as answers allow.
    #[inline]
    pub fn due(&self, start: Instant, n: u64) -> Option<Instant> {
        let rate = self.rate?;
        #[expect(clippy::cast_precision_loss, reason = "2^53 records take years")]
        let seconds = n as f64 / rate;
        Some(start + Duration::from_secs_f64(seconds))
    }

    /// How many records are due by then.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive number of records, far below 2^53"
    )]
    pub fn due_by(&self, start: Instant, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(start).as_secs_f64();
        self.rate.map_or(u64::MAX, |rate| (passed * rate) as u64 + 1)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn plan(flags: &str, connection: u32) -> Plan {
        let line = format!("forebay-loadgen produce {flags}");
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Produce(args) = cli.command else { panic!("not produce") };
        Plan::new(&args, connection)
    }

    #[test]
    fn every_record_is_found_again_from_its_partition_and_sequence() {
        let plan = plan("--partitions 7 --connections 2 --record-bytes 100 --batch-bytes 700", 1);
        assert_eq!(plan.partitions().len(), 3);
        let mut sequences = [0_u64; 7];
        for n in 0..1000 {
            let partition = plan.partition_of(n);
            let sequence = &mut sequences[partition.get() as usize];
            assert_eq!(plan.record_of(partition, *sequence), Some(n));
            *sequence += 1;
        }
        assert_eq!(plan.record_of(PartitionIndex::new(0), 0), None, "another connection's");
    }

    #[test]
    fn connections_share_partitions_only_when_there_are_too_few() {
        let all: Vec<u32> = (0..3)
            .flat_map(|connection| {
                plan("--partitions 8 --connections 3", connection).partitions().to_vec()
            })
            .map(PartitionIndex::get)
            .collect();
        let mut sorted = all.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..8).collect::<Vec<_>>());
        assert_eq!(plan("--connections 2", 1).partitions(), [PartitionIndex::new(0)]);
    }

    #[test]
    fn a_rate_is_divided_among_connections_and_says_when_each_record_is_due() {
        let plan = plan("--rate 1000 --connections 2 --partitions 2", 0);
        let start = crate::clock::now();
        assert_eq!(plan.due(start, 500), Some(start + Duration::from_secs(1)));
        assert_eq!(plan.due_by(start, start + Duration::from_secs(1)), 501);
    }
}
