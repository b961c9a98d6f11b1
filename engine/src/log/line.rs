//! Stamped batches that wait in line to be appended: for memory, disk space or the next segment.
//!
//! The order of the calls is the order in the log. One task works the line off, so an append goes on when
//! its caller goes away. How long the line gets is up to the caller, who asks for no more before what it
//! has appended is in memory.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use forebay_format::limits::HEADER_BYTES;
use forebay_format::stamp_local;

use super::partition::{NotOpen, OpenLog, PartitionLog};
use super::reserved::Reserved;
use super::{LogContext, ReserveError, StampedBatch};
use crate::runtime::{Signal, sleep, spawn};

/// How long the line waits before it looks again whether a full disk has room.
const FULL_DISK_RETRY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: RefCell<VecDeque<StampedBatch>>,
    /// How many have ever joined.
    joined: Cell<u64>,
    /// How many of them were appended, or given up.
    left: Cell<u64>,
    /// Which were given up last, and why: those above the first number, up to the second.
    failure: RefCell<Option<(u64, u64, ReserveError)>>,
    running: Cell<bool>,
    moved: Signal,
}

impl Line {
    /// Whether anything waits.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// Gives up all that wait.
    fn give_up(&self, why: ReserveError) {
        self.waiting.borrow_mut().clear();
        self.failure.replace(Some((self.left.get(), self.joined.get(), why)));
        self.leave(self.joined.get());
    }

    fn leave(&self, upto: u64) {
        self.left.set(upto);
        self.moved.raise();
    }

    /// Waits until all up to the `upto`th have left the line.
    async fn passed(&self, upto: u64) -> Result<(), ReserveError> {
        loop {
            let seen = self.moved.version();
            if self.left.get() >= upto {
                let failure = self.failure.borrow();
                let failed = failure.as_ref().filter(|(above, to, _)| *above < upto && upto <= *to);
                return failed.map_or(Ok(()), |(_, _, why)| Err(why.clone()));
            }
            self.moved.beyond(seen).await;
        }
    }
}

impl PartitionLog {
    /// Appends batches behind everything that was appended or waits by now. The result is there when they
    /// are in memory; when they are durable, the sequencer is told.
    ///
    /// # Errors
    /// The log is out of service: what waited was not appended.
    pub(crate) fn append_stamped(
        self: &Rc<Self>,
        batches: Vec<StampedBatch>,
    ) -> impl Future<Output = Result<(), ReserveError>> + use<> {
        let upto = self.line.joined.get() + batches.len() as u64;
        self.line.joined.set(upto);
        self.line.waiting.borrow_mut().extend(batches);
        let log = Rc::clone(self);
        let waiting = async move { log.line.passed(upto).await };
        if !self.line.running.replace(true) {
            spawn(Rc::clone(self).work_line_off());
        }
        waiting
    }

    async fn work_line_off(self: Rc<Self>) {
        loop {
            let first = self.line.waiting.borrow().front().map(StampedBatch::batch_bytes);
            let Some(bytes) = first else { break };
            let room = if let Some(room) = self.try_reserve(bytes) {
                Ok(room)
            } else {
                self.flush_what_is_there();
                self.reserve_patiently(bytes).await
            };
            match room {
                Ok(room) => {
                    self.until_nothing_is_proposed().await;
                    self.append_first(room);
                }
                Err(why) => self.line.give_up(why),
            }
        }
        self.line.running.set(false);
        self.flush_what_is_there();
        // A cut waits for this.
        self.progress.raise();
    }

    /// Room for a batch that must be appended, however long a full disk stays full.
    async fn reserve_patiently(self: &Rc<Self>, bytes: usize) -> Result<Reserved, ReserveError> {
        loop {
            match self.reserve(bytes).await {
                Err(ReserveError::DiskFull { message }) => {
                    tracing::warn!(partition = %self.id, message, "no room to append; waiting");
                    sleep(FULL_DISK_RETRY).await;
                }
                reserved => return reserved,
            }
        }
    }

    async fn until_nothing_is_proposed(&self) {
        loop {
            let seen = self.progress.version();
            if !self.proposing.get() {
                return;
            }
            self.progress.beyond(seen).await;
        }
    }

    fn append_first(&self, reserved: Reserved) {
        let Some(batch) = self.line.waiting.borrow_mut().pop_front() else { return };
        if reserved.is_stale() {
            return self.line.give_up(ReserveError::Stopping);
        }
        let appended = self.with_open(|open| {
            open.reserved_bytes -= reserved.bytes;
            open.append_stamped(&batch, &self.context);
        });
        match appended {
            Ok(()) => {
                // Already given back above, with the state at hand.
                reserved.forget_space();
                self.line.leave(self.line.left.get() + 1);
            }
            Err(why) => self.line.give_up(NotOpen::refusal(why)),
        }
    }
}

impl OpenLog {
    /// Copies a batch to the tail; only the replica's part of its header is stamped anew.
    fn append_stamped(&mut self, batch: &StampedBatch, context: &LogContext) {
        self.assert_continues(batch.meta());
        let time = batch.meta().leader.append_time;
        self.roll_if_full(batch.batch_bytes() as u64, time, context);
        let position = self.active_end();
        let mut header: [u8; HEADER_BYTES] = batch.header;
        stamp_local(&mut header, self.active.header().salt, position, self.synced);
        self.tail.write(&header);
        batch.payload.iter().for_each(|piece| self.tail.write(piece));
        self.appended(batch.meta(), position);
    }
}
