//! Reads partitions for the protocol: linearizably, all keys of a partition at one revision, and many
//! partitions in one round trip.
//!
//! Of several reads of one partition that wait, the one with the highest number is answered: it was asked
//! for last, so it is an answer to the others too.

use std::collections::BTreeMap;

use forebay_format::PartitionId;
use forebay_replication::metadata::{Observation, ObservationSource};

use super::connection::Connection;
use super::error::EtcdError;
use super::keys::{Key, Keys};
use super::partition::PartitionKeys;
use super::txn::{OPERATIONS_MAX, get_all};

/// Reads that wait. Invariant: at most one for each partition.
#[derive(Debug, Default)]
pub(super) struct WaitingReads {
    numbers: BTreeMap<PartitionId, u64>,
}

impl WaitingReads {
    pub(super) fn add(&mut self, partition: PartitionId, number: u64) {
        let newest = self.numbers.entry(partition).or_insert(number);
        *newest = number.max(*newest);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// As many as go into one round trip.
    pub(super) fn take(&mut self) -> Vec<(PartitionId, u64)> {
        let first: Vec<_> =
            self.numbers.iter().take(OPERATIONS_MAX).map(|(p, n)| (*p, *n)).collect();
        for (partition, _) in &first {
            self.numbers.remove(partition);
        }
        first
    }
}

/// Reads these partitions, as they are at one moment after this was called. Tries until etcd answers.
/// A partition that has a value which cannot be read is left out.
///
/// # Errors
/// What waiting does not mend.
pub(super) async fn read(
    connection: Connection,
    keys: Keys,
    partitions: Vec<(PartitionId, u64)>,
) -> Result<Vec<(PartitionId, Observation)>, EtcdError> {
    let reads = partitions.iter().map(|(partition, _)| get_all(&keys.partition(*partition)));
    let done = connection.read(reads.collect()).await?;
    let mut observed = Vec::with_capacity(partitions.len());
    for ((partition, number), pairs) in partitions.into_iter().zip(done.found) {
        let mut found = PartitionKeys::default();
        for pair in &pairs {
            if let Some(Key::Part(_, key)) = keys.parse(&pair.key) {
                found.put(key, pair);
            }
        }
        match found.observation(ObservationSource::Read(number), done.revision) {
            Ok(observation) => observed.push((partition, observation)),
            Err(error) => tracing::debug!(%error, %partition, "a partition cannot be read"),
        }
    }
    Ok(observed)
}

#[cfg(test)]
mod tests {
    use forebay_format::{PartitionIndex, TopicId};

    use super::*;

    #[test]
    fn newest_read_of_a_partition_stands_for_those_before() {
        let mut waiting = WaitingReads::default();
        let of = |index| PartitionId::new(TopicId::ZERO, PartitionIndex::new(index));
        for number in [3, 5, 4] {
            waiting.add(of(0), number);
        }
        assert_eq!(waiting.take(), [(of(0), 5)]);
        (0..200).for_each(|index| waiting.add(of(index), 1));
        assert_eq!((waiting.take().len(), waiting.take().len()), (OPERATIONS_MAX, 72));
        assert!(waiting.is_empty());
    }
}
