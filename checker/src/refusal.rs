//! I6: nothing that was refused with our own reason is ever visible.
//!
//! A value counts as refused when each attempt to write it was. One attempt that was answered
//! otherwise, or not at all, may be the one that is seen.

use std::collections::BTreeSet;

use crate::history::{History, Outcome, Value};
use crate::violation::{Invariant, Violation};
use crate::writes::Writes;

pub(crate) fn check(history: &History, writes: &Writes<'_>, found: &mut Vec<Violation>) {
    let mut told: BTreeSet<Value> = BTreeSet::new();
    for (index, _, event) in history.iter() {
        for record in event.shown().flat_map(|(_, records)| records) {
            let Some((refused, reason)) = refusal_of(writes, record.value) else { continue };
            if told.insert(record.value) {
                let what = format!(
                    "{:?} was refused ({reason}), and is visible at offset {}",
                    record.value, record.offset
                );
                found.push(Violation::new(Invariant::I6, what, history, [refused, index]));
            }
        }
    }
}

/// Where and why `value` was refused last, if it was in every attempt.
fn refusal_of<'a>(writes: &Writes<'a>, value: Value) -> Option<(usize, &'a str)> {
    let mut last = None;
    for call in writes.of_value(value) {
        let Some((index, Outcome::Refused { reason })) = call.outcome else { return None };
        last = Some((index, reason.as_str()));
    }
    last
}
