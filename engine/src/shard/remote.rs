//! A partition of another shard, as this core sees it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;

use async_channel::{Receiver, Sender};
use forebay_format::PartitionId;
use futures_util::future::{Either, select};

use super::inbox::{RemoteAppend, RemoteRun, Request, ShardAddress};
use crate::log::{
    AppendError, Completed, Completion, CompletionQueue, CursorStart, IncomingBatch,
    PartitionStatus, ReadError, ReserveError, Run, WeakQueue,
};
use crate::runtime::{Signal, spawn};

/// Bytes of appends that one core may have waiting at another.
const REMOTE_BYTES_MAX: u64 = 16 << 20;

/// Every append counts as at least this many bytes, so that a flood of tiny ones is bounded too.
const REMOTE_APPEND_BYTES_MIN: u64 = 1 << 10;

/// Runs that wait for a reader on another core.
const REMOTE_RUNS_MAX: usize = 2;

/// The way to one other shard.
#[derive(Debug)]
pub(super) struct Peer {
    address: ShardAddress,
    waiting_bytes: Cell<u64>,
    freed: Signal,
}

/// Room for an append towards another shard, given back when its answer has come.
#[derive(Debug)]
pub(super) struct RemoteReservation {
    peer: Rc<Peer>,
    bytes: u64,
}

impl Drop for RemoteReservation {
    fn drop(&mut self) {
        self.peer.waiting_bytes.set(self.peer.waiting_bytes.get() - self.bytes);
        self.peer.freed.raise();
    }
}

/// One stream's appends towards one other shard.
struct Session {
    appends: Sender<RemoteAppend>,
    /// By token: answers come in another order than the appends when write concerns differ.
    held: Rc<RefCell<VecDeque<(u64, RemoteReservation)>>>,
}

impl Peer {
    pub(super) fn new(address: ShardAddress) -> Rc<Self> {
        Rc::new(Self { address, waiting_bytes: Cell::new(0), freed: Signal::default() })
    }

    pub(super) fn try_reserve(self: &Rc<Self>, bytes: usize) -> Option<RemoteReservation> {
        let bytes = (bytes as u64).max(REMOTE_APPEND_BYTES_MIN);
        let waiting = self.waiting_bytes.get();
        (waiting == 0 || waiting + bytes <= REMOTE_BYTES_MAX).then(|| {
            self.waiting_bytes.set(waiting + bytes);
            RemoteReservation { peer: Rc::clone(self), bytes }
        })
    }

    pub(super) async fn reserve(self: &Rc<Self>, bytes: usize) -> RemoteReservation {
        loop {
            let seen = self.freed.version();
            if let Some(reserved) = self.try_reserve(bytes) {
                return reserved;
            }
            self.freed.beyond(seen).await;
        }
    }

    pub(super) fn append(
        self: &Rc<Self>,
        partition: PartitionId,
        reserved: RemoteReservation,
        batch: IncomingBatch,
        done: Completion,
    ) {
        let Completion { queue, token, when } = done;
        let open = || self.open_session(&queue);
        let session = queue.remote(self.address.shard.index(), open);
        session.held.borrow_mut().push_back((token, reserved));
        let append = RemoteAppend { partition, batch, token, when };
        // The reservation bounds what waits, so only a stopped shard refuses.
        if session.appends.try_send(append).is_err() {
            session.held.borrow_mut().retain(|(held, _)| *held != token);
            let outcome = Err(AppendError::Refused(ReserveError::Stopping));
            queue.push(Completed { token, outcome });
            queue.wake();
        }
    }

    fn open_session(self: &Rc<Self>, queue: &CompletionQueue) -> Session {
        let (appends, received) = async_channel::unbounded();
        let (answers, answered) = async_channel::unbounded();
        let held: Rc<RefCell<VecDeque<(u64, RemoteReservation)>>> = Rc::default();
        let requests = self.address.requests.clone();
        let session = Request::AppendSession { appends: received, answers };
        let queue = queue.downgrade();
        let holding = Rc::clone(&held);
        spawn(async move {
            if requests.send(session).await.is_err() {
                let refused = AppendError::Refused(ReserveError::Stopping);
                return fail_all(&queue, &holding, &refused);
            }
            // To the end, even when nobody waits for the answers any more: what is held stands for
            // batches that still wait at the other shard.
            while let Some(completed) = next_answers(&answered, &requests).await {
                let queue = queue.upgrade();
                for answer in completed {
                    release(&mut holding.borrow_mut(), answer.token);
                    if let Some(queue) = &queue {
                        queue.push(answer);
                    }
                }
                if let Some(queue) = queue {
                    queue.wake();
                }
            }
            fail_all(&queue, &holding, &AppendError::Indeterminate);
        });
        Session { appends, held }
    }

