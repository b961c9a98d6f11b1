//! All readers of a stream, taken in turn.
//!
//! Those that wait at the end of their partition hold no memory, and any number of them waits. Of those
//! that have something to read only a few are let go ahead at a time, so that a stream over a thousand
//! partitions holds no more buffers than one over four.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll};

use forebay_engine::{CursorStart, PartitionCursor, PartitionRef};
use futures_util::Stream;
use futures_util::future::AbortHandle;
use futures_util::stream::FuturesUnordered;

use super::reader::{self, Reading, Step, Stepping};

/// Readers of one stream that read from the disk at a time.
const READING_MAX: usize = 4;

/// See the module.
#[derive(Default)]
pub(super) struct Readers {
    /// Opening or reading.
    reading: FuturesUnordered<Stepping>,
    /// At the end.
    waiting: FuturesUnordered<Stepping>,
    /// To be let read, in turn.
    queue: VecDeque<Queued>,
    /// What stops the present step of each partition.
    steps: HashMap<u32, AbortHandle>,
    /// Which of the two was asked first last time.
    waiting_first: bool,
}

enum Queued {
    Open { partition: PartitionRef, index: u32, start: CursorStart, seek_id: u64 },
    Read { cursor: PartitionCursor, reading: Reading },
}

impl Queued {
    fn partition(&self) -> u32 {
        match self {
            Self::Open { index, .. } => *index,
            Self::Read { reading, .. } => reading.partition,
        }
    }
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
        self.close(index);
        self.queue.push_back(Queued::Open { partition, index, start, seek_id });
    }

    /// Stops reading a partition.
    pub(super) fn close(&mut self, index: u32) {
        if let Some(step) = self.steps.remove(&index) {
            step.abort();
        }
        self.queue.retain(|queued| queued.partition() != index);
    }

    /// Reads on, when it is this reader's turn.
    pub(super) fn read(&mut self, cursor: PartitionCursor, reading: Reading) {
        self.queue.push_back(Queued::Read { cursor, reading });
    }

    /// Reads on when there is more to read.
    pub(super) fn wait(&mut self, cursor: PartitionCursor, reading: Reading, max_bytes: usize) {
        let abort = self.step(reading.partition);
        self.waiting.push(reader::wait(cursor, reading, max_bytes, abort));
    }

    /// The next step that has come to its end.
    pub(super) fn poll_step(&mut self, max_bytes: usize, cx: &mut Context<'_>) -> Poll<Step> {
        while self.reading.len() < READING_MAX
            && let Some(queued) = self.queue.pop_front()
        {
            let abort = self.step(queued.partition());
            self.reading.push(match queued {
                Queued::Open { partition, index, start, seek_id } => {
                    reader::open(partition, index, start, seek_id, abort)
                }
                Queued::Read { cursor, reading } => reader::read(cursor, reading, max_bytes, abort),
            });
        }
        self.waiting_first = !self.waiting_first;
        let (first, second) = if self.waiting_first {
            (&mut self.waiting, &mut self.reading)
        } else {
            (&mut self.reading, &mut self.waiting)
        };
        match poll_one(first, cx) {
            Poll::Pending => poll_one(second, cx),
            ready @ Poll::Ready(_) => ready,
        }
    }

    fn step(&mut self, partition: u32) -> futures_util::future::AbortRegistration {
        let (handle, registration) = AbortHandle::new_pair();
        self.steps.insert(partition, handle);
        registration
    }
}

/// The next of these that has ended and was not aborted.
fn poll_one(steps: &mut FuturesUnordered<Stepping>, cx: &mut Context<'_>) -> Poll<Step> {
    loop {
        match Pin::new(&mut *steps).poll_next(cx) {
            Poll::Ready(Some(Ok(step))) => return Poll::Ready(step),
            Poll::Ready(Some(Err(_aborted))) => {}
            Poll::Ready(None) | Poll::Pending => return Poll::Pending,
        }
    }
}
