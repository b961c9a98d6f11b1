//! Appends that wait for their answer, in the order in which they were made. (Those that a sequencer
//! decides about wait with it.)

use std::collections::VecDeque;

use forebay_format::{Epoch, Offset, TimestampMs};

use super::completion::{Appended, Completion};
use super::{AppendError, Completed, CompletionQueue};

/// What an answer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckWhen {
    /// Nothing: it leaves when the batch is in memory.
    AtOnce,
    /// The write has completed; whether it is on stable storage is said in the answer.
    Written,
    /// The batch is on stable storage.
    Durable,
    /// It is committed: on stable storage of a majority of the replicas. Without a sequencer this one is
    /// all there are, as for what follows.
    Quorum,
    /// It is committed, and on stable storage of every replica that is in sync.
    All,
    /// It is on stable storage of so many replicas, and committed if they are a majority.
    Replicas(u8),
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
        let durable_replicas = u32::from(durable);
        Appended { base_offset, record_count, epoch, append_time, durable_replicas, duplicate }
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
        CompletionQueue::answer_all(std::iter::from_fn(|| {
            let Waiting { queue, token, outcome } =
                self.0.pop_front_if(|waiting| due(&waiting.outcome))?;
            Some((queue, Completed { token, outcome: finish(outcome) }))
        }));
    }
}
