//! The log of a replica, for whoever drives it: opened, appended to, cut and shown to readers by order.
//!
//! ```text
//!                                  Sequencer: propose, durable, ended
//!  driver ◀──────────────────────────────────────────────────────────── PartitionLog
//!     └──── ReplicaLog: open, append, cut, reset, persist_meta, … ─────────▶
//! ```
//!
//! What an answer waits for goes on when its future is dropped.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use forebay_format::{LogState, Offset, PartitionMeta, Position};

use super::open::{OpenError, state_before};
use super::partition::PartitionLog;
use super::resume::start_point;
use super::stored::StoredReader;
use super::{ReadError, ReserveError, Sequencer, StampedBatch};
use crate::io::{create_directories, read_file, replace_file};
use crate::runtime::{run_to_end, spawn};

/// What recovery found, all of it on stable storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The replica's meta, with a new replica id when there was nothing.
    pub meta: PartitionMeta,
    /// What the log adds up to.
    pub state: LogState,
}

/// The log of a replica. Cheap to clone; stays on the executor of the shard that gave it.
#[derive(Debug, Clone)]
pub struct ReplicaLog(pub(crate) Rc<PartitionLog>);

impl ReplicaLog {
    /// Recovers the log and hands it to `sequencer`. From then on clients can append and read; before, they
    /// are told that the partition cannot be opened.
    ///
    /// # Errors
    /// `Corrupt`: it stays out of service until it is set aside. With any other it can be tried again. The
    /// sequencer is not kept.
    ///
    /// # Panics
    /// When the log has a sequencer.
    pub fn open(
        &self,
        sequencer: Rc<dyn Sequencer>,
    ) -> impl Future<Output = Result<Opened, ReserveError>> + use<> {
        let log = Rc::clone(&self.0);
        run_to_end(async move {
            assert!(log.decider.sequencer().is_none(), "a log has one sequencer");
            log.decider.let_open(true);
            let opened = open_durably(&log).await;
            match opened {
                Ok(_) => drop(log.decider.hand_to(Some(sequencer))),
                Err(_) => log.decider.let_open(false),
            }
            opened
        })
    }

    /// Moves all files of a replica that is not open to `quarantine/<topic>/<partition>.<n>` in the data
    /// directory; the next `open` begins with nothing. Durable when the result is there, which is the new
    /// place.
    ///
    /// # Errors
    /// It is open; what the system said.
    pub fn set_aside(&self) -> impl Future<Output = Result<PathBuf, ReserveError>> + use<> {
        self.0.set_aside()
    }

    /// Appends batches behind all that was appended before this call. They are in memory when the result is
    /// there: that is the time to let more come. `Sequencer::durable` says when they are on stable storage.
    /// Waits for memory and for disk space, however long that takes.
    ///
    /// # Errors
    /// The log is out of service, and the rest was not appended.
    ///
    /// # Panics
    /// When a batch does not continue the log.
    pub fn append(
        &self,
        batches: Vec<StampedBatch>,
    ) -> impl Future<Output = Result<(), ReserveError>> + use<> {
        self.0.append_stamped(batches)
    }

    /// Replaces the meta. Durable when the result is there. Of several the last one counts, and is written
    /// for all. `pending_cut` is not looked at; the log start is that of the log if that is higher.
    ///
    /// # Errors
    /// The log is out of service.
    ///
    /// # Panics
    /// When the replica id is not the log's.
    pub fn persist_meta(
        &self,
        meta: PartitionMeta,
    ) -> impl Future<Output = Result<(), ReserveError>> + use<> {
        self.0.persist_meta(meta)
    }

