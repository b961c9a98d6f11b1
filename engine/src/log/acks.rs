//! Appends that wait for their answer, in the order in which they were made.

use std::collections::VecDeque;

use forebay_format::{Epoch, Offset, TimestampMs};

use super::completion::{Appended, Completion};
use super::{AppendError, CompletionQueue};

/// What an answer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckWhen {
    /// Nothing: it leaves when the batch is in memory.
    AtOnce,
    /// The write has completed; whether it is on stable storage is said in the answer.
    Written,
    /// The batch is on stable storage.
    Durable,
}

#[derive(Debug)]
struct Waiting {
    queue: CompletionQueue,
    token: u64,
    outcome: Result<Placed, AppendError>,
}

/// [`Appended`] but for what is known only when the answer leaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) base_offset: Offset,
    pub(super) record_count: u32,
    pub(super) epoch: Epoch,
    pub(super) append_time: TimestampMs,
    pub(super) duplicate: bool,
}

impl Placed {
    fn end(&self) -> Offset {
        self.base_offset + u64::from(self.record_count)
    }

    pub(super) fn appended(self, durable: bool) -> Appended {
        let Self { base_offset, record_count, epoch, append_time, duplicate } = self;
        Appended { base_offset, record_count, epoch, append_time, durable, duplicate }
    }
}

/// Waiting answers of one kind. Refusals wait in line too, so that answers keep their order.
#[derive(Debug, Default)]
pub(super) struct WaitingAcks(VecDeque<Waiting>);

impl WaitingAcks {
    /// Adds an answer that may leave once everything below its end is reached.
    pub(super) fn push(&mut self, to: Completion, outcome: Result<Placed, AppendError>) {
        let Completion { queue, token, .. } = to;
        self.0.push_back(Waiting { queue, token, outcome });
    }

    /// Whether anything waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sends the answers, from the front, of all batches that end at or below `reached`, and
    /// the refusals between them. Each stream is woken once.
    pub(super) fn complete_upto(&mut self, reached: Offset, durable: bool) {
        self.send_while(
            |outcome| outcome.as_ref().map_or(true, |placed| placed.end() <= reached),
            |outcome| outcome.map(|placed| placed.appended(durable)),
        );
    }

    /// Answers everything that waits with `Indeterminate`, refusals excepted.
    pub(super) fn fail_all(&mut self) {
        self.send_while(
            |_| true,
            |outcome| Err(outcome.err().unwrap_or(AppendError::Indeterminate)),
        );
    }

    fn send_while(
        &mut self,
        due: impl Fn(&Result<Placed, AppendError>) -> bool,
        finish: impl Fn(Result<Placed, AppendError>) -> Result<Appended, AppendError>,
    ) {
        let mut last: Option<CompletionQueue> = None;
        while self.0.front().is_some_and(|waiting| due(&waiting.outcome)) {
            let Some(Waiting { queue, token, outcome }) = self.0.pop_front() else { break };
            queue.push(super::Completed { token, outcome: finish(outcome) });
            // Neighbours mostly belong to one stream. Waking a stream twice is harmless.
            if let Some(before) = last.as_ref().filter(|before| !before.is_same(&queue)) {
                before.wake();
            }
            last = Some(queue);
        }
        if let Some(queue) = last {
            queue.wake();
        }
    }
}
