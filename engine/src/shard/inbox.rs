//! How one core reaches another: typed requests through a bounded channel.
//!
//! An append stream towards another shard opens a session of its own, so that its order is kept and
//! one stream's full queue holds nobody else up. Payloads cross as the shared frames that they
//! arrived in; buffers of the disk stay on their core, so what is read for another shard is copied.

use async_channel::{Receiver, Sender};
use bytes::Bytes;
use forebay_format::{Epoch, Offset, PartitionId};

use super::ShardIndex;
use crate::log::{
    AckWhen, Completed, CursorStart, IncomingBatch, PartitionStatus, ReadError, ReserveError,
};

/// Requests that wait for one shard.
const INBOX_REQUESTS_MAX: usize = 1024;

/// An append for a partition of another shard.
#[derive(Debug)]
pub(super) struct RemoteAppend {
    pub(super) partition: PartitionId,
    pub(super) batch: IncomingBatch,
    pub(super) token: u64,
    pub(super) when: AckWhen,
}

/// A run whose bytes may cross cores.
#[derive(Debug)]
pub(super) struct RemoteRun {
    pub(super) bytes: Bytes,
    pub(super) first_offset: Offset,
    pub(super) next_offset: Offset,
    /// Of the last record, if that is known.
    pub(super) epoch: Option<Epoch>,
    pub(super) committed: Offset,
    pub(super) earliest: Offset,
    /// Whether this reached the committed end.
    pub(super) at_end: bool,
}

/// What a shard can be asked.
#[derive(Debug)]
pub(super) enum Request {
    /// Serve this stream of appends until its sender is gone.
    AppendSession { appends: Receiver<RemoteAppend>, answers: Sender<Vec<Completed>> },
    /// Send runs from `start` on until the receiver is gone. The first answer is the offset.
    Read {
        partition: PartitionId,
        start: CursorStart,
        max_bytes: usize,
        opened: Sender<Result<(Offset, Offset, Offset), ReadError>>,
        runs: Sender<Result<RemoteRun, ReadError>>,
    },
    /// Say what can be read of a partition.
    Status { partition: PartitionId, answer: Sender<Result<PartitionStatus, ReserveError>> },
}

/// Where requests for a shard are sent.
#[derive(Debug, Clone)]
pub struct ShardAddress {
    pub(super) shard: ShardIndex,
    pub(super) requests: Sender<Request>,
}

impl ShardAddress {
    /// Which shard this leads to.
    pub fn shard(&self) -> ShardIndex {
        self.shard
    }
}

/// Where a shard takes its requests from. One for each shard.
#[derive(Debug)]
pub struct Inbox(pub(super) Receiver<Request>);

/// The inboxes of `shards` shards, and the addresses that lead to them, both by shard index.
pub fn mailboxes(shards: u32) -> (Vec<Inbox>, Vec<ShardAddress>) {
    (0..shards)
        .map(|shard| {
            let (requests, inbox) = async_channel::bounded(INBOX_REQUESTS_MAX);
            (Inbox(inbox), ShardAddress { shard: ShardIndex::new(shard), requests })
        })
        .unzip()
}
