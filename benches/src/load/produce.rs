//! Producing.

use std::{sync::Arc, time::Duration};

use forebay_client::{
    Client, DeliveryReport, PreparedBatch, Producer, ProducerOptions, Record, WriteConcern,
};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    LoadError, Outcome, Plan, Window,
    pacer::Pacer,
    tally::{Tally, Timing},
    window::measure,
};
use crate::{
    args::{LoadArgs, Records},
    clock,
    latency::Recorder,
    payload::{batch_of, random_bytes},
    process::Servers,
};

/// Different batches that are sent in turn, in bytes: more than a core's own cache holds, as records
/// of a real producer come from somewhere too.
const PREPARED_BYTES: usize = 4 << 20;
/// How long the last answers are waited for.
const DRAIN_TIME: Duration = Duration::from_secs(30);
/// How long everything acknowledged may take to be committed, when acknowledgements do not wait for that.
const COMMIT_TIME: Duration = Duration::from_secs(10);
/// Between two looks.
const COMMIT_PAUSE: Duration = Duration::from_millis(50);
/// Records between two looks at the clock.
const RECORDS_PER_LOOK: u64 = 64;
/// Bytes that wait in the client, at most, however many partitions there are.
const BUFFER_BYTES_MAX: usize = 64 << 20;

/// Sends until the window ends, then waits for the last answers.
///
/// # Errors
/// When a connection cannot be made, or records are refused.
pub async fn produce(args: &LoadArgs, servers: Servers) -> Result<Outcome, LoadError> {
    let mut producers = Vec::new();
    let load = Arc::new(Load::new(args)?);
    let clients = connect(args).await?;
    let window = Window::begin(args.warmup, args.duration);
    for (connection, client) in (0..).zip(&clients) {
        producers.push(Sender::open(args, client, &load, (connection, window)).await?);
    }
    let measuring = tokio::spawn(measure(window, servers));
    let mut sending = JoinSet::new();
    for sender in producers {
        sending.spawn(sender.run());
    }
    let mut outcome = Outcome {
        intended: args.rate.map(|_| Recorder::new()),
        service: Some(Recorder::new()),
        ..Outcome::default()
    };
    let mut ends = vec![0; args.partitions as usize];
    while let Some(finished) = sending.join_next().await {
        let (tally, accepted) = finished??;
        for (partition, end) in tally.ends() {
            ends[partition] = end.max(ends[partition]);
        }
        add(&mut outcome, tally, accepted);
    }
    outcome.measured = Some(measuring.await?);
    check_ends(&clients[0], args, &ends, &mut outcome).await?;
    Ok(outcome)
}

async fn connect(args: &LoadArgs) -> Result<Vec<Client>, LoadError> {
    let mut clients = Vec::new();
    for _ in 0..args.connections.max(1) {
        clients.push(Client::connect(args.endpoint.iter().cloned()).await?);
    }
    Ok(clients)
}

/// What is sent.
struct Load {
    batches: Vec<PreparedBatch>,
    /// Values are cut out of this at changing places.
    bytes: Vec<u8>,
    records: Records,
}

impl Load {
    fn new(args: &LoadArgs) -> Result<Self, LoadError> {
        let (record, batch) = (args.record_bytes.len(), args.batch_bytes.len());
        let mut batches = Vec::new();
        if args.records == Records::Raw {
            for seed in 0..(PREPARED_BYTES / batch.max(record)).clamp(2, 4096) {
                batches.push(batch_of(record, batch, 1 + seed as u64 * 100_000)?);
            }
        }
        let bytes = random_bytes(PREPARED_BYTES + record, 5);
        Ok(Self { batches, bytes, records: args.records })
    }
}

/// One connection.
struct Sender {
    producer: Producer,
    /// Empty once the load has ended.
    tally: Arc<Mutex<Option<Tally>>>,
    plan: Plan,
    window: Window,
    load: Arc<Load>,
    record_bytes: usize,
}

impl Sender {
    async fn open(
        args: &LoadArgs,
        client: &Client,
        load: &Arc<Load>,
        (connection, window): (u32, Window),
    ) -> Result<Self, LoadError> {
        let mut plan = Plan::new(args, connection);
        if let Some(batch) = load.batches.first() {
            plan = plan.with_block(batch.record_count());
        }
        let timing = match (plan.is_open_loop(), load.records) {
            (false, _) => Timing::Closed,
            (true, Records::Raw) => Timing::PerBatch,
            (true, Records::Plain) => Timing::PerRecord,
        };
        let mut tally = Tally::new(window, plan.clone(), timing, args.record_bytes.0);
        if args.connections > args.partitions {
            tally.shared_partitions();
        }
        let tally = Arc::new(Mutex::new(Some(tally)));
        let reports = Arc::clone(&tally);
        let report = move |report: DeliveryReport| {
            // Reports come one at a time; only the end of the load locks it too.
            let Ok(mut tally) = reports.try_lock() else { return };
            let Some(tally) = &mut *tally else { return };
            match report {
                Ok(ack) => tally.acked(&ack),
                Err(error) => tally.problem(|| format!("{error}: {}", error.cause)),
            }
        };
        let options = options(args, &plan);
        let producer = client.producer_with_reports(&args.topic, options, report).await?;
        let record_bytes = args.record_bytes.len();
        Ok(Self { producer, tally, plan, window, load: Arc::clone(load), record_bytes })
    }

