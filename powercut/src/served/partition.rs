//! Compares one partition with what was promised of it. Pure.

use std::collections::BTreeMap;

use super::fact::{Place, Retention};
use super::promise::{PromisedRecords, Promises};
use super::record::{Content, StreamId};

/// A record as a consumer got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenRecord {
    pub(super) offset: u64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
}

/// A partition as the server shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SeenPartition {
    pub(super) earliest: u64,
    pub(super) committed: u64,
    /// From the earliest to the committed end, in the order in which they came.
    pub(super) records: Vec<SeenRecord>,
    /// Why it does not serve, if it does not.
    pub(super) refusal: Option<String>,
}

/// What the comparison needs.
pub(super) struct PartitionCheck<'a> {
    pub(super) promises: &'a Promises,
    pub(super) seed: u64,
    pub(super) place: Place,
    pub(super) seen: &'a SeenPartition,
}

/// What it found: sorts of losses, and their details.
#[derive(Debug, Default)]
pub(super) struct PartitionFindings {
    pub(super) promises_checked: u64,
    pub(super) losses: Vec<(&'static str, String)>,
}

impl PartitionFindings {
    fn lose(&mut self, kind: &'static str, detail: String) {
        self.losses.push((kind, detail));
    }
}

impl PartitionCheck<'_> {
    pub(super) fn run(&self, retention: Option<Retention>) -> PartitionFindings {
        let mut found = PartitionFindings::default();
        if let Some(refusal) = &self.seen.refusal {
            found.lose("partition-refused", refusal.clone());
            return found;
        }
        self.check_offsets(&mut found);
        self.check_contents(&mut found);
        self.check_start(retention, &mut found);
        for promised in self.promises.records.get(&self.place).into_iter().flatten() {
            self.check_promise(promised, &mut found);
        }
        found
    }

    /// No gap: every offset from the earliest to the committed end, once, in order.
    fn check_offsets(&self, found: &mut PartitionFindings) {
        let SeenPartition { earliest, committed, records, .. } = self.seen;
        let wrong = (*earliest..).zip(records).find(|(offset, record)| *offset != record.offset);
        if let Some((expected, record)) = wrong {
            found.lose("gap", format!("offset {} where {expected} belongs", record.offset));
        }
        let count = u64::try_from(records.len()).expect("lengths fit 64 bits");
        if wrong.is_none() && earliest + count != *committed {
            found.lose("gap", format!("{count} records in {earliest}..{committed}"));
        }
    }

    /// Every record is one that was sent here, byte for byte, and those of a stream are in order,
    /// none twice and none left out.
    fn check_contents(&self, found: &mut PartitionFindings) {
        let mut next: BTreeMap<StreamId, u64> = BTreeMap::new();
        for record in &self.seen.records {
            let offset = record.offset;
            let name = record.value.as_deref().and_then(Content::name_of);
            let belongs =
                name.filter(|(stream, _)| self.promises.streams.get(stream) == Some(&self.place));
            let Some((stream, number)) = belongs else {
                found.lose("foreign", format!("the record at {offset} was never sent here"));
                continue;
            };
            let sent = Content::of(self.seed, stream, number);
            if record.key != sent.key || record.value.as_ref() != Some(&sent.value) {
                found.lose("bytes", format!("record {number} of stream {stream:x} at {offset}"));
            }
            // With the log's start gone, a stream may begin anywhere.
            let first = if self.seen.earliest == 0 { 0 } else { number };
            let expected = next.insert(stream, number + 1).unwrap_or(first);
            if number != expected {
                let detail =
                    format!("record {number} of stream {stream:x} at {offset}, not {expected}");
                found.lose("order", detail);
            }
        }
    }

    fn check_start(&self, retention: Option<Retention>, found: &mut PartitionFindings) {
        let earliest = self.seen.earliest;
        if earliest == 0 {
            return;
        }
        let Some(Retention { kept_bytes_min, .. }) = retention else {
            return found.lose("start-moved", format!("to {earliest}, without retention"));
        };
        let values = self.seen.records.iter().filter_map(|record| record.value.as_ref());
        let kept: usize = values.map(Vec::len).sum();
        let kept = u64::try_from(kept).expect("lengths fit 64 bits");
        if kept < kept_bytes_min {
            let detail = format!("to {earliest}, and {kept} bytes are left of {kept_bytes_min}");
            found.lose("start-moved", detail);
        }
    }

    /// Whether it may be missing because the log's start moved is a question of the start alone.
    fn check_promise(&self, promised: &PromisedRecords, found: &mut PartitionFindings) {
        let PromisedRecords { stream, first, count, base_offset } = *promised;
        let is_at = |offset: u64, number: u64| {
            let index = usize::try_from(offset - self.seen.earliest).expect("a length");
            self.seen.records.get(index).is_some_and(|record| {
                let name = record.value.as_deref().and_then(Content::name_of);
                record.offset == offset && name == Some((stream, number))
            })
        };
        let mut places = (base_offset..).zip(first..first + u64::from(count));
        let missing = places.find(|(offset, number)| {
            found.promises_checked += 1;
            *offset >= self.seen.earliest && !is_at(*offset, *number)
        });
        if let Some((offset, number)) = missing {
            let end = base_offset + u64::from(count);
            let detail = format!(
                "record {number} of stream {stream:x}, acknowledged at offset {offset} in \
                 {base_offset}..{end}; the log is {}..{}",
                self.seen.earliest, self.seen.committed
            );
            found.lose("records-lost", detail);
        }
    }
}
