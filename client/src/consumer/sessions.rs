//! The streams of a consumer, and which of them reads which partition. It opens, asks in turn and
//! closes; what an item means is decided in `handle`.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use forebay_format::PartitionIndex;

use super::{
    options::Place,
    stream::{ConsumeStream, Item, Requests},
};
use crate::{call::CallEnded, client::Client, connection::Carried};

/// HOST:PORT of a node, and whether that may hand on what it cannot give itself.
pub(super) type Destination = (String, Carried);

/// See the module.
#[derive(Default)]
pub(super) struct Sessions {
    /// Invariant: each has a partition, and no two have the same.
    all: Vec<Session>,
    /// Which one is asked first: they take turns.
    turn: usize,
}

/// A stream, or one that is being opened.
struct Session {
    to: Destination,
    partitions: Vec<PartitionIndex>,
    requests: Requests,
    phase: Phase,
}

type Opening = Pin<Box<dyn Future<Output = Result<ConsumeStream, CallEnded>> + Send>>;

enum Phase {
    Opening(Opening),
    Open(ConsumeStream),
}

/// What the streams have to tell.
pub(super) enum Happened {
    /// A partition got this from the stream that reads it.
    Item(Item),
    /// A stream is over; these were read by it.
    Ended(Vec<PartitionIndex>, CallEnded),
}

impl Sessions {
    /// Reads partitions from this address, on a stream of their own.
    pub(super) fn open(
        &mut self,
        client: Client,
        to: Destination,
        topic: String,
        starts: &[(PartitionIndex, Place)],
    ) {
        let requests = Requests::new(topic, starts);
        let opening = ConsumeStream::open(client, to.clone(), requests.body());
        self.all.push(Session {
            to,
            partitions: starts.iter().map(|(partition, _)| *partition).collect(),
            requests,
            phase: Phase::Opening(Box::pin(opening)),
        });
    }

    /// Whether there is a stream to there, which partitions can join.
    pub(super) fn has(&self, to: &Destination) -> bool {
        self.all.iter().any(|one| one.to == *to)
    }

    /// Lets the stream to there read one more partition. False when there is none.
    pub(super) fn join(
        &mut self,
        to: &Destination,
        (partition, start): (PartitionIndex, Place),
        seek_id: u64,
    ) -> bool {
        let Some(session) = self.all.iter_mut().find(|one| one.to == *to) else {
            return false;
        };
        session.partitions.push(partition);
        session.requests.seek(partition, start, seek_id);
        true
    }

    /// Goes on somewhere else in a partition. False when no stream reads it.
    pub(super) fn seek(&mut self, partition: PartitionIndex, start: Place, seek_id: u64) -> bool {
        let session = self.all.iter().find(|one| one.partitions.contains(&partition));
        if let Some(session) = session {
            session.requests.seek(partition, start, seek_id);
        }
        session.is_some()
    }

    /// The server has stopped reading this partition. A stream that reads nothing else is closed.
    pub(super) fn leave(&mut self, partition: PartitionIndex) {
        for session in &mut self.all {
            session.partitions.retain(|one| *one != partition);
        }
        self.all.retain(|one| !one.partitions.is_empty());
    }

    /// Closes the stream that reads this partition, and returns the others that it read: a stream
    /// cannot be told to send one partition no longer.
    pub(super) fn close(&mut self, partition: PartitionIndex) -> Vec<PartitionIndex> {
        let Some(at) = self.all.iter().position(|one| one.partitions.contains(&partition)) else {
            return Vec::new();
        };
        let mut others = self.all.swap_remove(at).partitions;
        others.retain(|one| *one != partition);
        others
    }

    /// What happens next on any stream.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        for step in 0..self.all.len() {
            let at = (self.turn + step) % self.all.len();
            match self.all[at].poll_item(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(item)) => {
                    self.turn = at;
                    return Poll::Ready(Happened::Item(item));
                }
                Poll::Ready(Err(ended)) => {
                    let Session { partitions, .. } = self.all.swap_remove(at);
                    return Poll::Ready(Happened::Ended(partitions, ended));
                }
            }
        }
        // Nothing is ready: who comes next starts the next round.
        self.turn = self.turn.wrapping_add(1) % self.all.len().max(1);
        Poll::Pending
    }
}

impl Session {
    /// The next item of a partition that this stream is to read.
    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Result<Item, CallEnded>> {
        loop {
            match &mut self.phase {
                Phase::Open(stream) => match stream.poll_item(cx) {
                    // Of a partition that has left.
                    Poll::Ready(Ok(item)) if !self.partitions.contains(&item.partition()) => {}
                    item => return item,
                },
                Phase::Opening(opening) => match opening.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(stream)) => self.phase = Phase::Open(stream),
                    Poll::Ready(Err(ended)) => return Poll::Ready(Err(ended)),
                },
            }
        }
    }
}