    /// Returns the tally, and how many records were accepted.
    async fn run(self) -> Result<(Tally, u64), LoadError> {
        let accepted = match self.load.records {
            Records::Raw => self.send_batches().await?,
            Records::Plain => self.send_records().await?,
        };
        // An error is in the tally already; what is still open then stays unacknowledged.
        let _reported = timeout(DRAIN_TIME, self.producer.flush()).await;
        let tally = self.tally.lock().await.take().expect("it is taken once");
        Ok((tally, accepted))
    }

    async fn send_batches(&self) -> Result<u64, LoadError> {
        let mut pacer = Pacer::new()?;
        let mut accepted = 0;
        for (number, batch) in (0_u64..).zip(self.load.batches.iter().cycle()) {
            match self.plan.due(self.window.start, accepted) {
                Some(due) if due >= self.window.to => break,
                Some(due) => pacer.wait_until(due).await?,
                None if number % 8 == 0 && clock::now() >= self.window.to => break,
                None => {}
            }
            self.producer.send_batch(self.plan.partition_of(accepted), batch).await?;
            accepted += u64::from(batch.record_count());
        }
        Ok(accepted)
    }

    async fn send_records(&self) -> Result<u64, LoadError> {
        let mut pacer = Pacer::new()?;
        let mut n = 0;
        loop {
            let now = clock::now();
            if now >= self.window.to {
                return Ok(n);
            }
            let until = self.plan.due_by(self.window.start, now).min(n + RECORDS_PER_LOOK);
            for n in n..until {
                let at = usize::try_from(n * 977 % PREPARED_BYTES as u64).expect("small");
                let record = Record::of(&self.load.bytes[at..at + self.record_bytes])
                    .to(self.plan.partition_of(n));
                self.producer.send(&record).await?;
            }
            n = until.max(n);
            if let Some(due) = self.plan.due(self.window.start, n) {
                pacer.wait_until(due).await?;
            }
        }
    }
}

fn options(args: &LoadArgs, plan: &Plan) -> ProducerOptions {
    let batch = args.batch_bytes.len().max(args.record_bytes.len() + 128);
    let in_flight = args.in_flight.max(1);
    let partitions = plan.partitions().len();
    // As fast as answers allow means: no more than is in flight waits in the client. At a rate,
    // the client takes whatever is due.
    let buffer_bytes = match args.rate {
        Some(_) => BUFFER_BYTES_MAX,
        None => (in_flight * partitions * batch).min(BUFFER_BYTES_MAX),
    };
    let more = if args.records == Records::Plain { 2 } else { 1 };
    ProducerOptions {
        write_concern: args.acks.0,
        batch_bytes: args.batch_bytes.len(),
        linger: args.linger,
        in_flight,
        buffer_bytes: buffer_bytes * more,
        idempotent: !args.no_producer_id && args.acks.0 != WriteConcern::None,
        ..ProducerOptions::default()
    }
}

fn add(outcome: &mut Outcome, tally: Tally, accepted: u64) {
    outcome.records += tally.records;
    outcome.batches += tally.batches;
    outcome.bytes += tally.bytes();
    outcome.duplicates += tally.duplicates;
    outcome.unacknowledged += accepted.saturating_sub(tally.acknowledged);
    outcome.verified_batches += tally.verified_batches;
    outcome.problems.extend(tally.problems);
    if let Some(intended) = &mut outcome.intended {
        intended.merge(tally.intended);
    }
    if let Some(service) = &mut outcome.service {
        service.merge(tally.service);
    }
}

/// The log must hold everything that was acknowledged.
async fn check_ends(
    client: &Client,
    args: &LoadArgs,
    ends: &[u64],
    outcome: &mut Outcome,
) -> Result<(), LoadError> {
    if args.acks.0 == WriteConcern::None {
        return Ok(());
    }
    for (partition, committed) in behind(client, args, ends).await? {
        let acknowledged = ends[partition as usize];
        outcome.problems.push(format!(
            "partition {partition}: offset {acknowledged} was acknowledged, the log ends at {committed}"
        ));
    }
    if outcome.unacknowledged > 0 {
        let open = outcome.unacknowledged;
        outcome.problems.push(format!("{open} records were not acknowledged"));
    }
    Ok(())
}

/// Partitions whose committed end stays behind what was acknowledged, with that end. A server that
/// acknowledges before it syncs is given time to sync.
async fn behind(
    client: &Client,
    args: &LoadArgs,
    ends: &[u64],
) -> Result<Vec<(u32, u64)>, LoadError> {
    let start = clock::now();
    loop {
        let offsets = client.admin().offsets(&args.topic).await?;
        let behind: Vec<(u32, u64)> = offsets
            .iter()
            .map(|status| (status.partition.get(), status.committed.get()))
            .filter(|(partition, committed)| {
                ends.get(*partition as usize).is_some_and(|end| committed < end)
            })
            .collect();
        if behind.is_empty() || start.elapsed() > COMMIT_TIME {
            return Ok(behind);
        }
        sleep(COMMIT_PAUSE).await;
    }
}
