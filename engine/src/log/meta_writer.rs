//! The meta of a replica: what it must not forget, written as the sequencer orders it.
//!
//! Whatever is asked for while one is being written goes into the next, together.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use forebay_format::PartitionMeta;

use super::ReserveError;
use super::partition::PartitionLog;
use crate::io::{is_full, replace_file};
use crate::runtime::{Signal, Turn, sleep, spawn};

/// How long a meta waits before it looks again whether a full disk has room.
const FULL_DISK_RETRY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct MetaWriter {
    /// Whoever writes the file, or changes what it says of the log, has the turn.
    pub(super) turn: Turn,
    /// What was asked for last, unless it is written.
    wanted: RefCell<Option<PartitionMeta>>,
    /// How many were asked for.
    asked: Cell<u64>,
    /// How many of them are done with.
    done: Cell<u64>,
    /// Why those up to this one were not written.
    failure: RefCell<Option<(u64, ReserveError)>>,
    running: Cell<bool>,
    moved: Signal,
}

impl MetaWriter {
    fn finish(&self, upto: u64, outcome: Result<(), ReserveError>) {
        if let Err(why) = outcome {
            self.failure.replace(Some((upto, why)));
        }
        self.done.set(upto);
        self.moved.raise();
    }

    async fn finished(&self, number: u64) -> Result<(), ReserveError> {
        loop {
            let seen = self.moved.version();
            if self.done.get() >= number {
                let failure = self.failure.borrow();
                // One that was written later says all that this one did.
                let failed = failure.as_ref().filter(|(upto, _)| *upto == self.done.get());
                return failed.map_or(Ok(()), |(_, why)| Err(why.clone()));
            }
            self.moved.beyond(seen).await;
        }
    }
}

impl PartitionLog {
    /// Puts the meta on stable storage; it is there when the result is. The pending cut stays the log's
    /// own, and the log start never falls.
    ///
    /// # Errors
    /// The log is out of service.
    pub(crate) fn persist_meta(
        self: &Rc<Self>,
        meta: PartitionMeta,
    ) -> impl Future<Output = Result<(), ReserveError>> + use<> {
        let number = self.meta_writer.asked.get() + 1;
        self.meta_writer.asked.set(number);
        self.meta_writer.wanted.replace(Some(meta));
        if !self.meta_writer.running.replace(true) {
            spawn(Rc::clone(self).write_metas());
        }
        let log = Rc::clone(self);
        async move { log.meta_writer.finished(number).await }
    }

    async fn write_metas(self: Rc<Self>) {
        loop {
            let _turn = self.meta_writer.turn.take().await;
            let Some(wanted) = self.meta_writer.wanted.take() else { break };
            let number = self.meta_writer.asked.get();
            let written = self.write_meta(wanted).await;
            self.meta_writer.finish(number, written);
        }
        self.meta_writer.running.set(false);
    }

    async fn write_meta(&self, wanted: PartitionMeta) -> Result<(), ReserveError> {
        let merged = self.with_open(|open| {
            assert_eq!(wanted.replica, open.meta.replica, "a replica keeps its id");
            PartitionMeta {
                log_start: wanted.log_start.max(open.meta.log_start),
                pending_cut: open.meta.pending_cut,
                ..wanted
            }
        });
        let meta = merged.map_err(super::partition::NotOpen::refusal)?;
        self.replace_meta(&meta).await?;
        self.if_open(|open| open.meta = meta);
        Ok(())
    }

    /// Replaces the file, when a full disk lets it. On stable storage on return. To be called by whoever
    /// has the turn.
    pub(super) async fn replace_meta(&self, meta: &PartitionMeta) -> Result<(), ReserveError> {
        loop {
            match replace_file(self.path.meta(), meta.encode().to_vec()).await {
                Ok(()) => return Ok(()),
                Err(error) if is_full(&error) && !self.removing.get() => {
                    tracing::warn!(partition = %self.id, %error, "no room for the meta; waiting");
                    sleep(FULL_DISK_RETRY).await;
                }
                Err(error) => return Err(self.refused(&error)),
            }
        }
    }
}
