//! `forebay topic produce`: standard input becomes records.
//!
//! The client batches, sends, and tries again without end. Here is only what a person sees of it:
//! records are found in the input, acknowledgements are printed, and it all adds up to a sum.

mod acknowledged;

use std::sync::{Arc, mpsc};

use forebay_client::{
    DeliveryError, DeliveryFailure, DeliveryReport, PartitionIndex, Producer, ProducerOptions,
    Record, SendError, WriteConcern, limits::BATCH_BYTES_MAX, reason,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
};

use self::acknowledged::Acknowledged;
use crate::{
    arguments::{Acks, Produce},
    client::connect,
    failure::{Failure, Kind, with_causes},
    input,
    pattern::split::{Found, Splitter},
    trouble,
};

/// No record can be longer: this is the largest batch there may ever be.
const RECORD_BYTES_MAX: usize = BATCH_BYTES_MAX;

pub(super) async fn run(produce: Produce) -> Result<(), Failure> {
    let splitter = Arc::new(Splitter::new(&produce.pattern).map_err(|error| {
        Failure::usage(format!("the pattern `{}` cannot be read with: {error}", produce.pattern))
    })?);
    if produce.key.is_some() && splitter.has_key() {
        return Err(Failure::usage(format!(
            "--key gives every record a key, and the pattern `{}` reads one from the input",
            produce.pattern
        )));
    }
    let (reports, reporter) = Reports::new();
    let mut interrupt = signal(SignalKind::interrupt())
        .map_err(|error| Failure::error(format!("cannot listen for Ctrl-C: {error}")))?;
    let producer = tokio::select! {
        biased;
        opened = open(&produce, reporter) => opened?,
        _ = interrupt.recv() => return Err(Failure::interrupted()),
    };
    let mut acknowledged = Acknowledged::new(&produce)?;
    let mut feeder = Feeder::new(&produce, producer, splitter);
    let delivered = tokio::select! {
        biased;
        delivered = feeder.deliver(&reports, &mut acknowledged) => delivered,
        _ = interrupt.recv() => Err(Failure::interrupted()),
    };
    let told = acknowledged.finish();
    delivered.and(told)
}

async fn open(
    produce: &Produce,
    reporter: impl FnMut(DeliveryReport) + Send + 'static,
) -> Result<Producer, Failure> {
    let options = ProducerOptions {
        write_concern: produce.acks.map_or(WriteConcern::TopicDefault, WriteConcern::from),
        delivery_deadline: produce.timeout,
        in_flight: 64,
        ..ProducerOptions::default()
    };
    let client = connect(&produce.connect)?;
    let producer = client.producer_with_reports(&produce.topic, options, reporter).await;
    producer.map_err(|error| trouble::opening(&error))
}

impl From<Acks> for WriteConcern {
    fn from(acks: Acks) -> Self {
        match acks {
            Acks::None => Self::None,
            Acks::Leader => Self::Leader,
            Acks::Quorum => Self::Quorum,
            Acks::All => Self::All,
            Acks::Replicas(replicas) => Self::Replicas(replicas),
        }
    }
}

/// Outcomes of batches, on their way from the client's tasks to the task that prints them. Bounded by what
/// the client buffers, because that task sends nothing more before it has printed.
struct Reports {
    queue: mpsc::Receiver<DeliveryReport>,
    arrived: Arc<Notify>,
}

impl Reports {
    fn new() -> (Self, impl FnMut(DeliveryReport) + Send + 'static) {
        let (sender, queue) = mpsc::channel();
        let arrived = Arc::new(Notify::new());
        let reports = Self { queue, arrived: Arc::clone(&arrived) };
        let reporter = move |report| {
            // Nobody listens any more when the command is on its way out.
            let _nobody_listens = sender.send(report);
            arrived.notify_one();
        };
        (reports, reporter)
    }

    /// Prints what has arrived. The first batch that failed for good is the failure of the command.
    fn print(&self, acknowledged: &mut Acknowledged) -> Result<(), Failure> {
        let mut failure = None;
        for report in self.queue.try_iter() {
            match report {
                Ok(ack) => acknowledged.add(&ack),
                Err(error) => failure = failure.or(Some(undelivered(&error))),
            }
        }
        acknowledged.show().map_err(Failure::unfinished)?;
        failure.map_or(Ok(()), Err)
    }
}

