//! The producer table as a whole, case by case. `tests/properties.rs` holds it against a dumb twin.

use super::*;
use crate::batch::{ClientHeader, Codec, LeaderFields};
use crate::ids::ProducerId;
use crate::limits::{
    BATCHES_REMEMBERED_PER_PRODUCER, PRODUCER_EXPIRY_MS, PRODUCER_EXPIRY_STEP_MS,
    PRODUCERS_PER_PARTITION_MAX,
};
use crate::numbers::{Epoch, Offset, ProducerEpoch, Sequence, TimestampMs};

pub(super) fn producer(number: u128) -> ProducerId {
    ProducerId::from_u128(number)
}

/// A batch whose checksum follows from its sequence.
pub(super) fn batch(producer_id: ProducerId, sequence: u64, record_count: u32) -> ClientHeader {
    ClientHeader {
        codec: Codec::None,
        control: false,
        payload_bytes: 5 * record_count,
        record_count,
        first_timestamp: TimestampMs::ZERO,
        max_timestamp: TimestampMs::ZERO,
        producer_id,
        first_sequence: Sequence::new(sequence),
        producer_epoch: ProducerEpoch::new(5),
        payload_crc: u32::try_from(sequence % 1000).unwrap() + 1,
    }
}

pub(super) fn leader(offset: u64, time: i64) -> LeaderFields {
    LeaderFields {
        base_offset: Offset::new(offset),
        epoch: Epoch::new(8),
        append_time: TimestampMs::new(time),
        previous_header_crc: 0,
    }
}

fn sequence(value: u64) -> Sequence {
    Sequence::new(value)
}

/// Batches of 10 records with sequences 0, 10, … at offsets 1000, 1010, …
fn table_after(batches: u64) -> ProducerTable {
    let mut table = ProducerTable::new();
    for number in 0..batches {
        let batch = batch(producer(1), number * 10, 10);
        assert_eq!(table.check(&batch), Ok(Admission::Append));
        table.record(&batch, &leader(1000 + number * 10, 100));
    }
    table
}

#[test]
fn batch_without_producer_is_always_new_and_never_remembered() {
    let mut table = ProducerTable::new();
    let batch = batch(ProducerId::NONE, 0, 1);
    for _ in 0..2 {
        assert_eq!(table.check(&batch), Ok(Admission::Append));
        table.record(&batch, &leader(1, 1));
    }
    assert!(table.is_empty());
}

#[test]
fn unknown_producer_must_begin_at_sequence_zero() {
    let table = ProducerTable::new();
    assert_eq!(table.check(&batch(producer(1), 0, 3)), Ok(Admission::Append));
    let found = table.check(&batch(producer(1), 3, 3));
    assert_eq!(found, Err(ProducerError::UnknownProducer { found: sequence(3) }));
}

#[test]
fn retry_of_any_remembered_batch_is_a_duplicate_with_the_facts_of_the_first_time() {
    let table = table_after(BATCHES_REMEMBERED_PER_PRODUCER as u64);
    for number in 0..BATCHES_REMEMBERED_PER_PRODUCER as u64 {
        let retry = batch(producer(1), number * 10, 10);
        let expected = RememberedBatch {
            first_sequence: sequence(number * 10),
            record_count: 10,
            payload_crc: retry.payload_crc,
            base_offset: Offset::new(1000 + number * 10),
            epoch: Epoch::new(8),
            append_time: TimestampMs::new(100),
        };
        assert_eq!(table.check(&retry), Ok(Admission::Duplicate(expected)));
    }
}

#[test]
fn retry_that_is_too_old_to_be_proven_is_neither_new_nor_a_duplicate() {
    let table = table_after(BATCHES_REMEMBERED_PER_PRODUCER as u64 + 1);
    let found = table.check(&batch(producer(1), 0, 10));
    let (zero, ten) = (sequence(0), sequence(10));
    assert_eq!(found, Err(ProducerError::DuplicateForgotten { found: zero, oldest: ten }));
    assert!(matches!(table.check(&batch(producer(1), 10, 10)), Ok(Admission::Duplicate(_))));
}

#[test]
fn same_sequence_with_other_content_is_refused() {
    let table = table_after(3);
    let retry = batch(producer(1), 10, 10);
    let others = [
        ClientHeader { payload_crc: retry.payload_crc + 1, ..retry },
        ClientHeader { record_count: 9, ..retry },
        // Begins in the middle of a batch.
        ClientHeader { first_sequence: sequence(11), ..retry },
    ];
    for other in others {
        let (expected, found) = (sequence(30), other.first_sequence);
        let error = ProducerError::SequenceReused { expected, found };
        assert_eq!(table.check(&other), Err(error));
    }
}

#[test]
fn missing_batch_is_a_gap() {
    let found = table_after(3).check(&batch(producer(1), 31, 1));
    let error = ProducerError::SequenceGap { expected: sequence(30), found: sequence(31) };
    assert_eq!(found, Err(error));
}

