//! The thread that is the disk: it owns the image and the log, and answers one request at a time.
//!
//! A write is in flight for a random while after it arrived, and writes complete in any order, as
//! on a real disk. So a flush that is sent before a write was reported complete does not cover
//! that write, and whoever relies on it is caught.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use fuser::{Errno, ReplyData, ReplyEmpty, ReplyWrite};

use super::log::{DiskLog, WriteIndex};
use crate::seed::Dice;

/// Requests that wait for the device before the sender waits too.
pub(super) const QUEUE_REQUESTS_MAX: usize = 64;
/// Writes that are in flight at once.
const IN_FLIGHT_MAX: usize = 16;
/// The longest that a quiet disk keeps a write in flight, in microseconds.
const IN_FLIGHT_US_MAX: u64 = 150;
/// What a log may hold in memory; beyond it, the disk is out of space.
const LOG_BYTES_MAX: u64 = 4 << 30;

/// What the file system asks of the disk, with where to answer.
pub(super) enum Request {
    Read { offset: u64, size: u32, reply: ReplyData },
    Write { offset: u64, bytes: Vec<u8>, reply: ReplyWrite },
    Flush { reply: ReplyEmpty },
}

pub(super) struct Device {
    image: File,
    log: DiskLog,
    /// The log's end, for whoever stamps what they hear. Invariant: set before the answer goes
    /// out, so a stamp taken after an answer is past what was answered.
    end: Arc<AtomicU64>,
    in_flight: Vec<(WriteIndex, u32, ReplyWrite)>,
    dice: Dice,
}

impl Device {
    pub(super) fn new(image: File, end: Arc<AtomicU64>, seed: u64) -> Self {
        let dice = Dice::new(seed);
        Self { image, log: DiskLog::default(), end, in_flight: Vec::new(), dice }
    }

    /// Serves until every sender is gone, and gives back the history.
    pub(super) fn run(mut self, requests: &Receiver<Request>) -> DiskLog {
        loop {
            let request = if self.in_flight.is_empty() {
                requests.recv().map_err(|_all_gone| RecvTimeoutError::Disconnected)
            } else {
                let patience = Duration::from_micros(self.dice.below(IN_FLIGHT_US_MAX));
                requests.recv_timeout(patience)
            };
            match request {
                Ok(request) => self.serve(request),
                Err(RecvTimeoutError::Timeout) => self.complete_one(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            while self.in_flight.len() > IN_FLIGHT_MAX {
                self.complete_one();
            }
        }
        while !self.in_flight.is_empty() {
            self.complete_one();
        }
        self.log
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Read { offset, size, reply } => match self.read(offset, size) {
                Ok(bytes) => reply.data(&bytes),
                Err(error) => reply.error(error.into()),
            },
            Request::Write { offset, bytes, reply } => self.write(offset, bytes, reply),
            Request::Flush { reply } => {
                let flush = self.log.start_flush();
                self.log.complete_flush(flush);
                self.publish_end();
                reply.ok();
            }
        }
    }

    fn read(&self, offset: u64, size: u32) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(size).expect("32 bits fit a usize")];
        let mut filled = 0;
        while filled < bytes.len() {
            let at = offset + u64::try_from(filled).expect("lengths fit 64 bits");
            match self.image.read_at(&mut bytes[filled..], at)? {
                0 => break,
                read => filled += read,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn write(&mut self, offset: u64, bytes: Vec<u8>, reply: ReplyWrite) {
        if self.log.bytes() > LOG_BYTES_MAX {
            return reply.error(Errno::ENOSPC);
        }
        let size = u32::try_from(bytes.len()).expect("the kernel counts a write in 32 bits");
        if let Err(error) = self.image.write_all_at(&bytes, offset) {
            return reply.error(error.into());
        }
        let index = self.log.start_write(offset, bytes);
        self.publish_end();
        self.in_flight.push((index, size, reply));
    }

    fn complete_one(&mut self) {
        let chosen = self.dice.index(self.in_flight.len());
        let (index, size, reply) = self.in_flight.swap_remove(chosen);
        self.log.complete_write(index);
        self.publish_end();
        reply.written(size);
    }

    fn publish_end(&self) {
        self.end.store(self.log.end().get(), Ordering::SeqCst);
    }
}
