//! Consuming. The client verifies checksums and that offsets follow each other; here, that a
//! partition delivers the same range each time it is read.

use std::time::Duration;

use forebay_client::{Client, ConsumedBatch, Consumer, ConsumerOptions, Event, StartAt};
use forebay_format::PartitionIndex;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{
    LoadError, Outcome, Plan, Window,
    window::{Measured, Sampler, measure},
};
use crate::{
    args::{LoadArgs, Records},
    clock,
    process::Servers,
};

/// With `--once`, a server that sends nothing for so long ends the load.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Reads until the window ends, or with `--once` until the end of every partition.
///
/// # Errors
/// When a connection cannot be made, or reading fails.
pub async fn consume(args: &LoadArgs, servers: Servers) -> Result<Outcome, LoadError> {
    let mut readers = Vec::new();
    for connection in 0..args.connections.min(args.partitions).max(1) {
        readers.push(Reader::open(args, connection).await?);
    }
    let warmup = if args.once { Duration::ZERO } else { args.warmup };
    let window = Window::begin(warmup, args.duration);
    let sampler = Sampler::begin(servers.clone());
    let measuring = (!args.once).then(|| tokio::spawn(measure(window, servers)));
    let mut reading = JoinSet::new();
    for reader in readers {
        reading.spawn(reader.run(window));
    }
    let mut outcome = Outcome::default();
    while let Some(finished) = reading.join_next().await {
        let reader = finished??;
        outcome.records += reader.records;
        outcome.bytes += reader.bytes;
        outcome.batches += reader.batches;
        outcome.verified_batches += reader.verified;
        outcome.problems.extend(reader.problems);
    }
    let measured: Measured = match measuring {
        Some(measuring) => measuring.await?,
        None => sampler.end(),
    };
    outcome.measured = Some(measured);
    Ok(outcome)
}

/// One connection.
struct Reader {
    consumer: Consumer,
    once: bool,
    records_too: bool,
    /// Partitions whose end was not reached yet.
    open: usize,
    records: u64,
    bytes: u64,
    batches: u64,
    verified: u64,
    problems: Vec<String>,
}

impl Reader {
    async fn open(args: &LoadArgs, connection: u32) -> Result<Self, LoadError> {
        let client = Client::connect(args.endpoint.iter().cloned()).await?;
        let partitions: Vec<(PartitionIndex, Option<StartAt>)> =
            Plan::new(args, connection).partitions().iter().map(|one| (*one, None)).collect();
        let open = partitions.len();
        let options = ConsumerOptions { partitions, ..ConsumerOptions::default() };
        let consumer = client.consumer(&args.topic, options).await?;
        Ok(Self {
            consumer,
            once: args.once,
            records_too: args.records == Records::Plain,
            open,
            records: 0,
            bytes: 0,
            batches: 0,
            verified: 0,
            problems: Vec::new(),
        })
    }

    async fn run(mut self, window: Window) -> Result<Self, LoadError> {
        loop {
            let patience = if self.once { Instant::now() + SILENCE_MAX } else { window.to.into() };
            let Ok(event) = timeout_at(patience, self.consumer.next()).await else {
                if self.once {
                    self.problems.push(format!("nothing came for {SILENCE_MAX:?}"));
                }
                return Ok(self);
            };
            match event? {
                Event::Batch(batch) => self.take(&batch, window),
                Event::CaughtUp { partition, .. } if !self.once => {
                    self.consumer.seek(partition, StartAt::Earliest);
                }
                Event::CaughtUp { .. } => {
                    self.open -= 1;
                    if self.open == 0 {
                        return Ok(self);
                    }
                }
            }
        }
    }

    fn take(&mut self, batch: &ConsumedBatch, window: Window) {
        self.verified += 1;
        if self.records_too {
            let read = batch.records().map(Iterator::count).unwrap_or_default() as u64;
            if read != batch.record_count() {
                let expected = batch.record_count();
                let first = batch.first_offset();
                self.problems.push(format!("offset {first}: {read} records of {expected}"));
            }
        }
        if self.once || window.contains(clock::now()) {
            self.records += batch.record_count();
            self.batches += 1;
            self.bytes += u64::from(batch.header().client.payload_bytes);
        }
    }
}