#[test]
fn older_epoch_of_a_producer_is_over_and_a_newer_one_begins_at_zero() {
    let mut table = table_after(3);
    let next = batch(producer(1), 30, 10);
    let older = ClientHeader { producer_epoch: ProducerEpoch::new(4), ..next };
    let (found, current) = (ProducerEpoch::new(4), ProducerEpoch::new(5));
    assert_eq!(table.check(&older), Err(ProducerError::StaleEpoch { found, current }));

    let newer = ClientHeader { producer_epoch: ProducerEpoch::new(6), ..next };
    let error = ProducerError::SequenceGap { expected: sequence(0), found: sequence(30) };
    assert_eq!(table.check(&newer), Err(error));

    let first = ClientHeader { first_sequence: sequence(0), ..newer };
    assert_eq!(table.check(&first), Ok(Admission::Append));
    table.record(&first, &leader(2000, 200));
    assert!(matches!(table.check(&first), Ok(Admission::Duplicate(_))));
    assert!(matches!(table.check(&next), Err(ProducerError::StaleEpoch { .. })));
    let second = ClientHeader { first_sequence: sequence(10), ..newer };
    assert_eq!(table.check(&second), Ok(Admission::Append));
}

#[test]
fn producer_expires_by_the_append_time_of_its_last_batch() {
    let mut table = ProducerTable::new();
    table.record(&batch(producer(1), 0, 1), &leader(1, 100));
    table.record(&batch(producer(2), 0, 1), &leader(2, 100));
    table.record(&batch(producer(1), 1, 1), &leader(3, 200));
    assert_eq!(table.expire(TimestampMs::new(100)), 0);
    assert_eq!(table.expire(TimestampMs::new(101)), 1);
    assert_eq!(table.check(&batch(producer(1), 2, 1)), Ok(Admission::Append));
    let found = table.check(&batch(producer(2), 1, 1));
    assert_eq!(found, Err(ProducerError::UnknownProducer { found: sequence(1) }));
}

/// A replica that reads on from a snapshot forgets the same as one that has read all: at the first batch of an
/// hour, whose append time is the only clock.
#[test]
fn producers_are_forgotten_where_the_log_passes_an_hour_whoever_reads_it() {
    const HOUR_MS: i64 = PRODUCER_EXPIRY_STEP_MS;
    let week = PRODUCER_EXPIRY_MS;
    let known_after = |times: &[i64]| {
        let mut table = ProducerTable::new();
        let mut before = TimestampMs::MIN;
        for (offset, time) in (0_u64..).zip(times) {
            let now = TimestampMs::new(*time);
            table.expire_between(before, now);
            let id = producer(if offset == 0 { 1 } else { 2 });
            table.record(&batch(id, offset.saturating_sub(1), 1), &leader(offset, *time));
            before = now;
        }
        table.len()
    };
    assert_eq!(known_after(&[10, week]), 2, "not old yet");
    assert_eq!(known_after(&[10, week, week + HOUR_MS - 1]), 2, "old, but the hour is not over");
    assert_eq!(known_after(&[10, week, week + HOUR_MS - 1, week + HOUR_MS]), 1);
    assert_eq!(known_after(&[10, week + 11]), 1, "hours without a batch are over, too");
    // Before 1970, and where time stands still.
    assert_eq!(known_after(&[-week, -week, -1]), 2);
    assert_eq!(known_after(&[-week - 1, -1, 0, 0]), 1);
}

#[test]
fn full_table_forgets_the_producer_that_appended_longest_ago() {
    let mut table = ProducerTable::new();
    let count = PRODUCERS_PER_PARTITION_MAX as u64;
    for number in 0..count {
        table.record(&batch(producer(1 + u128::from(number)), 0, 1), &leader(number, 0));
    }
    // The first one becomes the latest.
    table.record(&batch(producer(1), 1, 1), &leader(count, 0));
    table.record(&batch(producer(9_999_999), 0, 1), &leader(count + 1, 0));
    assert_eq!(table.len(), PRODUCERS_PER_PARTITION_MAX);
    assert_eq!(table.check(&batch(producer(1), 2, 1)), Ok(Admission::Append));
    let found = table.check(&batch(producer(2), 1, 1));
    assert_eq!(found, Err(ProducerError::UnknownProducer { found: sequence(1) }));
}

#[test]
fn what_the_log_says_is_taken_even_where_it_was_not_expected() {
    let mut table = table_after(3);
    table.record(&batch(producer(1), 70, 10), &leader(5000, 300));
    assert_eq!(table.check(&batch(producer(1), 80, 1)), Ok(Admission::Append));
    let found = table.check(&batch(producer(1), 20, 10));
    let (found_sequence, oldest) = (sequence(20), sequence(70));
    let error = ProducerError::DuplicateForgotten { found: found_sequence, oldest };
    assert_eq!(found, Err(error));
}
