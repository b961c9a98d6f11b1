//! I5: a consumer's offsets only grow, and nothing is skipped. It may be sent on to the log start,
//! and back to where an unclean election gave records up, and nowhere else. What it reads one after the
//! other is of one lineage: when the log at the end has a record, it has the one read before it, too.

use std::collections::BTreeMap;

use forebay_format::Offset;

use crate::history::{ConsumerId, Event, History, Moved, Record};
use crate::unclean::UncleanRanges;
use crate::violation::{Invariant, Violation};

pub(crate) fn check(history: &History, unclean: &UncleanRanges, found: &mut Vec<Violation>) {
    // Where each consumer stands, and the event that put it there.
    let mut stands: BTreeMap<ConsumerId, (Offset, usize)> = BTreeMap::new();
    let mut last: BTreeMap<ConsumerId, Record> = BTreeMap::new();
    let mut log_start = Offset::ZERO;
    let end = End::of(history);
    for (index, _, event) in history.iter() {
        match event {
            Event::LogStartMoved { to, .. } => log_start = log_start.max(*to),
            Event::ConsumerStarted { consumer, at } => {
                last.remove(consumer);
                stands.insert(*consumer, (*at, index));
            }
            Event::Read { consumer, from, records } => {
                let Some((stand, before)) = stands.get_mut(consumer) else { continue };
                for record in records {
                    if record.offset != *stand {
                        let what = format!(
                            "{consumer:?} expected offset {stand}, and was given {} by node {from}",
                            record.offset
                        );
                        let witnesses = [*before, index];
                        found.push(Violation::new(Invariant::I5, what, history, witnesses));
                    }
                    let previous = last.insert(*consumer, *record);
                    if let (Some(previous), Some(end)) = (previous, &end)
                        && end.parts(&previous, record)
                    {
                        let what = format!(
                            "{consumer:?} read on from {previous:?} to {record:?}, of another lineage, \
                             and was not told"
                        );
                        let witnesses = [*before, index];
                        found.push(Violation::new(Invariant::I5, what, history, witnesses));
                    }
                    *stand = record.offset + 1;
                    *before = index;
                }
            }
            Event::ConsumerMoved { consumer, to, why } => {
                last.remove(consumer);
                let Some((stand, before)) = stands.insert(*consumer, (*to, index)) else {
                    continue;
                };
                let allowed = match why {
                    Moved::ToLogStart => stand < *to && *to <= log_start,
                    Moved::DataLost => *to <= stand && unclean.cover_before(index, *to),
                };
                if !allowed {
                    let what = format!(
                        "{consumer:?} at offset {stand} was sent to {to} ({why:?}); the log starts at {log_start}"
                    );
                    found.push(Violation::new(Invariant::I5, what, history, [before, index]));
                }
            }
            _ => {}
        }
    }
}

/// The log at the end.
struct End {
    log_start: Offset,
    records: BTreeMap<Offset, Record>,
}

impl End {
    fn of(history: &History) -> Option<Self> {
        let (_, longest) = history.final_log()?;
        let records = longest.log.records.iter().map(|record| (record.offset, *record));
        Some(Self { log_start: longest.log.log_start, records: records.collect() })
    }

    /// Whether the log has `record` and, where it reaches that far back, not `previous`.
    fn parts(&self, previous: &Record, record: &Record) -> bool {
        self.records.get(&record.offset) == Some(record)
            && previous.offset >= self.log_start
            && self.records.get(&previous.offset) != Some(previous)
    }
}