    pub(super) async fn status(
        &self,
        partition: PartitionId,
    ) -> Result<PartitionStatus, ReserveError> {
        let (answer, answered) = async_channel::bounded(1);
        let request = Request::Status { partition, answer };
        // Fails when the shard has stopped; then there is no answer either.
        self.address.requests.send(request).await.ok();
        answered.recv().await.unwrap_or(Err(ReserveError::Stopping))
    }

    pub(super) async fn cursor(
        &self,
        partition: PartitionId,
        start: CursorStart,
        max_bytes: usize,
    ) -> Result<RemoteCursor, ReadError> {
        let (opened, open) = async_channel::bounded(1);
        let (runs, received) = async_channel::bounded(REMOTE_RUNS_MAX);
        let request = Request::Read { partition, start, max_bytes, opened, runs };
        // Fails when the shard has stopped; then there is no answer either.
        self.address.requests.send(request).await.ok();
        let marks = open.recv().await.unwrap_or(Err(ReadError::Stopping))?;
        let (position, earliest, committed) = marks;
        let at_end = position >= committed;
        let epoch = match start {
            CursorStart::After { epoch, offset } if offset == position => Some(epoch),
            _ => None,
        };
        Ok(RemoteCursor { runs: received, position, epoch, earliest, committed, at_end })
    }
}

/// Gives the room of an answered append back. The answered one is mostly the oldest.
fn release(held: &mut VecDeque<(u64, RemoteReservation)>, token: u64) {
    if let Some(at) = held.iter().position(|(waiting, _)| *waiting == token) {
        held.remove(at);
    }
}

/// The next answers; `None` when no more will come. A shard that is gone does not let go of the
/// requests that it never took, but of its inbox.
async fn next_answers(
    answered: &Receiver<Vec<Completed>>,
    requests: &Sender<Request>,
) -> Option<Vec<Completed>> {
    match select(pin!(answered.recv()), pin!(requests.closed())).await {
        Either::Left((completed, _)) => completed.ok(),
        Either::Right(_) => answered.try_recv().ok(),
    }
}

/// Answers what the other shard has not answered, and will not.
fn fail_all(
    queue: &WeakQueue,
    held: &RefCell<VecDeque<(u64, RemoteReservation)>>,
    why: &AppendError,
) {
    let unanswered = held.take();
    let Some(queue) = queue.upgrade() else { return };
    for (token, _room) in unanswered {
        queue.push(Completed { token, outcome: Err(why.clone()) });
    }
    queue.wake();
}

/// A cursor that runs on another core.
#[derive(Debug)]
pub(super) struct RemoteCursor {
    runs: Receiver<Result<RemoteRun, ReadError>>,
    pub(super) position: forebay_format::Offset,
    pub(super) epoch: Option<forebay_format::Epoch>,
    pub(super) earliest: forebay_format::Offset,
    pub(super) committed: forebay_format::Offset,
    pub(super) at_end: bool,
}

impl RemoteCursor {
    pub(super) async fn next(&mut self) -> Result<Run, ReadError> {
        let run = self.runs.recv().await.unwrap_or(Err(ReadError::Stopping))?;
        Ok(self.take(run))
    }

    pub(super) fn try_next(&mut self) -> Result<Option<Run>, ReadError> {
        match self.runs.try_recv() {
            Ok(run) => run.map(|run| Some(self.take(run))),
            Err(async_channel::TryRecvError::Empty) => Ok(None),
            Err(async_channel::TryRecvError::Closed) => Err(ReadError::Stopping),
        }
    }

    fn take(&mut self, run: RemoteRun) -> Run {
        self.position = run.next_offset;
        self.epoch = run.epoch;
        self.committed = run.committed;
        self.earliest = run.earliest;
        self.at_end = run.at_end;
        let bytes = run.bytes.len();
        Run {
            slices: smallvec::smallvec![run.bytes],
            bytes,
            first_offset: run.first_offset,
            next_offset: run.next_offset,
            committed: run.committed,
            earliest: run.earliest,
        }
    }
}
