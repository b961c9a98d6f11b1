//! All readers of a stream, taken in turn.
//!
//! A reader that reads from the disk reads ahead, and what it has read ahead is memory. So only a few
//! have begun to read at a time: each goes on for a while, and then gives up its cursor with everything
//! that hangs on it before it queues again. That is how a stream over a thousand partitions reads ahead
//! for no more of them than one over four.

use std::collections::HashMap;
use std::task::{Context, Poll};

use forebay_engine::{CursorStart, PartitionCursor, PartitionRef};

use super::reader::{self, Reading, Step};
use super::turns::Turns;

/// What a reader reads before it lets another one. Much, because it begins again by looking for its place.
const TURN_BYTES: usize = 16 * 1024 * 1024;

/// See the module.
#[derive(Default)]
pub(super) struct Readers {
    turns: Turns<Queued, Step>,
    /// Those that were opened.
    partitions: HashMap<u32, PartitionRef>,
}

enum Queued {
    Open { partition: PartitionRef, index: u32, start: CursorStart, seek_id: u64 },
    Read { cursor: PartitionCursor, reading: Reading },
    Resume { partition: PartitionRef, at: CursorStart, reading: Reading },
}

impl Readers {
    /// Starts, or starts again, to read a partition.
    pub(super) fn open(
        &mut self,
        partition: PartitionRef,
        index: u32,
        start: CursorStart,
        seek_id: u64,
    ) {
        self.turns.stop(index);
        self.partitions.insert(index, partition.clone());
        self.turns.read_last(index, Queued::Open { partition, index, start, seek_id });
    }

    /// Reads a partition no more.
    pub(super) fn stop(&mut self, index: u32) {
        self.turns.stop(index);
        self.partitions.remove(&index);
    }

    /// Begins to read, when it is this reader's turn. Its cursor has read nothing yet.
    pub(super) fn read(&mut self, cursor: PartitionCursor, reading: Reading) {
        self.turns.read_last(reading.partition, Queued::Read { cursor, reading });
    }

    /// Reads on, at once or, when its turn is over, in its next turn.
    pub(super) fn read_on(&mut self, cursor: PartitionCursor, reading: Reading) {
        let index = reading.partition;
        if reading.turn_bytes >= TURN_BYTES
            && !self.turns.nobody_queues()
            && let Some(partition) = self.partitions.get(&index)
        {
            let (partition, at) = (partition.clone(), cursor.place());
            let reading = Reading { turn_bytes: 0, ..reading };
            self.turns.read_last(index, Queued::Resume { partition, at, reading });
        } else {
            self.turns.read_next(index, Queued::Read { cursor, reading });
        }
    }

    /// Reads on when there is more to read.
    pub(super) fn wait(&mut self, cursor: PartitionCursor, reading: Reading, max_bytes: usize) {
        let reading = Reading { turn_bytes: 0, ..reading };
        self.turns.wait(reading.partition, reader::wait(cursor, reading, max_bytes));
    }

    /// The next step that has come to its end.
    pub(super) fn poll_step(&mut self, max_bytes: usize, cx: &mut Context<'_>) -> Poll<Step> {
        let start = |queued| match queued {
            Queued::Open { partition, index, start, seek_id } => {
                reader::open(partition, index, start, seek_id)
            }
            Queued::Read { cursor, reading } => reader::read(cursor, reading, max_bytes),
            Queued::Resume { partition, at, reading } => reader::resume(partition, at, reading),
        };
        self.turns.poll(start, cx)
    }
}
