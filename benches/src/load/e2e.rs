//! Sending and reading at once: from the time at which a record should have been sent until it has
//! arrived at a consumer that waits at the end of the log.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use forebay_client::{
    Client, ConsumerOptions, Event, PreparedBatch, Producer, ProducerOptions, StartAt,
};
use tokio::{sync::Mutex, time::timeout_at};

use super::{LoadError, Outcome, Plan, Window, pacer::Pacer, window::measure};
use crate::{args::LoadArgs, clock, latency::Recorder, payload::batch_of, process::Servers};

/// How long the last records may take to arrive.
const DRAIN_TIME: Duration = Duration::from_secs(30);
const BATCHES: u64 = 16;

/// A batch that was sent and has not arrived.
#[derive(Debug, Clone, Copy)]
struct OnItsWay {
    /// The offset behind it.
    end: u64,
    records: u64,
    intended: Instant,
}

/// What is on its way, by partition.
type Sent = Arc<Mutex<Vec<VecDeque<OnItsWay>>>>;

/// Sends until the window ends and reads until everything has arrived. The topic must be new, which
/// the caller sees to, so that offsets count what was sent here.
///
/// # Errors
/// When a connection cannot be made, records are refused, or reading fails.
pub async fn e2e(args: &LoadArgs, servers: Servers) -> Result<Outcome, LoadError> {
    let client = Client::connect(args.endpoint.iter().cloned()).await?;
    let options = ProducerOptions {
        write_concern: args.acks.0,
        batch_bytes: args.batch_bytes.len(),
        in_flight: args.in_flight,
        idempotent: !args.no_producer_id,
        ..ProducerOptions::default()
    };
    let producer = client.producer(&args.topic, options).await?;
    let (record, batch) = (args.record_bytes.len(), args.batch_bytes.len());
    let batches: Result<Vec<PreparedBatch>, _> =
        (0..BATCHES).map(|seed| batch_of(record, batch, seed * 100_000)).collect();
    let batches = batches?;
    let plan = Plan::new(args, 0).with_block(batches[0].record_count());
    let window = Window::begin(args.warmup, args.duration);
    let sent: Sent = Arc::new(Mutex::new(vec![VecDeque::new(); args.partitions as usize]));
    let measuring = tokio::spawn(measure(window, servers));
    let receiving = tokio::spawn(receive(args.clone(), Arc::clone(&sent), window));
    let accepted = send(&producer, &plan, &batches, (window, &sent)).await?;
    let _reported_below = producer.close_within(DRAIN_TIME).await;
    let (mut outcome, arrived) = receiving.await??;
    outcome.unacknowledged = accepted.saturating_sub(arrived);
    if outcome.unacknowledged > 0 {
        outcome.problems.push(format!("{} records did not arrive", outcome.unacknowledged));
    }
    outcome.bytes = outcome.records * args.record_bytes.0;
    outcome.measured = Some(measuring.await?);
    Ok(outcome)
}

async fn send(
    producer: &Producer,
    plan: &Plan,
    batches: &[PreparedBatch],
    (window, sent): (Window, &Sent),
) -> Result<u64, LoadError> {
    let mut pacer = Pacer::new()?;
    let mut accepted = 0;
    for batch in batches.iter().cycle() {
        let mut intended = clock::now();
        if let Some(due) = plan.due(window.start, accepted) {
            pacer.wait_until(due).await?;
            intended = due;
        }
        if intended >= window.to {
            break;
        }
        let partition = plan.partition_of(accepted);
        let records = u64::from(batch.record_count());
        let on_its_way = OnItsWay { end: end_of_block(plan, accepted), records, intended };
        // Before it is sent: it may arrive before `send_batch` returns.
        sent.lock().await[partition.get() as usize].push_back(on_its_way);
        producer.send_batch(partition, batch).await?;
        accepted += records;
    }
    Ok(accepted)
}

/// The offset behind the block that begins with record `n`, in its partition.
fn end_of_block(plan: &Plan, n: u64) -> u64 {
    let block = n / plan.records_per_block();
    (block / plan.partitions().len() as u64 + 1) * plan.records_per_block()
}

/// What was measured, and how many records arrived in all.
async fn receive(args: LoadArgs, sent: Sent, window: Window) -> Result<(Outcome, u64), LoadError> {
    let client = Client::connect(args.endpoint.iter().cloned()).await?;
    let options = ConsumerOptions { start: StartAt::Earliest, ..ConsumerOptions::default() };
    let mut consumer = client.consumer(&args.topic, options).await?;
    let mut outcome = Outcome::default();
    let mut latencies = Recorder::new();
    let mut records_arrived = 0;
    loop {
        let waiting = sent.lock().await.iter().any(|queue| !queue.is_empty());
        let sending = clock::now() < window.to;
        if !waiting && !sending {
            break;
        }
        let last = if sending { window.to } else { window.to + DRAIN_TIME };
        let Ok(event) = timeout_at(last.into(), consumer.next()).await else {
            if sending {
                continue;
            }
            break;
        };
        let Event::Batch(batch) = event? else { continue };
        let arrived = clock::now();
        outcome.verified_batches += 1;
        records_arrived += batch.record_count();
        if window.contains(arrived) {
            outcome.records += batch.record_count();
            outcome.batches += 1;
        }
        let mut all = sent.lock().await;
        let queue = &mut all[batch.partition().get() as usize];
        while let Some(one) = queue.pop_front_if(|one| one.end <= batch.next_offset().get()) {
            if window.contains(one.intended) {
                let latency = arrived.saturating_duration_since(one.intended);
                latencies.record_many(latency, one.records);
            }
        }
        if let Some(passed) = arrived.checked_duration_since(window.from) {
            latencies.tick(passed);
        }
    }
    outcome.intended = Some(latencies);
    Ok((outcome, records_arrived))
}
