//! Append by leave of a sequencer: the batch is copied to the end of the log first, and then the sequencer
//! says whether it stays.
//!
//! ```text
//! verified and copied ──▶ propose ──▶ Some(fields): stamped where it lies
//!                                └──▶ None: the tail is cut where it began
//! ```
//!
//! So the payload is still touched once only, and nothing is decided about a batch that does not verify.

use std::rc::Rc;

use forebay_format::limits::HEADER_BYTES;
use forebay_format::{BatchMeta, ClientHeader, FilePosition, LeaderFields};

use super::append::{check, unstamped};
use super::partition::{OpenLog, PartitionLog};
use super::reserved::Reserved;
use super::{
    AppendError, Completion, IncomingBatch, LogContext, LogSettings, Sequencer, WriteRefusal, flush,
};
use crate::runtime::spawn;

/// A batch at the end of the tail that nobody has decided about.
#[derive(Clone, Copy)]
struct Proposed {
    header: [u8; HEADER_BYTES],
    client: ClientHeader,
    position: FilePosition,
}

impl PartitionLog {
    /// Verifies and copies a batch, and proposes it. What does not verify is answered at once.
    pub(super) fn propose(
        self: &Rc<Self>,
        sequencer: Option<&dyn Sequencer>,
        reserved: Reserved,
        batch: &IncomingBatch,
        done: Completion,
    ) {
        let Some(sequencer) = sequencer else {
            return done.answer(Err(WriteRefusal::NotServing.into()));
        };
        let settings = self.settings.borrow();
        let proposed = self.with_open(|open| {
            open.reserved_bytes -= reserved.bytes;
            open.prepare(batch, &settings, &self.context)
        });
        drop(settings);
        let proposed = match proposed {
            Ok(proposed) => {
                // Already given back above, with the state at hand.
                reserved.forget_space();
                proposed
            }
            Err(why) => Err(why.refusal().into()),
        };
        match proposed {
            Ok(proposed) => {
                assert!(!self.proposing.replace(true), "batches are proposed one at a time");
                let fields = sequencer.propose(batch, &proposed.client, done);
                self.proposing.set(false);
                self.if_open(|open| open.settle(proposed, fields));
            }
            Err(error) => done.answer(Err(error)),
        }
        self.flush_what_is_there();
        if self.quiet_is_awaited() || self.line.is_waiting() {
            // Who waits for a quiet log, or for this decision, looks again.
            self.progress.raise();
        }
    }

    /// Starts the flush if it has something to do and is not running. Not while a batch lies at the end that
    /// nobody has decided about: that must not be written.
    pub(super) fn flush_what_is_there(self: &Rc<Self>) {
        if self.proposing.get() {
            return;
        }
        let starts = self.with_open(|open| {
            let has_work = open.tail.is_dirty() || !open.rolled.is_empty();
            has_work && !std::mem::replace(&mut open.running.flush, true)
        });
        if matches!(starts, Ok(true)) {
            spawn(flush::run(Rc::clone(self)));
        } else {
            self.work.raise();
        }
    }
}

impl OpenLog {
    /// Copies a batch to the end of the tail.
    fn prepare(
        &mut self,
        batch: &IncomingBatch,
        settings: &LogSettings,
        context: &LogContext,
    ) -> Result<Proposed, AppendError> {
        let client = check(batch, settings)?;
        let time = self.state.last_append_time.max(context.clock.now());
        self.roll_if_full(client.batch_bytes() as u64, time, context);
        let (header, position) = (unstamped(batch), self.active_end());
        self.copy(&header, batch, &client)?;
        Ok(Proposed { header, client, position })
    }

    /// Does with a proposed batch what was decided.
    fn settle(&mut self, proposed: Proposed, fields: Option<LeaderFields>) {
        let Proposed { mut header, client, position } = proposed;
        let Some(fields) = fields else {
            return self.tail.cut(position.get());
        };
        let stamped = self.stamp(&mut header, client, fields, position);
        self.assert_continues(&stamped);
        self.tail.overwrite(position.get(), &header);
        self.appended(&stamped, position);
    }

    /// What is ordered from above was checked there; a batch that does not fit would be damage.
    pub(super) fn assert_continues(&self, batch: &BatchMeta) {
        if let Err(what) = self.chain().advance(batch) {
            panic!("what is appended continues the log: {what}");
        }
    }
}
