//! I3: no duplicate from an idempotent producer, and its batches in the order of their sequences.

use std::collections::BTreeMap;

use forebay_format::{Offset, ProducerEpoch, ProducerId, Sequence};

use crate::history::{Event, History, Record, Value};
use crate::unclean::UncleanRanges;
use crate::violation::{Invariant, Violation};
use crate::writes::Writes;

/// A record's place among those of its producer: its id and life, and the sequence of the record.
type Place = (ProducerId, ProducerEpoch, Sequence);

pub(crate) fn check(
    history: &History,
    writes: &Writes<'_>,
    unclean: &UncleanRanges,
    found: &mut Vec<Violation>,
) {
    let mut seen: BTreeMap<Place, (Offset, usize)> = BTreeMap::new();
    let mut show = |offset: Offset, value: Value, index: usize, found: &mut Vec<Violation>| {
        let Some(place) = place_of(writes, value) else { return };
        let (known, before) = *seen.entry(place).or_insert((offset, index));
        // A copy that was given up may have been sent again.
        if known != offset && !unclean.cover(known.min(offset)) {
            let (_, _, sequence) = place;
            let what = format!(
                "{value:?}, sequence {sequence} of a producer, is at offset {known} and at offset {offset}"
            );
            found.push(Violation::new(Invariant::I3, what, history, [before, index]));
        }
    };
    for (index, _, event) in history.iter() {
        for (_, records) in event.shown() {
            for record in records {
                show(record.offset, record.value, index, found);
            }
            if matches!(event, Event::LogSeen { .. } | Event::Ended { .. }) {
                check_order(history, index, records, writes, found);
            }
        }
    }
}

/// One log: whatever was given up elsewhere, within it every sequence stands once and after those before it.
fn check_order(
    history: &History,
    index: usize,
    records: &[Record],
    writes: &Writes<'_>,
    found: &mut Vec<Violation>,
) {
    let mut last: BTreeMap<ProducerId, (ProducerEpoch, Sequence, Offset)> = BTreeMap::new();
    for record in records {
        let Some((producer, epoch, sequence)) = place_of(writes, record.value) else { continue };
        let before = last.insert(producer, (epoch, sequence, record.offset));
        let Some((old_epoch, old_sequence, old_offset)) = before else { continue };
        if (old_epoch, old_sequence) >= (epoch, sequence) {
            let what = format!(
                "one log has sequence {old_sequence} of a producer at offset {old_offset}, \
                 and then {sequence} at offset {}",
                record.offset
            );
            found.push(Violation::new(Invariant::I3, what, history, [index, index]));
        }
    }
}

fn place_of(writes: &Writes<'_>, value: Value) -> Option<Place> {
    let produce = writes.of_value(value).first()?.produce;
    let stamp = produce.stamp?;
    let distance = produce.values.iter().position(|other| *other == value)?;
    let sequence = stamp.first_sequence.checked_add(distance as u64)?;
    Some((stamp.producer, stamp.epoch, sequence))
}
