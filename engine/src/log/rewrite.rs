//! Taking the end of a replica's log away, or all of it, by order of its sequencer.
//!
//! ```text
//! admit nothing ─▶ quiet ─▶ recorded, durably ─▶ open log dropped ─▶ opened as after a crash
//! ```
//!
//! Once it is recorded what is to be done, carrying it out is the same as after a crash at that moment: it
//! is recovery that does it. Readers find their places again.

use std::future::Future;
use std::rc::Rc;

use forebay_format::{LogState, PartitionMeta, PendingCut, Position};

use super::locate::LogPlace;
use super::partition::{NotOpen, OpenLog, PartitionLog, State};
use super::{ReadError, ReserveError};
use crate::runtime::run_to_end;

impl PartitionLog {
    /// Removes every batch whose end position is above `to`. Durable when the result is there, which is the
    /// log that is left.
    ///
    /// # Errors
    /// Why it is not done; it may be recorded, and whoever opens the log next finishes it.
    pub(crate) fn cut_back(
        self: &Rc<Self>,
        to: Position,
    ) -> impl Future<Output = Result<LogState, ReserveError>> + use<> {
        let log = Rc::clone(self);
        run_to_end(async move {
            let _turn = log.meta_writer.turn.take().await;
            log.come_to_rest().await?;
            let recorded = log.record_cut(to).await;
            log.rewrite_if(recorded).await
        })
    }

    /// Ends the rest: opens the log anew if what is to be done with it was recorded. The log as it is then.
    pub(super) async fn rewrite_if(
        self: &Rc<Self>,
        recorded: Result<bool, ReserveError>,
    ) -> Result<LogState, ReserveError> {
        if matches!(recorded, Ok(true)) {
            // Before the first file changes: a reader that stumbles must know why.
            self.rewritten.set(self.rewritten.get() + 1);
            if let State::Open(mut open) = self.state.replace(State::Closed(None)) {
                let written = (open.active.header().base_offset, open.active_end());
                self.written_end.set(Some(written));
                self.let_go(&mut open);
            }
        } else {
            self.if_open(|open| open.rewriting = false);
        }
        self.progress.raise();
        recorded?;
        loop {
            self.ensure_open().await?;
            if let Ok(state) = self.with_open(|open| open.log_state()) {
                return Ok(state);
            }
        }
    }

    /// Lets nothing more be admitted, and waits until everything that was is durable and answered.
    pub(super) async fn come_to_rest(self: &Rc<Self>) -> Result<(), ReserveError> {
        loop {
            self.ensure_open().await?;
            let seen = self.progress.version();
            let rests = self.with_open(|open| {
                open.rewriting = !self.line.is_waiting();
                open.rewriting && open.has_settled()
            });
            match rests {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    self.work.raise();
                    self.progress.beyond(seen).await;
                }
                Err(_) => {}
            }
        }
    }

    /// Finds the place and writes it into the meta. `false`: there is nothing to remove.
    async fn record_cut(self: &Rc<Self>, to: Position) -> Result<bool, ReserveError> {
        if matches!(self.with_open(|open| to >= open.durable), Ok(true)) {
            return Ok(false);
        }
        let Some(place) = self.locate(to).await.map_err(unavailable)? else {
            let message =
                format!("the log that is stored begins above {to}, it cannot be cut there");
            return Err(ReserveError::Unavailable { message });
        };
        let meta = self.with_open(|open| {
            let LogPlace { segment, position, offset } = place;
            PartitionMeta {
                pending_cut: Some(PendingCut { segment, position, offset }),
                ..open.meta
            }
        });
        self.replace_meta(&meta.map_err(NotOpen::refusal)?).await.map(|()| true)
    }
}

/// A log that cannot be read cannot be cut.
fn unavailable(error: ReadError) -> ReserveError {
    match error {
        ReadError::Corrupt(corruption) => ReserveError::Corrupt(corruption),
        ReadError::Stopping => ReserveError::Stopping,
        ReadError::Unknown => ReserveError::Unknown,
        ReadError::OutOfRange { .. }
        | ReadError::Ahead { .. }
        | ReadError::Lost { .. }
        | ReadError::Unavailable { .. } => ReserveError::Unavailable { message: error.to_string() },
    }
}

impl OpenLog {
    /// What the log adds up to, for the sequencer.
    pub(super) fn log_state(&self) -> LogState {
        let first = self.sealed.front().map(|segment| segment.base_offset);
        let begins = first.unwrap_or(self.active.header().base_offset);
        let log_start = self.meta.log_start.max(begins).min(self.state.end);
        LogState { log_start, ..self.state.clone() }
    }
}