    /// Keeps this beside the log, in the place of what was kept before. The engine does not look at it.
    /// Durable when the result is there.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn keep_note(&self, note: Vec<u8>) -> impl Future<Output = io::Result<()>> + use<> {
        replace_file(self.0.path.note(), note)
    }

    /// What was kept last; `None` when nothing was.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn note(&self) -> impl Future<Output = io::Result<Option<Vec<u8>>>> + use<> {
        read_file(self.0.path.note())
    }

    /// Lets readers see what lies below `committed`, as far as it is durable and no further. Until the first
    /// call that is what the meta says. A cut or a reset below lowers the mark.
    pub fn set_committed(&self, committed: Offset) {
        self.0.committed.set(Some(committed));
        self.0.if_open(|open| {
            if let Some(mark) = &mut open.committed {
                mark.tell(committed);
            }
        });
        self.0.progress.raise();
    }

    /// Removes every batch whose end position is above `to`. Durable when the result is there, which is the
    /// log that is left. Appends wait meanwhile.
    ///
    /// # Errors
    /// Why it is not done. It may be recorded: the next `open`, or another call, finishes it.
    pub fn cut(
        &self,
        to: Position,
    ) -> impl Future<Output = Result<LogState, ReserveError>> + use<> {
        self.0.cut_back(to)
    }

    /// Removes everything, and begins with `at`. Durable when the result is there. Replica id, promise and
    /// state version stay; the meta's log start is the end of `at` if that is higher.
    ///
    /// # Errors
    /// Why it is not done. It may be decided: the next `open`, or another call, finishes it.
    pub fn reset(
        &self,
        at: LogState,
    ) -> impl Future<Output = Result<LogState, ReserveError>> + use<> {
        self.0.begin_anew(at)
    }

    /// Has whole segments below `log_start` removed, in the background.
    ///
    /// # Panics
    /// When the durable meta does not say so yet.
    pub fn trim(&self, log_start: Offset) {
        self.0.if_open(|open| {
            assert!(
                log_start <= open.meta.log_start,
                "log start is durable before it is trimmed to"
            );
        });
        let log = Rc::clone(&self.0);
        spawn(async move { log.apply_retention().await });
    }

    /// Up to where the settings for size and age would have whole segments removed, below what is committed;
    /// `None` when there is nothing to remove.
    pub async fn retention_wants(&self) -> Option<Offset> {
        self.0.retention_wants().await
    }

    /// The state of a log that ends where the last segment begins that begins at or below the log start:
    /// what a replica begins with that is too far behind.
    ///
    /// # Errors
    /// Why that cannot be read.
    pub async fn start_state(&self) -> Result<LogState, ReadError> {
        let header = self.0.header_at_log_start().await?;
        let producers = match self.0.read_producers(start_point(&header)).await {
            Ok(producers) => producers,
            Err(OpenError::Io(error)) => return Err(self.0.refused(&error).into()),
            Err(OpenError::Refused(message)) => return Err(ReadError::Unavailable { message }),
            Err(OpenError::Corrupt(corruption)) => return Err(ReadError::Corrupt(corruption)),
        };
        state_before(&header, producers).ok_or_else(|| {
            let base = header.base_offset;
            let message = format!("the producer table at {base} is missing or damaged");
            ReadError::Unavailable { message }
        })
    }

    /// A reader of the log as it is stored. One for each replica that is fed, so that it reads ahead.
    pub fn reader(&self) -> StoredReader {
        StoredReader::new(Rc::clone(&self.0))
    }
}

/// Opens the log, and makes its directory and meta if there are none.
async fn open_durably(log: &Rc<PartitionLog>) -> Result<Opened, ReserveError> {
    loop {
        log.ensure_open().await?;
        let opened = log.with_open(|open| {
            let opened = Opened { meta: open.meta, state: open.log_state() };
            (opened, open.on_disk)
        });
        let Ok((opened, on_disk)) = opened else { continue };
        if !on_disk {
            let made = async {
                create_directories(log.path.directory().to_owned()).await?;
                replace_file(log.path.meta(), opened.meta.encode().to_vec()).await
            };
            made.await.map_err(|error| log.refused(&error))?;
        }
        return Ok(opened);
    }
}
