//! The flush of one partition: groups of batches to stable storage, one group at a time.
//!
//! The task starts with the first append and ends when nothing is left. It takes whatever has
//! arrived, writes it with all writes at once, syncs, answers, and takes what has arrived
//! meanwhile: under load groups grow by themselves, and no timer is needed.
//!
//! `io_uring` orders nothing, so fdatasync is submitted after all writes of the group have completed,
//! and a segment is synced before the first write to the next.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use forebay_format::FilePosition;
use futures_util::future::{Either, select, try_join, try_join_all};

use super::FsyncPolicy;
use super::partition::{OpenLog, PartitionLog, ReadableEnd, Rolled, Unflushed};
use super::tail::GroupBuffer;
use crate::clock::Clock;
use crate::io::{is_full, lost};
use crate::runtime::{sleep, spawn};
use crate::segment::{ActiveSegment, Chain, SealedSegment};

/// How long a flush waits before it looks again whether a full disk has room.
const FULL_DISK_RETRY: Duration = Duration::from_secs(1);

/// What one turn of the loop writes.
struct Part {
    segment: Rc<ActiveSegment>,
    group: Vec<GroupBuffer>,
    end: FilePosition,
    chain: Chain,
    seals: bool,
    counts: Unflushed,
}

/// What was written since the last sync.
struct Written {
    segment: Rc<ActiveSegment>,
    group: Vec<GroupBuffer>,
    end: FilePosition,
    chain: Chain,
}

/// Flushes until nothing is left; then the log is marked as not flushing.
pub(super) async fn run(log: Rc<PartitionLog>) {
    let _task = log.begin_task();
    let mut unsynced: Option<Written> = None;
    let mut sync_due = log.context.next_sync();
    loop {
        let seen = log.work.version();
        let Ok(part) = log.with_open(|open| open.next_part(unsynced.is_none())) else {
            // Out of service meanwhile: answers were given when that happened.
            return;
        };
        let turn = match part {
            Some(part) => log.write(part, &mut unsynced, &mut sync_due).await,
            None if unsynced.is_none() => {
                log.progress.raise();
                return;
            }
            None if log.sync_is_due(sync_due) => log.sync(&mut unsynced, &mut sync_due).await,
            None => {
                until(sync_due, log.work.beyond(seen)).await;
                Ok(())
            }
        };
        if let Err(error) = turn {
            log.poison(&error);
            return;
        }
    }
}

/// Waits for `earlier`, but not beyond `deadline`.
async fn until(deadline: Instant, earlier: impl Future<Output = ()>) {
    let left = deadline.saturating_duration_since(Clock::monotonic());
    match select(pin!(sleep(left)), pin!(earlier)).await {
        Either::Left(_) | Either::Right(_) => {}
    }
}

impl OpenLog {
    /// The next part to write. With nothing to do, and nothing unsynced, the task ends.
    fn next_part(&mut self, may_end: bool) -> Option<Part> {
        let counts = std::mem::take(&mut self.unflushed);
        if let Some(Rolled { segment, group, end, chain }) = self.rolled.pop_front() {
            return Some(Part { segment, group, end, chain, seals: true, counts });
        }
        if self.tail.is_dirty() {
            let segment = Rc::clone(&self.active);
            let end = FilePosition::new(self.tail.end());
            let group = self.tail.take_group();
            let chain = self.chain();
            return Some(Part { segment, group, end, chain, seals: false, counts });
        }
        self.unflushed = counts;
        if may_end {
            self.running.flush = false;
            // Refusals and duplicates wait in line for batches that are durable by now.
            self.written_acks.complete_upto(self.durable.end, true);
            self.durable_acks.complete_upto(self.durable.end, true);
        }
        None
    }

    /// The segment that follows the one that was just taken to be written to its end.
    fn next_segment(&self) -> Rc<ActiveSegment> {
        Rc::clone(self.rolled.front().map_or(&self.active, |rolled| &rolled.segment))
    }
}

impl PartitionLog {
    fn sync_is_due(&self, due: Instant) -> bool {
        // A close waits for this.
        matches!(self.context.fsync, FsyncPolicy::Batch)
            || self.quiet_is_awaited()
            || Clock::monotonic() >= due
    }

    async fn write(
        self: &Rc<Self>,
        part: Part,
        unsynced: &mut Option<Written>,
        sync_due: &mut Instant,
    ) -> io::Result<()> {
        if !part.seals {
            let end = part.chain.next_offset;
            self.write_group(part, unsynced).await?;
            if self.sync_is_due(*sync_due) {
                return self.sync(unsynced, sync_due).await;
            }
            self.if_open(|open| open.written_acks.complete_upto(end, false));
            return Ok(());
        }
        let (segment, end, chain) = (Rc::clone(&part.segment), part.end, part.chain);
        let next = self.with_open(|open| open.next_segment()).ok();
        let full = async {
            self.write_group(part, unsynced).await?;
            self.sync(unsynced, sync_due).await?;
            Ok(self.seal(&segment, end, chain))
        };
        // Everything about the next segment but its name, which must not be there before this one is
        // durable. A full disk is waited for below.
        let staged = async {
            match &next {
                Some(next) => match next.stage(&self.path, &self.context.pool).await {
                    Err(error) if is_full(&error) => Ok(()),
                    staged => staged,
                },
                None => Ok(()),
            }
        };
        let (sealed, ()) = try_join(full, staged).await?;
        // The next segment may stay empty for long, and must exist for a clean stop.
        if let Some(next) = next {
            self.create(&next).await?;
        }
        self.finish_later(sealed, segment, end, chain);
        Ok(())
    }

