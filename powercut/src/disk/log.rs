//! What happened to a disk, in order: writes and flushes, each with the position where it started
//! and the one where it completed. Keeps the bytes; decides nothing about cuts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A moment in a disk's history: how many starts and completions came before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub(crate) struct Position(u64);

impl Position {
    pub(crate) const fn new(events: u64) -> Self {
        Self(events)
    }

    pub(crate) const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Names a write of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WriteIndex(usize);

/// Names a flush of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlushIndex(usize);

/// One write request.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) started: Position,
    /// When whoever wrote was told so. Invariant: later than `started`.
    pub(crate) completed: Option<Position>,
}

#[derive(Debug)]
struct Flush {
    started: Position,
    completed: Option<Position>,
}

/// The history of one disk.
#[derive(Debug, Default)]
pub(crate) struct DiskLog {
    /// In the order they started.
    writes: Vec<Write>,
    flushes: Vec<Flush>,
    end: Position,
    bytes: u64,
}

impl DiskLog {
    fn tick(&mut self) -> Position {
        let now = self.end;
        self.end = Position(now.0 + 1);
        now
    }

    pub(crate) fn start_write(&mut self, offset: u64, bytes: Vec<u8>) -> WriteIndex {
        let started = self.tick();
        self.bytes += u64::try_from(bytes.len()).expect("lengths fit 64 bits");
        self.writes.push(Write { offset, bytes, started, completed: None });
        WriteIndex(self.writes.len() - 1)
    }

    pub(crate) fn complete_write(&mut self, index: WriteIndex) {
        let now = self.tick();
        let earlier = self.writes[index.0].completed.replace(now);
        assert!(earlier.is_none(), "a write completes once");
    }

    pub(crate) fn start_flush(&mut self) -> FlushIndex {
        let started = self.tick();
        self.flushes.push(Flush { started, completed: None });
        FlushIndex(self.flushes.len() - 1)
    }

    pub(crate) fn complete_flush(&mut self, index: FlushIndex) {
        let now = self.tick();
        let earlier = self.flushes[index.0].completed.replace(now);
        assert!(earlier.is_none(), "a flush completes once");
    }

    /// The moment after everything so far.
    pub(crate) fn end(&self) -> Position {
        self.end
    }

    pub(crate) fn writes(&self) -> &[Write] {
        &self.writes
    }

    pub(crate) fn flush_count(&self) -> usize {
        self.flushes.len()
    }

    /// Bytes of all writes together.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// With the power cut at `cut`, every write that had completed before this moment is on stable
    /// storage: it is the latest start of a flush that had completed by then. A flush promises
    /// nothing about writes that were still in flight when it started.
    pub(crate) fn stable_before(&self, cut: Position) -> Position {
        self.flushes
            .iter()
            .filter(|flush| flush.completed.is_some_and(|completed| completed < cut))
            .map(|flush| flush.started)
            .max()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_covers_what_completed_before_it_started_and_only_once_it_completed() {
        let mut log = DiskLog::default();
        let early = log.start_write(0, vec![1]);
        log.complete_write(early);
        let in_flight = log.start_write(1, vec![2]);
        let flush = log.start_flush();
        log.complete_write(in_flight);
        let before_completion = log.end();
        log.complete_flush(flush);

        assert_eq!(log.stable_before(before_completion), Position::new(0));
        let stable = log.stable_before(log.end());
        assert!(log.writes()[0].completed.is_some_and(|at| at < stable));
        assert!(log.writes()[1].completed.is_some_and(|at| at >= stable));
    }
}
