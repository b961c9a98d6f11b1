//! I2: one value per offset below the committed mark, on every replica and for every reader.
//! I7: every log below its committed mark is a prefix of one history, epochs included.
//!
//! The first who shows an offset settles it; everyone after must agree. Where an unclean election gave an offset up, it
//! may be settled once more: by what was shown after that election.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use forebay_format::{Epoch, Offset};

use crate::history::{Event, History, Value, WriteConcern};
use crate::unclean::UncleanRanges;
use crate::violation::{Invariant, Violation};
use crate::writes::Writes;

/// What every offset was settled to, and where in the history.
struct Settled<'a, T> {
    invariant: Invariant,
    history: &'a History,
    unclean: &'a UncleanRanges,
    /// More than one entry only where an unclean election allows it.
    offsets: BTreeMap<Offset, Vec<(T, usize)>>,
}

impl<'a, T: PartialEq + std::fmt::Debug> Settled<'a, T> {
    const fn new(invariant: Invariant, history: &'a History, unclean: &'a UncleanRanges) -> Self {
        Self { invariant, history, unclean, offsets: BTreeMap::new() }
    }

    /// `index` shows that `offset` holds `what`.
    fn show(&mut self, offset: Offset, what: T, index: usize, found: &mut Vec<Violation>) {
        let settled = match self.offsets.entry(offset) {
            Entry::Vacant(entry) => {
                entry.insert(vec![(what, index)]);
                return;
            }
            Entry::Occupied(entry) => entry.into_mut(),
        };
        if settled.iter().any(|(known, _)| *known == what) {
            return;
        }
        if self.unclean.cover_before(index, offset) {
            settled.push((what, index));
            return;
        }
        let (known, before) = &settled[0];
        let text = format!("offset {offset} holds {what:?}, and {known:?} was shown there before");
        found.push(Violation::new(self.invariant, text, self.history, [*before, index]));
    }
}

/// I2.
pub(crate) fn check_values(
    history: &History,
    writes: &Writes<'_>,
    unclean: &UncleanRanges,
    found: &mut Vec<Violation>,
) {
    let mut settled: Settled<'_, Value> = Settled::new(Invariant::I2, history, unclean);
    let mut acks = writes.acks.iter().peekable();
    for (index, _, event) in history.iter() {
        while let Some(ack) = acks.next_if(|ack| ack.index <= index) {
            // What a leader alone has synced is not below any mark.
            if matches!(ack.produce.concern, WriteConcern::Quorum | WriteConcern::All) {
                for (offset, value) in ack.records() {
                    settled.show(offset, value, ack.index, found);
                }
            }
        }
        for record in event.shown().flat_map(|(_, records)| records) {
            settled.show(record.offset, record.value, index, found);
        }
    }
}

/// I7.
pub(crate) fn check_logs(history: &History, unclean: &UncleanRanges, found: &mut Vec<Violation>) {
    let mut settled: Settled<'_, (Epoch, Value)> = Settled::new(Invariant::I7, history, unclean);
    for (index, _, event) in history.iter() {
        // A reader's view is a piece of somebody's log, and that is what I2 is for.
        if matches!(event, Event::Read { .. }) {
            continue;
        }
        for (node, records) in event.shown() {
            for pair in records.windows(2).filter(|pair| pair[1].epoch < pair[0].epoch) {
                let what = format!(
                    "node {node}: offset {} is of epoch {}, after one of epoch {}",
                    pair[1].offset, pair[1].epoch, pair[0].epoch
                );
                found.push(Violation::new(Invariant::I7, what, history, [index, index]));
            }
            for record in records {
                settled.show(record.offset, (record.epoch, record.value), index, found);
            }
        }
    }
}
