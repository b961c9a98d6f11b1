//! The storage engine of Forebay: one shard per core, on glommio, with direct I/O.
//!
//! ```text
//! shard   one core: partitions, housekeeping, requests of other cores
//! log     one partition: append, flush, read, recovery, retention
//! segment one file of a log with its index
//! io      DMA buffers, direct-I/O files, directories, maps
//! ```
//!
//! Each layer knows only those below. There is no network, protocol or leadership in here: who may
//! append, and in which epoch, is decided above. For a partition with replicas a [`Sequencer`] decides
//! about every batch, and orders the rest through a [`ReplicaLog`]. What is acknowledged as durable here is on this
//! node's stable storage.

mod clock;
mod data_directory;
mod io;
mod log;
mod metrics;
mod runtime;
mod segment;
mod shard;

pub use clock::Clock;
pub use data_directory::{DataDirectory, DataDirectoryError, Mode};
pub use io::{ProbeError, fail_syncs, probe_direct_io, syncs_to_fail};
pub use log::{
    AckWhen, AppendError, Appended, Completed, Completion, CompletionQueue, Corruption,
    CursorStart, FsyncPolicy, IncomingBatch, Lineage, LogSettings, Opened, PartitionStatus,
    ReadError, ReplicaLog, ReserveError, Run, Sequencer, StampedBatch, Stored, StoredReader,
    StoredRun, WriteRefusal,
};
pub use metrics::{Count, ShardMetrics};
pub use shard::{
    Inbox, PartitionCursor, PartitionRef, PartitionSpec, RemoveError, Reservation, Shard,
    ShardAddress, ShardConfig, ShardIndex, StartError, mailboxes, shard_of,
};
