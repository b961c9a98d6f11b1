//! Putting a damaged replica aside, whole, so that a fresh one can begin in its place.
//!
//! What is put aside is never touched again: an operator may still want to look at it.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use forebay_format::names::QUARANTINE_DIRECTORY;

use super::ReserveError;
use super::partition::{PartitionLog, State};
use crate::io::{create_directories, directory_names, move_directory};
use crate::runtime::run_to_end;

impl PartitionLog {
    /// Moves the partition's directory to the quarantine of the data directory. Durable when the result is
    /// there, which says where it is now. The next one to open the log finds nothing.
    ///
    /// # Errors
    /// It is in service, or was removed; what the system said.
    pub(crate) fn set_aside(
        self: &Rc<Self>,
    ) -> impl Future<Output = Result<PathBuf, ReserveError>> + use<> {
        let log = Rc::clone(self);
        run_to_end(async move {
            let before = log.state.replace(State::Closing);
            if !matches!(before, State::Failed(_) | State::Closed(_)) {
                log.state.replace(before);
                let message = "a replica in service cannot be put aside".to_owned();
                return Err(ReserveError::Unavailable { message });
            }
            // What the old log still waits for must not happen to the next.
            while log.tasks.get() > 0 {
                let seen = log.progress.version();
                if log.tasks.get() > 0 {
                    log.progress.beyond(seen).await;
                }
            }
            let moved = log.move_aside().await;
            if moved.is_ok() {
                log.state.replace(State::Closed(None));
                log.committed.set(None);
                log.rewritten.set(log.rewritten.get() + 1);
            } else {
                log.state.replace(before);
            }
            log.progress.raise();
            moved.map_err(|error| log.refused(&error))
        })
    }

    async fn move_aside(&self) -> io::Result<PathBuf> {
        self.drop_resets().await?;
        let quarantine = self.context.data.join(QUARANTINE_DIRECTORY);
        let topic = quarantine.join(self.id.topic.to_string());
        create_directories(topic.clone()).await?;
        let taken = directory_names(topic.clone()).await?;
        // One of so many is free.
        let name = (0..=taken.len())
            .map(|number| format!("{}.{number}", self.id.partition))
            .find(|name| !taken.contains(name))
            .ok_or_else(|| io::Error::other("every number is taken"))?;
        let place = topic.join(name);
        move_directory(self.path.directory().to_owned(), place.clone()).await?;
        tracing::warn!(partition = %self.id, place = %place.display(), "replica put aside");
        Ok(place)
    }
}
