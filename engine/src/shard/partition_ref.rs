//! A partition to append to and read from, wherever it lives.

use std::rc::Rc;

use forebay_format::{Offset, PartitionId};

use super::remote::{Peer, RemoteCursor, RemoteReservation};
use crate::log::{
    AppendError, Completion, Cursor, CursorStart, IncomingBatch, PartitionLog, PartitionStatus,
    ReadError, ReserveError, Reserved, Run,
};

/// Bytes of one run that is read on another core.
const REMOTE_RUN_BYTES: usize = 512 << 10;

/// A partition of this node. Cheap to clone; stays on the executor of the shard that gave it.
#[derive(Debug, Clone)]
pub struct PartitionRef(pub(super) Place);

#[derive(Debug, Clone)]
pub(super) enum Place {
    /// Of this shard.
    Local(Rc<PartitionLog>),
    /// Of another one.
    Remote { id: PartitionId, peer: Rc<Peer> },
    /// Of this shard by its id, but not there.
    Unknown,
}

/// Room for one append. Dropping it gives the room back.
#[derive(Debug)]
pub struct Reservation(Room);

#[derive(Debug)]
enum Room {
    Local(Reserved),
    Remote(RemoteReservation),
}

impl PartitionRef {
    /// Whether the partition is here, or may be on another shard.
    pub fn may_be_here(&self) -> bool {
        !matches!(self.0, Place::Unknown)
    }

    /// Whether the partition belongs to this shard, so that nothing crosses cores.
    pub fn is_local(&self) -> bool {
        matches!(self.0, Place::Local(_))
    }

    /// Room for a batch of `bytes`, header included, if it is there without waiting.
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        match &self.0 {
            Place::Local(log) => log.try_reserve(bytes).map(Room::Local).map(Reservation),
            Place::Remote { peer, .. } => {
                peer.try_reserve(bytes).map(Room::Remote).map(Reservation)
            }
            Place::Unknown => None,
        }
    }

    /// Room for a batch of `bytes`, header included. Waits for memory and disk space: this is what
    /// holds a fast producer back. May be dropped, or left unpolled, at any time.
    ///
    /// # Errors
    /// Why there will be none. For a partition of another shard that is told by the append instead.
    pub async fn reserve(&self, bytes: usize) -> Result<Reservation, ReserveError> {
        match &self.0 {
            Place::Local(log) => log.reserve(bytes).await.map(Room::Local).map(Reservation),
            Place::Remote { peer, .. } => Ok(Reservation(Room::Remote(peer.reserve(bytes).await))),
            Place::Unknown => Err(ReserveError::Unknown),
        }
    }

    /// Appends a batch for which at least its length was reserved. Whatever becomes of it, durable
    /// or refused, is told through `done`; answers keep the order of the appends among those that
    /// wait for the same. The append goes on when the caller goes away.
    ///
    /// # Panics
    /// When the reservation is of another partition, or for fewer bytes.
    pub fn append(&self, room: Reservation, batch: IncomingBatch, done: Completion) {
        match (&self.0, room.0) {
            (Place::Local(log), Room::Local(reserved)) => log.append(reserved, &batch, done),
            (Place::Remote { id, peer }, Room::Remote(reserved)) => {
                peer.append(*id, reserved, batch, done);
            }
            (Place::Unknown, _) => done.answer(Err(AppendError::Refused(ReserveError::Unknown))),
            _ => unreachable!("a reservation belongs to the partition that gave it"),
        }
    }

    /// What can be read, and what it takes up. Opens the log. May be dropped at any time.
    ///
    /// # Errors
    /// Why the log cannot be opened.
    pub async fn status(&self) -> Result<PartitionStatus, ReserveError> {
        match &self.0 {
            Place::Local(log) => log.status().await,
            Place::Remote { id, peer } => peer.status(*id).await,
            Place::Unknown => Err(ReserveError::Unknown),
        }
    }

    /// A reader that begins at `start`. May be dropped, or left unpolled, at any time.
    ///
    /// # Errors
    /// `OutOfRange` with the range; why the log cannot be opened or read.
    pub async fn cursor(&self, start: CursorStart) -> Result<PartitionCursor, ReadError> {
        match &self.0 {
            Place::Local(log) => log.cursor(start).await.map(PartitionCursor::local),
            Place::Remote { id, peer } => {
                let remote = peer.cursor(*id, start, REMOTE_RUN_BYTES).await?;
                Ok(PartitionCursor(Reader::Remote(remote)))
            }
            Place::Unknown => Err(ReadError::Unknown),
        }
    }
}

/// A place in a partition that moves forward.
#[derive(Debug)]
pub struct PartitionCursor(Reader);

#[derive(Debug)]
enum Reader {
    Local(Box<Cursor>),
    Remote(RemoteCursor),
}

impl PartitionCursor {
    fn local(cursor: Cursor) -> Self {
        Self(Reader::Local(Box::new(cursor)))
    }

    /// Offset of the next record.
    pub fn position(&self) -> Offset {
        match &self.0 {
            Reader::Local(cursor) => cursor.position(),
            Reader::Remote(cursor) => cursor.position,
        }
    }

    /// Where another reader begins that goes on from here: in a replica's log with what was read, so that it
    /// does not go on in a log that has lost it.
    pub fn place(&self) -> CursorStart {
        let epoch = match &self.0 {
            Reader::Local(cursor) => cursor.epoch(),
            Reader::Remote(cursor) => cursor.epoch,
        };
        CursorStart::behind(epoch, self.position())
    }

    /// Whether there is nothing more to read now.
    pub fn at_end(&self) -> bool {
        match &self.0 {
            Reader::Local(cursor) => cursor.at_end(),
            Reader::Remote(cursor) => cursor.at_end,
        }
    }

    /// First offset and committed end of the log, as last heard.
    pub fn marks(&self) -> Option<(Offset, Offset)> {
        match &self.0 {
            Reader::Local(cursor) => cursor.marks(),
            Reader::Remote(cursor) => Some((cursor.earliest, cursor.committed)),
        }
    }

    /// The next whole batches: as many as fit into `max_bytes`, and one at least. Waits at the
    /// committed end until there is more. From another shard, runs have a size of their own.
    ///
    /// # Errors
    /// `OutOfRange` when retention overtook the cursor; `Ahead` and `Lost` where the log was cut below it; damage;
    /// the shard stops.
    pub async fn next(&mut self, max_bytes: usize) -> Result<Run, ReadError> {
        match &mut self.0 {
            Reader::Local(cursor) => cursor.next(max_bytes).await,
            Reader::Remote(cursor) => cursor.next().await,
        }
    }

    /// The next whole batches, or `None` at the end.
    ///
    /// # Errors
    /// As [`PartitionCursor::next`].
    pub async fn try_next(&mut self, max_bytes: usize) -> Result<Option<Run>, ReadError> {
        match &mut self.0 {
            Reader::Local(cursor) => cursor.try_next(max_bytes).await,
            Reader::Remote(cursor) => cursor.try_next(),
        }
    }
}
