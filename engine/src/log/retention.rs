//! Removing the oldest segments, by size and by age.
//!
//! Only whole sealed segments go, and the new log start is on stable storage before the first of
//! their files is touched. A file that nobody reads becomes a spare; one that is read is unlinked,
//! and lives until its reader lets go.

use std::io;
use std::rc::Rc;

use forebay_format::names::SegmentFile;
use forebay_format::{FilePosition, Offset};

use super::LogSettings;
use super::partition::{OpenLog, PartitionLog};
use crate::io::{remove_file, replace_file, sync_directory};
use crate::runtime::spawn;
use crate::segment::SealedSegment;

/// First allocation of a segment that follows one rolled by age, in bytes: the log is slow.
const SLOW_SEGMENT_BYTES: u64 = 64 << 10;

impl PartitionLog {
    /// Removes what is beyond size or age. Failures are logged and tried again next time.
    pub(crate) async fn apply_retention(self: &Rc<Self>) {
        let started = self.with_open(|open| !std::mem::replace(&mut open.running.retention, true));
        if !matches!(started, Ok(true)) {
            return;
        }
        if let Err(error) = self.retire_expired().await {
            let directory = self.path.directory().display();
            tracing::warn!(%directory, %error, "expired segments could not be removed");
        }
        self.if_open(|open| open.running.retention = false);
        self.progress.raise();
    }

    async fn retire_expired(self: &Rc<Self>) -> io::Result<()> {
        self.learn_age_of_oldest().await?;
        let settings = self.settings.borrow().clone();
        let now = self.context.clock.now();
        let Ok(Some((count, meta))) = self.with_open(|open| {
            let count = open.expired(&settings, now);
            let last = count.checked_sub(1).and_then(|at| open.sealed.get(at))?;
            let mut meta = open.meta;
            meta.log_start = last.end_offset;
            Some((count, meta))
        }) else {
            return Ok(());
        };
        assert!(
            matches!(self.with_open(|open| meta.log_start <= open.durable), Ok(true) | Err(_)),
            "the log start never passes the committed mark"
        );
        replace_file(self.path.meta(), meta.encode().to_vec()).await?;
        let gone: Vec<_> = self
            .with_open(|open| {
                open.meta.log_start = meta.log_start;
                open.sealed.drain(..count).collect()
            })
            .unwrap_or_default();
        for segment in gone {
            self.remove_segment_files(segment.base_offset, segment.file_bytes, segment.is_read())
                .await?;
            self.context.metrics.retired_segments.add(1);
        }
        Ok(())
    }

    /// Removes the files of a segment below the log start. Durable on return.
    pub(super) async fn remove_segment_files(
        &self,
        base: Offset,
        file_bytes: u64,
        is_read: bool,
    ) -> io::Result<()> {
        remove_file(self.path.file(SegmentFile::Index, base)).await?;
        remove_file(self.path.file(SegmentFile::Producers, base)).await?;
        let log = self.path.file(SegmentFile::Log, base);
        if is_read {
            remove_file(log).await?;
            return sync_directory(self.path.directory().to_owned()).await;
        }
        self.context.spares.retire(log, file_bytes).await
    }

    /// A segment of an earlier run says when it was last appended to only when it is opened.
    async fn learn_age_of_oldest(&self) -> io::Result<()> {
        if self.settings.borrow().retention_age.is_none() {
            return Ok(());
        }
        let oldest = self.with_open(|open| {
            let oldest = open.sealed.front().filter(|oldest| oldest.last_append().is_none())?;
            Some((Rc::clone(oldest), open.identity))
        });
        let Ok(Some((oldest, identity))) = oldest else { return Ok(()) };
        match oldest.reader(&self.path, &identity).await {
            Ok(_) => Ok(()),
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }

    /// Rolls a segment whose first batch is older than the topic allows, so that age can expire
    /// it.
    pub(crate) async fn roll_by_age(self: &Rc<Self>) {
        let age = self.settings.borrow().segment_age;
        let now = self.context.clock.now();
        let due = self.with_open(|open| {
            let first = open.active.index().borrow().base_time();
            let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            let old = first.is_some_and(|first| now.saturating_since(first) >= age_ms);
            let due = old && open.durable > open.active.header().base_offset && open.is_quiet();
            open.running.make_room |= due;
            if due {
                self.making_room.begin();
            }
            due
        });
        if !matches!(due, Ok(true)) {
            return;
        }
        let at_hand = matches!(self.with_open(|open| open.spare.is_some()), Ok(true));
        let taken = if at_hand { Ok(()) } else { self.take_spare(SLOW_SEGMENT_BYTES).await };
        let taken_ok = taken.is_ok();
        self.end_making_room(taken);
        let rolled = self.with_open(|open| {
            // Whatever was appended meanwhile belongs to the old segment; rolling takes it along.
            let rolls = taken_ok && open.spare.is_some();
            if rolls {
                open.roll(&self.context);
            }
            let starts = rolls && !open.running.flush;
            open.running.flush |= rolls;
            starts
        });
        if matches!(rolled, Ok(true)) {
            spawn(super::flush::run(Rc::clone(self)));
        }
        self.progress.raise();
        self.work.raise();
    }
}

impl OpenLog {
    /// How many of the oldest segments have expired.
    fn expired(&self, settings: &LogSettings, now: forebay_format::TimestampMs) -> usize {
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
            if !segment.is_finished() || !(by_size || by_age) {
                break;
            }
            size -= segment.file_bytes;
            expired += 1;
        }
        expired
    }

    /// Position up to which the active segment's file must reach for what is appended.
    pub(super) fn active_end(&self) -> FilePosition {
        FilePosition::new(self.tail.end())
    }
}

fn is_older(segment: &SealedSegment, now: forebay_format::TimestampMs, age_ms: i64) -> bool {
    segment.last_append().is_some_and(|last| now.saturating_since(last) >= age_ms)
}
