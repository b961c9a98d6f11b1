//! Bytes that no compressor makes smaller, so that nothing between here and the disk can cheat.

use forebay_client::PreparedBatch;
use forebay_format::{
    BatchBuilder, BatchError, ProducerStamp, PushError, RecordInput, TimestampMs,
};
use thiserror::Error;

/// Why the load cannot be built.
#[derive(Debug, Error)]
pub enum PayloadError {
    /// A record does not fit.
    #[error("a record of this size fits into no batch")]
    Record(#[from] PushError),
    /// Our own builder made something wrong.
    #[error("a batch that was just built cannot be read")]
    Batch(#[from] BatchError),
}

/// `count` random bytes; the same ones for the same seed.
pub fn random_bytes(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// A batch of as many records of `record_bytes` as fit, at least one. Each seed gives other bytes.
///
/// # Errors
/// When a single record is too large for any batch.
pub fn batch_of(
    record_bytes: usize,
    batch_bytes: usize,
    seed: u64,
) -> Result<PreparedBatch, PayloadError> {
    let mut builder = BatchBuilder::new(batch_bytes);
    let mut at = seed;
    loop {
        let value = random_bytes(record_bytes, at);
        let record = RecordInput {
            timestamp: TimestampMs::new(i64::try_from(crate::clock::wall_ms()).unwrap_or(i64::MAX)),
            value: Some(&value),
            ..RecordInput::default()
        };
        match builder.push(&record) {
            Ok(()) if builder.batch_bytes() < batch_bytes => at += 1,
            Ok(()) | Err(PushError::Full) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(PreparedBatch::new(builder.finish(ProducerStamp::NONE))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_as_full_as_it_can_be() {
        let batch = batch_of(1024, 256 * 1024, 1).unwrap();
        assert!(batch.batch_bytes() <= 256 * 1024);
        assert!(batch.batch_bytes() + 1024 + 16 > 256 * 1024);
        assert_eq!(batch.record_count(), 254);
        assert_eq!(batch_of(1000, 1000, 1).unwrap().record_count(), 1);
    }

    #[test]
    fn no_two_words_of_the_payload_are_alike() {
        let bytes = random_bytes(1 << 16, 3);
        let mut words: Vec<&[u8]> = bytes.chunks(8).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 1 << 13);
    }
}
