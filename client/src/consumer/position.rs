//! How far each partition was read, and what may come next. Pure.

use std::collections::BTreeMap;

use forebay_format::{Epoch, Offset, PartitionIndex};

use super::{ConsumeError, ConsumedBatch, StartAt, options::Place};

/// One partition.
#[derive(Debug, Clone)]
pub(super) struct Position {
    start: StartAt,
    /// The offset that comes next, once it is known.
    next: Option<Offset>,
    /// Of the last record that was read, if one was.
    epoch: Epoch,
    /// The next batch may begin before what was asked for.
    fresh: bool,
    /// A seek that the server has not confirmed: what comes meanwhile is from before it.
    seeking: Option<u64>,
}

impl Position {
    pub(super) fn new(start: StartAt) -> Self {
        Self { start, next: None, epoch: Epoch::ZERO, fresh: true, seeking: None }
    }

    /// The same, while the server still sends from elsewhere.
    pub(super) fn after_seek(start: StartAt, seek_id: u64) -> Self {
        Self { seeking: Some(seek_id), ..Self::new(start) }
    }

    /// What to ask for on a new stream, or with a seek on one that is there. From now on the next
    /// batch may begin earlier.
    pub(super) fn resume(&mut self, seek_id: Option<u64>) -> Place {
        self.fresh = true;
        self.seeking = seek_id;
        Place { start: self.next.map_or(self.start, StartAt::Offset), epoch: self.epoch }
    }

    /// The server says where it begins, after subscribing (0) or after a seek.
    pub(super) fn positioned(&mut self, offset: Offset, seek_id: u64) {
        match self.seeking {
            None => {
                self.next.get_or_insert(offset);
            }
            Some(awaited) if awaited == seek_id => {
                self.seeking = None;
                self.next.get_or_insert(offset);
            }
            Some(_) => {}
        }
    }

    /// Whether what comes now is still from before a seek.
    pub(super) fn is_seeking(&self) -> bool {
        self.seeking.is_some()
    }

    /// Whether the end of reading after this seek (0: the subscription) is that of what is wanted now.
    pub(super) fn ends_with(&self, seek_id: u64) -> bool {
        self.seeking.is_none_or(|awaited| awaited == seek_id)
    }

    /// The offset that comes next, once it is known.
    pub(super) fn next(&self) -> Option<Offset> {
        match (self.next, self.start) {
            (None, StartAt::Offset(offset)) => Some(offset),
            (next, _) => next,
        }
    }

    /// Takes in a batch. `None` when nothing in it was asked for.
    pub(super) fn admit(
        &mut self,
        mut batch: ConsumedBatch,
    ) -> Result<Option<ConsumedBatch>, ConsumeError> {
        if self.is_seeking() {
            return Ok(None);
        }
        let found = batch.first_offset();
        let end = batch.next_offset();
        let expected = self.next().unwrap_or(found);
        if end <= expected && self.fresh {
            return Ok(None);
        }
        let may_begin_earlier = self.fresh && found < expected;
        if found != expected && !may_begin_earlier {
            let partition = batch.partition();
            return Err(ConsumeError::Gap { partition, expected, found });
        }
        batch.skip_before(expected);
        self.next = Some(end);
        self.epoch = batch.header().leader.epoch;
        self.fresh = false;
        // A control batch has no records.
        Ok((batch.record_count() > 0).then_some(batch))
    }
}

/// All partitions of a consumer.
pub(super) type Positions = BTreeMap<PartitionIndex, Position>;
