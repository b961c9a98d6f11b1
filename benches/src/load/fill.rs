//! Something to consume.

use forebay_client::{Client, ProducerOptions};
use forebay_format::PartitionIndex;

use super::LoadError;
use crate::{args::LoadArgs, payload::batch_of, units::Size};

/// Batches that are written in turn.
const BATCHES: u64 = 64;

/// Writes so many bytes, to all partitions in turn.
///
/// # Errors
/// When records are refused.
pub async fn fill(client: &Client, args: &LoadArgs, size: Size) -> Result<(), LoadError> {
    let options = ProducerOptions { write_concern: args.acks.0, ..ProducerOptions::default() };
    let producer = client.producer(&args.topic, options).await?;
    let mut written = 0;
    let partitions = (0..args.partitions).map(PartitionIndex::new).cycle();
    let mut batches = Vec::new();
    for seed in 0..BATCHES {
        batches.push(batch_of(args.record_bytes.len(), args.batch_bytes.len(), seed * 100_000)?);
    }
    for (batch, partition) in batches.iter().cycle().zip(partitions) {
        if written >= size.0 {
            break;
        }
        producer.send_batch(partition, batch).await?;
        written += batch.batch_bytes() as u64;
    }
    Ok(producer.close().await?)
}