    async fn write_group(
        self: &Rc<Self>,
        part: Part,
        unsynced: &mut Option<Written>,
    ) -> io::Result<()> {
        let Part { segment, group, end, chain, counts, .. } = part;
        if segment.file().is_none() {
            self.create(&segment).await?;
        }
        let Some(file) = segment.file() else {
            return Err(io::Error::other("a segment without a file was written to"));
        };
        let started = Clock::monotonic();
        segment.write_ahead(counts.bytes, end.get(), &self.context.pool).await?;
        match group.as_slice() {
            [single] => file.write(&single.buffer, single.position).await?,
            many => {
                let writes = many.iter().map(|part| file.write(&part.buffer, part.position));
                try_join_all(writes).await?;
            }
        }
        self.count(counts, started.elapsed());
        // Only one segment is ever unsynced: rolling syncs.
        let written = unsynced.get_or_insert_with(|| Written {
            segment: Rc::clone(&segment),
            group: Vec::new(),
            end,
            chain,
        });
        written.group.extend(group);
        (written.end, written.chain) = (end, chain);
        Ok(())
    }

    /// Makes a segment's file. When somebody else has filled the disk this waits for room: what
    /// was appended waits with it, and nothing of it was acknowledged.
    async fn create(&self, segment: &ActiveSegment) -> io::Result<()> {
        loop {
            match segment.create(&self.path, &self.context.pool).await {
                Err(error) if is_full(&error) && !self.removing.get() && self.is_open() => {
                    let directory = self.path.directory().display();
                    tracing::warn!(%directory, %error, "no room for the next segment; waiting");
                    sleep(FULL_DISK_RETRY).await;
                }
                made => {
                    self.progress.raise();
                    return made;
                }
            }
        }
    }

    async fn sync(
        self: &Rc<Self>,
        unsynced: &mut Option<Written>,
        sync_due: &mut Instant,
    ) -> io::Result<()> {
        let Some(written) = unsynced.take() else { return Ok(()) };
        let Written { segment, group, end, chain } = written;
        let started = Clock::monotonic();
        if let Some(file) = segment.file() {
            file.sync().await?;
        }
        self.context.metrics.sync_nanoseconds.add(nanoseconds(started.elapsed()));
        *sync_due = self.context.next_sync();
        let cached = group.len();
        self.if_open(|open| {
            if Rc::ptr_eq(&segment, &open.active) {
                open.synced = end;
            }
            for part in group {
                open.cache.push(segment.header().base_offset, part);
            }
            open.set_durable(chain.position(), ReadableEnd { segment, position: end });
            open.written_acks.complete_upto(chain.next_offset, true);
            open.durable_acks.complete_upto(chain.next_offset, true);
        });
        self.context.cached(self, cached);
        self.progress.raise();
        if let Some(sequencer) = self.decider.sequencer() {
            sequencer.durable(chain.position());
        }
        Ok(())
    }

    /// Moves a full segment, all of it durable, to the sealed ones.
    fn seal(&self, segment: &ActiveSegment, end: FilePosition, chain: Chain) -> Rc<SealedSegment> {
        let base_offset = segment.header().base_offset;
        let sealed = SealedSegment::new(base_offset, chain.next_offset, end.get());
        let sealed = Rc::new(sealed.unfinished(chain.append_time));
        self.if_open(|open| open.sealed.push_back(Rc::clone(&sealed)));
        sealed
    }

    /// Cuts a sealed segment to its length and writes its index, in a task of its own: both can be
    /// made up for when they are lost.
    fn finish_later(
        self: &Rc<Self>,
        sealed: Rc<SealedSegment>,
        segment: Rc<ActiveSegment>,
        end: FilePosition,
        chain: Chain,
    ) {
        let log = Rc::clone(self);
        spawn(async move {
            if let Err(error) = log.finish_sealed(&segment, end, chain).await {
                let directory = log.path.directory().display();
                tracing::warn!(%directory, %error, "segment not finished; it will be by its readers");
                log.poison_if_lost(&error);
            }
            sealed.finish();
            log.progress.raise();
            log.apply_retention().await;
        });
    }

    async fn finish_sealed(
        &self,
        segment: &ActiveSegment,
        end: FilePosition,
        chain: Chain,
    ) -> io::Result<()> {
        if let Some(file) = segment.file() {
            file.truncate(end.get()).await.map_err(lost)?;
            file.sync().await?;
        }
        segment.write_index(&self.path, end, chain).await
    }

    fn count(&self, counts: Unflushed, took: Duration) {
        let metrics = &self.context.metrics;
        metrics.appended_batches.add(counts.batches);
        metrics.appended_records.add(counts.records);
        metrics.appended_bytes.add(counts.bytes);
        metrics.flushes.add(1);
        metrics.write_nanoseconds.add(nanoseconds(took));
        metrics.buffer_bytes.set(self.context.pool.used_bytes());
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
