//! What a shard is told when it starts, and when it gets a partition.

use std::io;
use std::path::PathBuf;

use forebay_format::{ClusterId, Epoch, PartitionId};
use thiserror::Error;

use super::ShardIndex;
use crate::clock::Clock;
use crate::io::ProbeError;
use crate::log::{FsyncPolicy, LogSettings};

/// Settings of one shard.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    /// The data directory, shared by all shards of the node.
    pub data: PathBuf,
    /// Which shard this is.
    pub shard: ShardIndex,
    /// Whose data it is.
    pub cluster: ClusterId,
    /// Bytes of buffers for appends in flight, the tail cache and what is read ahead, together.
    pub memory_bytes: u64,
    /// When appended bytes are synced.
    pub fsync: FsyncPolicy,
    /// Distance of index entries in bytes.
    pub index_interval_bytes: u64,
    /// Free bytes that the disk keeps; appends that need more are refused.
    pub disk_reserve_bytes: u64,
    /// Where time comes from.
    pub clock: Clock,
}

/// A partition that a shard is to serve.
#[derive(Debug, Clone)]
pub struct PartitionSpec {
    /// Which one.
    pub id: PartitionId,
    /// The epoch that this node leads it in; higher than any it was written in by an earlier run.
    pub epoch: Epoch,
    /// Settings of its log.
    pub settings: LogSettings,
}

/// Why a shard did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory cannot do what is needed.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// Something else in the data directory failed.
    #[error("shard {shard} cannot start: {source}")]
    Io {
        /// The shard.
        shard: ShardIndex,
        /// What the system said, with the path.
        source: io::Error,
    },
}

/// Why the files of a partition are not all gone.
#[derive(Debug, Error)]
#[error("partition {id} could not be removed: {source}")]
pub struct RemoveError {
    /// The partition.
    pub id: PartitionId,
    /// What the system said.
    pub source: io::Error,
}
