//! Writes down what each replica is told and wants done, for people who look for a fault: a file for each
//! life of a replica, a line of JSON for each event. `forebay_replication::trace` goes through it again.
//!
//! Off unless a directory is set. A line is written before its actions are carried out, while the shard waits:
//! what a killed process has done is in the file, and a node with traces is slow.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process;

use forebay_format::PartitionId;
use forebay_replication::trace::{Beginning, Step};
use forebay_replication::{Action, Event, Instant};
use serde::Serialize;

/// The file of one life of a replica.
pub(super) struct Trace {
    file: File,
    partition: PartitionId,
}

impl Trace {
    /// Makes the file, and writes the first line.
    ///
    /// # Errors
    /// The directory or the file cannot be made or written.
    pub(super) fn begin(
        directory: &Path,
        partition: PartitionId,
        now: Instant,
        beginning: &Beginning,
    ) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let PartitionId { topic, partition: number } = partition;
        let (node, process) = (beginning.node, process::id());
        let name = format!("{topic}-{number}-node{node}-{}-{process}.jsonl", now.as_ms());
        let mut trace = Self { file: File::create_new(directory.join(name))?, partition };
        trace.write(beginning)?;
        Ok(trace)
    }

    /// Adds what has happened and what is to be done. Returns whether more can be added: a trace with a gap is
    /// of no use.
    pub(super) fn step(&mut self, now: Instant, event: Event, actions: &[Action]) -> bool {
        let written = self.write(&Step { now, event, actions: actions.to_vec() });
        if let Err(error) = &written {
            tracing::warn!(partition = %self.partition, %error, "the trace ends here");
        }
        written.is_ok()
    }

    fn write(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(line)?;
        line.push(b'\n');
        self.file.write_all(&line)
    }
}
