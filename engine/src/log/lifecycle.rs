//! Closing and removing a log.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use forebay_format::CleanEntry;
use forebay_format::names::SegmentFile;

use super::ReserveError;
use super::partition::{NotOpen, OpenLog, PartitionLog, State};
use crate::io::{file_names, remove_empty_directory, remove_tree, replace_file};

/// An open log that nobody used for this long is closed.
const IDLE_CLOSE: Duration = Duration::from_mins(1);

/// Closed logs are looked into this often, for retention by age.
const VISIT_EVERY: Duration = Duration::from_mins(10);

impl PartitionLog {
    /// Looks after the log: retention, rolling by age, closing when idle. Returns whether it did
    /// more than look.
    pub(crate) async fn keep_house(self: &Rc<Self>, now: Instant) -> bool {
        let replica = self.decider.is_replica();
        let idle = match self.with_open(|open| {
            !replica
                && open.is_quiet()
                && now.saturating_duration_since(open.last_used) >= IDLE_CLOSE
        }) {
            Ok(idle) => idle,
            Err(NotOpen::Closed) if replica => return false,
            Err(NotOpen::Closed) => return self.visit(now).await,
            Err(NotOpen::Busy | NotOpen::Never(_)) => return false,
        };
        self.roll_by_age().await;
        self.apply_retention().await;
        if idle && let Err(error) = self.close_if_quiet().await {
            self.poison_if_lost(&error);
            tracing::warn!(partition = %self.id, %error, "an idle log could not be closed");
        }
        true
    }

    /// Opens a closed log now and then: so that age can expire it and, once after a crash, so that
    /// damage is found early and not by the first reader.
    async fn visit(self: &Rc<Self>, now: Instant) -> bool {
        let vouched_for = matches!(&*self.state.borrow(), State::Closed(Some(_)));
        let due = match self.visited.get() {
            None => !vouched_for,
            Some(last) => vouched_for && now.saturating_duration_since(last) >= VISIT_EVERY,
        };
        if due || self.visited.get().is_none() {
            self.visited.set(Some(now));
        }
        if !due {
            return false;
        }
        let worth_it = if vouched_for {
            self.may_have_expired()
        } else {
            let names = file_names(self.path.directory().to_owned()).await;
            matches!(names, Ok(Some(_)))
        };
        if !worth_it {
            return false;
        }
        // What is wrong with it was logged, and is told to whoever uses it.
        self.ensure_open().await.ok();
        true
    }

    /// Whether age may have expired something of a closed log, as far as its close knew.
    fn may_have_expired(&self) -> bool {
        let Some(age) = self.settings.borrow().retention_age else { return false };
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let now = self.context.clock.now();
        self.oldest_append.get().is_none_or(|oldest| now.saturating_since(oldest) >= age_ms)
    }

    /// Waits until nothing is in flight, and closes. `None` when there is nothing on disk, or the
    /// log is out of service.
    pub(crate) async fn close(self: &Rc<Self>) -> Option<CleanEntry> {
        loop {
            let seen = self.progress.version();
            match self.close_if_quiet().await {
                Ok(true) => {}
                Ok(false) => {
                    self.work.raise();
                    self.progress.beyond(seen).await;
                    continue;
                }
                Err(error) => {
                    self.poison_if_lost(&error);
                    tracing::warn!(partition = %self.id, %error, "closed without a clean mark");
                    self.end_sequencing(&ReserveError::Stopping);
                    return None;
                }
            }
            self.end_sequencing(&ReserveError::Stopping);
            return match &*self.state.borrow() {
                State::Closed(entry) => entry.clone(),
                _ => None,
            };
        }
    }

    /// Closes when nothing is in flight. `false`: something is.
    async fn close_if_quiet(self: &Rc<Self>) -> io::Result<bool> {
        let state = self.state.replace(State::Closing);
        let mut open = match state {
            State::Open(open) if open.is_quiet() => open,
            State::Closed(_) | State::Failed(_) | State::Removed => {
                self.state.replace(state);
                return Ok(true);
            }
            State::Open(_) | State::Opening | State::Closing => {
                self.state.replace(state);
                return Ok(false);
            }
        };
        let entry = self.write_clean_state(&mut open).await;
        drop(open);
        let closed = entry.as_ref().map_or(None, Clone::clone);
        if matches!(&*self.state.borrow(), State::Closing) {
            self.state.replace(State::Closed(closed));
        }
        self.progress.raise();
        entry.map(|_| true)
    }

    /// What makes the next open need no scan. On stable storage on return.
    async fn write_clean_state(&self, open: &mut OpenLog) -> io::Result<Option<CleanEntry>> {
        self.let_go(open);
        if !open.on_disk {
            return Ok(None);
        }
        let status = open.status();
        let oldest = open.sealed.front().map(|oldest| oldest.last_append());
        self.oldest_append.set(oldest.unwrap_or(Some(open.state.last_append_time)));
        if let Some(entry) = open.resumed.take_if(|entry| open.meta.log_start == entry.log_start)
            && entry.end_position == open.active_end()
            && entry.active_segment == open.active.header().base_offset
        {
            return Ok(Some(entry));
        }
        open.active.write_index(&self.path, open.active_end(), open.chain()).await?;
        // Without a record in the active segment its own table, taken where it begins, says it
        // all. It must stay: the next recovery starts from there.
        if open.state.end > open.active.header().base_offset {
            let producers = self.path.file(SegmentFile::Producers, open.state.end);
            replace_file(producers, open.producer_snapshot()).await?;
        }
        let began_before = open.active.header().epochs.latest();
        let epochs = open.state.epochs.entries().iter().copied();
        Ok(Some(CleanEntry {
            partition: self.id,
            replica: open.meta.replica,
            promised_epoch: open.meta.promised_epoch,
            log_start: open.meta.log_start,
            committed: open.committed(),
            active_segment: open.active.header().base_offset,
            salt: open.active.header().salt,
            end_offset: open.state.end,
            end_position: open.active_end(),
            last_header_crc: open.state.last_header_crc,
            last_epoch: open.state.position().epoch,
            last_append_time: open.state.last_append_time,
            size_bytes: status.size_bytes,
            segments: u32::try_from(status.segments).unwrap_or(u32::MAX),
            epochs: epochs.filter(|e| began_before.is_none_or(|b| e.epoch > b.epoch)).collect(),
        }))
    }

    /// Takes the log out of service and removes its files. Gone durably on return.
    ///
    /// # Errors
    /// A file could not be removed; calling again goes on.
    pub(crate) async fn remove(self: &Rc<Self>) -> io::Result<()> {
        self.removing.set(true);
        self.progress.raise();
        let taken = loop {
            let seen = self.progress.version();
            let state = self.state.replace(State::Removed);
            let waits = match &state {
                State::Open(open) => !open.is_quiet(),
                State::Opening | State::Closing => true,
                State::Closed(_) | State::Failed(_) | State::Removed => false,
            };
            if !waits {
                break match state {
                    State::Open(open) => Some(open),
                    _ => None,
                };
            }
            self.state.replace(state);
            self.work.raise();
            self.progress.beyond(seen).await;
        };
        self.progress.raise();
        if let Some(mut open) = taken {
            self.let_go(&mut open);
        }
        self.end_sequencing(&ReserveError::Unknown);
        let directory = self.path.directory().to_owned();
        self.drop_resets().await?;
        remove_tree(directory.clone()).await?;
        match directory.parent() {
            Some(topic) => remove_empty_directory(topic.to_owned()).await,
            None => Ok(()),
        }
    }
}
