//! Which shard owns which partition.

use std::fmt;

use forebay_format::PartitionId;

/// A shard of this node, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardIndex(u32);

impl ShardIndex {
    /// The shard of this number.
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// Its number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Its number, as an index into a list of shards.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ShardIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The shard that owns a partition among `shards` of them. Depends on nothing else, so that every
/// core, and every start with as many shards, comes to the same answer.
///
/// Partitions of one topic go to neighbouring shards in turn: a topic with as many partitions as
/// shards keeps every core busy.
///
/// # Panics
/// With no shards.
pub fn shard_of(id: PartitionId, shards: u32) -> ShardIndex {
    let topic = id.topic.to_bytes();
    let start = u64::from(forebay_format::checksum::crc32c(&topic));
    let shard = (start + u64::from(id.partition.get())) % u64::from(shards);
    ShardIndex(u32::try_from(shard).expect("less than the number of shards"))
}

#[cfg(test)]
mod tests {
    use forebay_format::{PartitionIndex, TopicId};

    use super::*;

    #[test]
    fn partitions_of_a_topic_spread_evenly() {
        let topic = TopicId::from_u128(77);
        let mut counts = [0; 4];
        for partition in 0..40 {
            let id = PartitionId::new(topic, PartitionIndex::new(partition));
            counts[shard_of(id, 4).index()] += 1;
        }
        assert_eq!(counts, [10; 4]);
    }

    #[test]
    fn the_owner_is_pinned_because_it_must_not_change_between_releases() {
        let id = PartitionId::new(TopicId::from_u128(1), PartitionIndex::new(3));
        assert_eq!(shard_of(id, 8).get(), 4);
    }
}
