//! The reader of one partition: steps that are futures, each of which owns the cursor and gives it back.

use forebay_engine::{CursorStart, PartitionCursor, PartitionRef, ReadError, Run};
use forebay_format::Offset;
use futures_util::future::LocalBoxFuture;

/// What a reader is, besides its cursor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) partition: u32,
    /// The first offset that the client wants; batches may begin before.
    pub(super) from: Offset,
    /// Whether the client was told that the end is reached, since it was.
    pub(super) end_told: bool,
    /// The seek that it goes back to; 0: the subscription.
    pub(super) seek_id: u64,
    /// Bytes that were read since its turn began.
    pub(super) turn_bytes: usize,
}

impl Reading {
    fn failed(self, at: CursorStart, error: ReadError) -> Step {
        Step::Failed { partition: self.partition, seek_id: self.seek_id, at, error }
    }
}

/// What became of one step.
#[derive(Debug)]
pub(super) enum Step {
    /// The reader stands at its start.
    Opened { cursor: PartitionCursor, reading: Reading },
    /// The reader stands where it stopped at the end of its last turn.
    Resumed { cursor: PartitionCursor, reading: Reading },
    /// There is something to send.
    Run { cursor: PartitionCursor, reading: Reading, run: Run },
    /// There is nothing more for now.
    End { cursor: PartitionCursor, reading: Reading },
    /// The reader is gone. It stood there.
    Failed { partition: u32, seek_id: u64, at: CursorStart, error: ReadError },
}

/// Finds the start.
pub(super) fn open(
    partition: PartitionRef,
    index: u32,
    start: CursorStart,
    seek_id: u64,
) -> LocalBoxFuture<'static, Step> {
    Box::pin(async move {
        match partition.cursor(start).await {
            Ok(cursor) => {
                let from = match start {
                    CursorStart::Offset(offset) | CursorStart::After { offset, .. } => offset,
                    _ => cursor.position(),
                };
                let reading =
                    Reading { partition: index, from, end_told: false, seek_id, turn_bytes: 0 };
                Step::Opened { cursor, reading }
            }
            Err(error) => Step::Failed { partition: index, seek_id, at: start, error },
        }
    })
}

/// Finds the place again where a reader stopped.
pub(super) fn resume(
    partition: PartitionRef,
    at: CursorStart,
    reading: Reading,
) -> LocalBoxFuture<'static, Step> {
    Box::pin(async move {
        match partition.cursor(at).await {
            Ok(cursor) => Step::Resumed { cursor, reading },
            Err(error) => reading.failed(at, error),
        }
    })
}

/// Reads what is there.
pub(super) fn read(
    mut cursor: PartitionCursor,
    reading: Reading,
    max_bytes: usize,
) -> LocalBoxFuture<'static, Step> {
    Box::pin(async move {
        let run = match cursor.try_next(max_bytes).await {
            Ok(Some(run)) => Ok(run),
            Ok(None) if cursor.at_end() => return Step::End { cursor, reading },
            // Another shard has not sent it yet.
            Ok(None) => cursor.next(max_bytes).await,
            Err(error) => Err(error),
        };
        match run {
            Ok(run) => Step::Run { cursor, reading, run },
            Err(error) => reading.failed(cursor.place(), error),
        }
    })
}

/// Waits at the end until there is more.
pub(super) fn wait(
    mut cursor: PartitionCursor,
    reading: Reading,
    max_bytes: usize,
) -> LocalBoxFuture<'static, Step> {
    Box::pin(async move {
        match cursor.next(max_bytes).await {
            Ok(run) => Step::Run { cursor, reading, run },
            Err(error) => reading.failed(cursor.place(), error),
        }
    })
}
