//! What the rig's records hold: a number of their own, and something behind it.

use forebay_checker::{Record, Value};
use forebay_client::PreparedBatch;
use forebay_format::{
    Batch, BatchBuilder, BatchError, Batches, Offset, ProducerStamp, RecordInput, TimestampMs,
};
use tonic::codegen::Bytes;

use crate::seed::Dice;

/// What stands behind the number, at most.
const FILLING_BYTES_MAX: u64 = 500;
const FILLING: [u8; 500] = [b'.'; 500];

const BATCH_BYTES_MAX: usize = 64 * 1024;

/// A batch of these values in the format of the log.
pub(crate) fn raw_batch(values: &[Value], dice: &mut Dice) -> Bytes {
    let mut builder = BatchBuilder::new(BATCH_BYTES_MAX);
    for value in values {
        let filling = usize::try_from(dice.below(FILLING_BYTES_MAX)).expect("a small number");
        let payload = [&value.0.to_le_bytes()[..], &FILLING[..filling]].concat();
        let record = RecordInput {
            timestamp: TimestampMs::ZERO,
            key: None,
            value: Some(&payload),
            headers: &[],
        };
        builder.push(&record).expect("a few small records fit into a batch");
    }
    builder.finish(ProducerStamp::NONE)
}

/// The same for the client.
pub(crate) fn prepared_batch(values: &[Value], dice: &mut Dice) -> PreparedBatch {
    PreparedBatch::new(raw_batch(values, dice)).expect("a batch that was just built")
}

/// The records of a run of batches, from an offset on.
pub(crate) fn records_in(run: &[u8], from: Offset) -> Result<Vec<Record>, BatchError> {
    let mut records = Vec::new();
    for batch in Batches::new(run) {
        records_of_batch(&batch?, &mut records)?;
    }
    records.retain(|record| record.offset >= from);
    Ok(records)
}

fn records_of_batch(batch: &Batch<'_>, records: &mut Vec<Record>) -> Result<(), BatchError> {
    let leader = &batch.header.leader;
    for (record, distance) in batch.records()?.zip(0_u64..) {
        let value = value_of(record?.value);
        let offset = leader.base_offset + distance;
        records.push(Record { offset, epoch: leader.epoch, value });
    }
    Ok(())
}

/// The number that a record begins with. One that is too short for it has none that was ever given out.
pub(crate) fn value_of(payload: Option<&[u8]>) -> Value {
    let number = payload.and_then(|payload| payload.first_chunk().copied());
    Value(number.map_or(u64::MAX, u64::from_le_bytes))
}
