//! Removing the oldest segments, by size and by age.
//!
//! Only whole sealed segments go, and the new log start is on stable storage before the first of
//! their files is touched. A file that nobody reads becomes a spare; one that is read is unlinked,
//! and lives until its reader lets go.

use std::io;
use std::rc::Rc;

use forebay_format::names::SegmentFile;
use forebay_format::{EpochTable, Offset, TimestampMs};

use super::LogSettings;
use super::partition::{OpenLog, PartitionLog};
use crate::io::{remove_file, replace_file, sync_directory};
use crate::segment::SealedSegment;

impl PartitionLog {
    /// Removes what is beyond size or age. Failures are logged and tried again next time.
    pub(crate) async fn apply_retention(self: &Rc<Self>) {
        let started = self.with_open(|open| {
            !open.rewriting && !std::mem::replace(&mut open.running.retention, true)
        });
        if !matches!(started, Ok(true)) {
            return;
        }
        let _task = self.begin_task();
        let retired = if self.decider.is_replica() {
            self.retire_below_log_start().await
        } else {
            self.retire_expired().await
        };
        if let Err(error) = &retired {
            let directory = self.path.directory().display();
            tracing::warn!(%directory, %error, "expired segments could not be removed");
            self.poison_if_lost(error);
        }
        self.if_open(|open| open.running.retention = false);
        // Those who wait for a quiet log are told too; nobody else is woken for nothing.
        if self.quiet_is_awaited() || matches!(retired, Ok(1..)) {
            self.progress.raise();
        }
    }

    /// Returns how many segments went.
    async fn retire_expired(&self) -> io::Result<usize> {
        self.learn_age_of_oldest().await;
        let settings = self.settings.borrow().clone();
        let now = self.context.clock.now();
        let Ok(Some((count, meta))) = self.with_open(|open| {
            let count = open.expired(&settings, now);
            let last = count.checked_sub(1).and_then(|at| open.sealed.get(at))?;
            let mut meta = open.meta;
            meta.log_start = last.end_offset;
            Some((count, meta))
        }) else {
            return Ok(0);
        };
        assert!(
            matches!(self.with_open(|open| meta.log_start <= open.committed()), Ok(true) | Err(_)),
            "the log start never passes the committed mark"
        );
        replace_file(self.path.meta(), meta.encode().to_vec()).await?;
        self.if_open(|open| open.meta.log_start = meta.log_start);
        self.retire(count).await
    }

    /// Removes the segments that the sequencer has given up. Returns how many went.
    async fn retire_below_log_start(&self) -> io::Result<usize> {
        let below = |open: &mut OpenLog| {
            let (log_start, epochs) = (open.meta.log_start, &open.state.epochs);
            let below = |segment: &&Rc<SealedSegment>| {
                is_given_up(segment.end_offset, log_start, epochs) && segment.is_settled()
            };
            open.sealed.iter().take_while(below).count()
        };
        match self.with_open(below) {
            Ok(0) | Err(_) => Ok(0),
            Ok(count) => self.retire(count).await,
        }
    }

    /// Removes the oldest segments, which lie below the log start.
    async fn retire(&self, count: usize) -> io::Result<usize> {
        let gone: Vec<_> =
            self.with_open(|open| open.sealed.drain(..count).collect()).unwrap_or_default();
        for segment in gone {
            self.remove_segment_files(segment.base_offset, segment.file_bytes).await?;
            self.context.metrics.retired_segments.add(1);
        }
        Ok(count)
    }

    /// Removes the files of a segment below the log start. Durable on return.
    pub(super) async fn remove_segment_files(
        &self,
        base: Offset,
        file_bytes: u64,
    ) -> io::Result<()> {
        remove_file(self.path.file(SegmentFile::Index, base)).await?;
        remove_file(self.path.file(SegmentFile::Producers, base)).await?;
        let log = self.path.file(SegmentFile::Log, base);
        if self.in_use.contains(base) {
            remove_file(log).await?;
            return sync_directory(self.path.directory().to_owned()).await;
        }
        self.context.retire(log, file_bytes).await
    }

    /// Up to where size and age would have whole segments removed, below what is committed; `None` when
    /// there is nothing to remove.
    pub(crate) async fn retention_wants(&self) -> Option<Offset> {
        self.learn_age_of_oldest().await;
        let settings = self.settings.borrow().clone();
        let now = self.context.clock.now();
        let wanted = self.with_open(|open| {
            let last = open.expired(&settings, now).checked_sub(1)?;
            let upto = open.sealed.get(last)?.end_offset.min(open.committed());
            (upto > open.log_start()).then_some(upto)
        });
        wanted.ok().flatten()
    }

    /// A segment of an earlier run says when it was last appended to only when it is opened.
    ///
    /// A damaged one is found here as by a reader. One that cannot be opened keeps its age to
    /// itself; its size is known.
    async fn learn_age_of_oldest(&self) {
        if self.settings.borrow().retention_age.is_none() {
            return;
        }
        let oldest = self.with_open(|open| {
            let oldest = open.sealed.front().filter(|oldest| oldest.last_append().is_none())?;
            Some((Rc::clone(oldest), open.identity))
        });
        let Ok(Some((oldest, identity))) = oldest else { return };
        if let Err(error) = oldest.reader(&self.path, &identity, &self.in_use).await {
            // It is in the log still: only retention takes one out, and that is what runs here.
            let error = self.read_error(error);
            tracing::warn!(partition = %self.id, %error, "the age of the oldest segment is not known");
        }
    }
}

impl OpenLog {
    /// How many of the oldest segments have expired.
    fn expired(&self, settings: &LogSettings, now: TimestampMs) -> usize {
        let sealed: u64 = self.sealed.iter().map(|segment| segment.file_bytes).sum();
        let mut size = sealed + self.tail.end();
        let age_ms =
            settings.retention_age.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let mut expired = 0;
        for segment in &self.sealed {
            let by_size = settings
                .retention_bytes
                .is_some_and(|limit| size.saturating_sub(segment.file_bytes) >= limit);
            let by_age = age_ms.is_some_and(|age| is_older(segment, now, age));
            if !segment.is_settled() || !(by_size || by_age) {
                break;
            }
            size -= segment.file_bytes;
            expired += 1;
        }
        expired
    }
}

/// Whether a segment that ends at `end` has nothing that is still wanted. The first batch of an epoch has no
/// records: one that stands exactly at the log start may be the last batch of a segment that ends there, and
/// must stay, because a log that begins behind it could not be cut there.
pub(super) fn is_given_up(end: Offset, log_start: Offset, epochs: &EpochTable) -> bool {
    end < log_start || (end == log_start && !epochs.begins_at(log_start))
}

fn is_older(segment: &SealedSegment, now: TimestampMs, age_ms: i64) -> bool {
    segment.last_append().is_some_and(|last| now.saturating_since(last) >= age_ms)
}