/// Reads records and gives them to the client.
struct Feeder {
    producer: Producer,
    splitter: Arc<Splitter>,
    partition: Option<PartitionIndex>,
    key: Option<Vec<u8>>,
    /// Records read so far, for messages.
    read: u64,
}

impl Feeder {
    fn new(produce: &Produce, producer: Producer, splitter: Arc<Splitter>) -> Self {
        Self {
            producer,
            splitter,
            partition: produce.partition.map(PartitionIndex::new),
            key: produce.key.clone().map(String::into_bytes),
            read: 0,
        }
    }

    /// Sends the whole input, and waits until all of it has an outcome. What was accepted before something
    /// went wrong is still delivered, and told.
    async fn deliver(
        &mut self,
        reports: &Reports,
        acknowledged: &mut Acknowledged,
    ) -> Result<(), Failure> {
        let fed = self.feed(reports, acknowledged).await;
        let flushed = self.flush(reports, acknowledged).await;
        fed.and(flushed)
    }

    /// Reads to the end of the input, printing acknowledgements as they come.
    async fn feed(
        &mut self,
        reports: &Reports,
        acknowledged: &mut Acknowledged,
    ) -> Result<(), Failure> {
        let splitter = Arc::clone(&self.splitter);
        let last_end = move |bytes: &[u8]| splitter.last_end(bytes);
        let mut pieces = input::pieces(std::io::stdin(), RECORD_BYTES_MAX, last_end);
        loop {
            tokio::select! {
                () = reports.arrived.notified() => {}
                piece = pieces.recv() => match piece {
                    Some(piece) => {
                        let piece = piece.map_err(|error| {
                            Failure::error(format!("cannot read standard input after record {}: {error}", self.read))
                        })?;
                        self.send_all(&piece).await?;
                    }
                    None => return Ok(()),
                },
            }
            reports.print(acknowledged)?;
        }
    }

    /// Sends the records of one piece of input; waits where the client has taken all it can.
    async fn send_all(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let splitter = Arc::clone(&self.splitter);
        for found in splitter.records(piece) {
            self.read += 1;
            let found = found.map_err(|mismatch| {
                Failure::error(format!(
                    "record {} is not written as the pattern says: {mismatch}",
                    self.read
                ))
            })?;
            let record = self.record(found);
            let sent = self.producer.send(&record).await;
            sent.map_err(|error| not_taken(self.read, &error))?;
        }
        Ok(())
    }

    fn record<'a>(&'a self, found: Found<'a>) -> Record<'a> {
        let record = Record { partition: self.partition, ..Record::of(found.value) };
        Record { key: found.key.or(self.key.as_deref()), ..record }
    }

    /// Waits until everything that was taken has an outcome, and prints it.
    async fn flush(
        &mut self,
        reports: &Reports,
        acknowledged: &mut Acknowledged,
    ) -> Result<(), Failure> {
        let flush = self.producer.flush();
        tokio::pin!(flush);
        loop {
            tokio::select! {
                () = reports.arrived.notified() => reports.print(acknowledged)?,
                // Its error is the one that the reports tell.
                _done = &mut flush => return reports.print(acknowledged),
            }
        }
    }
}

/// A record that the client did not take.
fn not_taken(number: u64, error: &SendError) -> Failure {
    Failure::error(format!("record {number} cannot be sent: {}", with_causes(error)))
}

/// A batch that is not in the log for sure, and that is not tried again.
fn undelivered(error: &DeliveryError) -> Failure {
    let kind = match *error.cause {
        DeliveryFailure::DeadlineExceeded { .. } => Kind::Unreachable,
        _ => Kind::Error,
    };
    let failure = Failure::new(kind, with_causes(error));
    match &*error.cause {
        DeliveryFailure::Refused(refusal) if refusal.reason == reason::BATCH_TOO_LARGE => failure
            .hint("`forebay topic create --set max_batch_size=3MiB` makes a topic that takes the largest."),
        _ => failure,
    }
}
