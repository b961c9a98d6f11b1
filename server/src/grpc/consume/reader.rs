//! The reader of one partition: steps that are futures, each of which owns the cursor and gives it back.

use forebay_engine::{CursorStart, PartitionCursor, PartitionRef, ReadError, Run};
use forebay_format::Offset;
use futures_util::future::{AbortRegistration, Abortable, LocalBoxFuture};

/// What a reader is, besides its cursor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) partition: u32,
    /// The first offset that the client wants; batches may begin before.
    pub(super) from: Offset,
    /// Whether the client was told that the end is reached, since it was.
    pub(super) end_told: bool,
}

/// What became of one step.
#[derive(Debug)]
pub(super) enum Step {
    /// The reader stands at its start.
    Opened { cursor: PartitionCursor, reading: Reading, seek_id: u64 },
    /// There is something to send.
    Run { cursor: PartitionCursor, reading: Reading, run: Run },
    /// There is nothing more for now.
    End { cursor: PartitionCursor, reading: Reading },
    /// The reader is gone.
    Failed { partition: u32, error: ReadError },
}

/// A step under way. Aborted when the client seeks.
pub(super) type Stepping = Abortable<LocalBoxFuture<'static, Step>>;

/// Finds the start.
pub(super) fn open(
    partition: PartitionRef,
    index: u32,
    start: CursorStart,
    seek_id: u64,
    abort: AbortRegistration,
) -> Stepping {
    let open = async move {
        match partition.cursor(start).await {
            Ok(cursor) => {
                let from = match start {
                    CursorStart::Offset(offset) => offset,
                    _ => cursor.position(),
                };
                let reading = Reading { partition: index, from, end_told: false };
                Step::Opened { cursor, reading, seek_id }
            }
            Err(error) => Step::Failed { partition: index, error },
        }
    };
    Abortable::new(Box::pin(open), abort)
}

/// Reads what is there.
pub(super) fn read(
    mut cursor: PartitionCursor,
    reading: Reading,
    max_bytes: usize,
    abort: AbortRegistration,
) -> Stepping {
    let read = async move {
        let run = match cursor.try_next(max_bytes).await {
            Ok(Some(run)) => Ok(run),
            Ok(None) if cursor.at_end() => return Step::End { cursor, reading },
            // Another shard has not sent it yet.
            Ok(None) => cursor.next(max_bytes).await,
            Err(error) => Err(error),
        };
        match run {
            Ok(run) => Step::Run { cursor, reading, run },
            Err(error) => Step::Failed { partition: reading.partition, error },
        }
    };
    Abortable::new(Box::pin(read), abort)
}

/// Waits at the end until there is more.
pub(super) fn wait(
    mut cursor: PartitionCursor,
    reading: Reading,
    max_bytes: usize,
    abort: AbortRegistration,
) -> Stepping {
    let wait = async move {
        match cursor.next(max_bytes).await {
            Ok(run) => Step::Run { cursor, reading, run },
            Err(error) => Step::Failed { partition: reading.partition, error },
        }
    };
    Abortable::new(Box::pin(wait), abort)
}
