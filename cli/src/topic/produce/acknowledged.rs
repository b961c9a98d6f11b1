//! What `topic produce` prints: a line per acknowledged batch, and the sum.

use std::time::Duration;

use forebay_client::BatchAck;
use serde::Serialize;

use crate::{
    arguments::Produce,
    clock::Stopwatch,
    failure::Failure,
    output::{self, Format, Stdout},
};

/// Counts acknowledgements and prints them.
#[derive(Debug)]
pub(super) struct Acknowledged {
    format: Format,
    quiet: bool,
    topic: String,
    stdout: Stdout,
    since: Stopwatch,
    records: u64,
    batches: u64,
    bytes: u64,
}

/// One acknowledged batch.
#[derive(Debug, Serialize)]
struct Line<'a> {
    topic: &'a str,
    partition: u32,
    base_offset: u64,
    last_offset: u64,
    records: u32,
    durable_replicas: u32,
    replicas: u32,
    epoch: u64,
    duplicate: bool,
    latency_seconds: f64,
}

/// All of them.
#[derive(Debug, Serialize)]
struct Sum<'a> {
    topic: &'a str,
    records: u64,
    batches: u64,
    bytes: u64,
    seconds: f64,
}

impl Acknowledged {
    pub(super) fn new(produce: &Produce) -> Result<Self, Failure> {
        Ok(Self {
            format: produce.print.format,
            quiet: produce.quiet,
            topic: produce.topic.clone(),
            stdout: Stdout::new()?,
            since: Stopwatch::start(),
            records: 0,
            batches: 0,
            bytes: 0,
        })
    }

    pub(super) fn add(&mut self, ack: &BatchAck) {
        self.records += u64::from(ack.record_count);
        self.batches += 1;
        self.bytes +=
            u64::try_from(ack.batch_bytes).expect("a batch is far smaller than 2^64 bytes");
        if !self.quiet {
            let line = Line::new(&self.topic, ack);
            write(self.format, &line, &line.text(ack.latency), self.stdout.buffer());
        }
    }

    /// Hands what was added to whoever reads standard output.
    pub(super) fn show(&mut self) -> Result<(), Failure> {
        self.stdout.flush()
    }

    /// Prints the sum.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let elapsed = self.since.elapsed();
        let sum = Sum {
            topic: &self.topic,
            records: self.records,
            batches: self.batches,
            bytes: self.bytes,
            seconds: elapsed.as_secs_f64(),
        };
        write(self.format, &sum, &sum.text(elapsed), self.stdout.buffer());
        self.stdout.flush()
    }
}

/// JSON takes one line, so that a script can read line by line; YAML one document.
fn write(format: Format, value: &impl Serialize, text: &str, out: &mut Vec<u8>) {
    match format {
        Format::Text | Format::Wide => out.extend_from_slice(text.as_bytes()),
        Format::Json => {
            serde_json::to_writer(&mut *out, value).expect("a Vec takes every byte");
            out.push(b'\n');
        }
        Format::Yaml => out.extend_from_slice(format!("---\n{}", output::yaml(value)).as_bytes()),
    }
}

impl<'a> Line<'a> {
    fn new(topic: &'a str, ack: &BatchAck) -> Self {
        Self {
            topic,
            partition: ack.partition.get(),
            base_offset: ack.base_offset.get(),
            last_offset: ack.base_offset.get() + u64::from(ack.record_count).saturating_sub(1),
            records: ack.record_count,
            durable_replicas: ack.durable_replicas,
            replicas: ack.replicas,
            epoch: ack.epoch.get(),
            duplicate: ack.duplicate,
            latency_seconds: ack.latency.as_secs_f64(),
        }
    }

    fn text(&self, latency: Duration) -> String {
        let again = if self.duplicate { ", already there from an earlier try" } else { "" };
        format!(
            "{}/{} @{}-@{}  durable on {}/{}, epoch {}, {}{again}\n",
            self.topic,
            self.partition,
            self.base_offset,
            self.last_offset,
            self.durable_replicas,
            self.replicas,
            self.epoch,
            milliseconds(latency),
        )
    }
}

impl Sum<'_> {
    fn text(&self, elapsed: Duration) -> String {
        let records = if self.records == 1 { "record" } else { "records" };
        let batches = if self.batches == 1 { "batch" } else { "batches" };
        format!(
            "{} {records}, {} in {} {batches}, acknowledged by {} in {:.1}s\n",
            self.records,
            output::bytes(self.bytes),
            self.batches,
            self.topic,
            elapsed.as_secs_f64(),
        )
    }
}

/// `1.8ms`, as people read it at a glance.
fn milliseconds(duration: Duration) -> String {
    format!("{:.1}ms", duration.as_secs_f64() * 1000.0)
}
