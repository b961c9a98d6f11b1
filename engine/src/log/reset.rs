//! Beginning a replica's log anew, from a state that another replica's log had.
//!
//! ```text
//! <partition>.new    built beside: meta, producer table, first segment
//!      │ rename: from here on it is decided
//!      ▼
//! <partition>.reset ──▶ <partition> removed ──▶ renamed to <partition>
//! ```
//!
//! Every step is durable before the next. A start that finds the first folder removes it, and one that
//! finds the second goes on from there.

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use forebay_format::segment::FIRST_BATCH_POSITION;
use forebay_format::{LogState, Offset, PartitionMeta, SnapshotPoint};

use super::ReserveError;
use super::open::header_at;
use super::partition::PartitionLog;
use super::room::FIRST_ALLOCATION_BYTES;
use crate::io::{create_directories, remove_tree, rename_durably, replace_directory, replace_file};
use crate::runtime::run_to_end;
use crate::segment::{ActiveSegment, SegmentPath};

/// What is built.
const NEW: &str = ".new";

/// What is built, and to be taken.
const DECIDED: &str = ".reset";

impl PartitionLog {
    /// Removes everything, and begins where a log of the state `at` ends, with the same replica id and
    /// promise. Durable when the result is there, which is the log as it is then.
    ///
    /// # Errors
    /// Why it is not done. The log is as before, or whoever opens it next finishes.
    pub(crate) fn begin_anew(
        self: &Rc<Self>,
        at: LogState,
    ) -> impl Future<Output = Result<LogState, ReserveError>> + use<> {
        let log = Rc::clone(self);
        run_to_end(async move {
            let _turn = log.meta_writer.turn.take().await;
            log.come_to_rest().await?;
            let decided = log.decide_reset(&at).await;
            log.rewrite_if(decided).await
        })
    }

    async fn decide_reset(&self, at: &LogState) -> Result<bool, ReserveError> {
        let meta = self.with_open(|open| PartitionMeta {
            log_start: open.meta.log_start.max(at.end),
            ..open.meta
        });
        let meta = meta.map_err(super::partition::NotOpen::refusal)?;
        let built = async {
            self.build_beside(at, meta).await?;
            rename_durably(self.beside(NEW), self.beside(DECIDED)).await
        };
        built.await.map(|()| true).map_err(|error| self.refused(&error))
    }

    /// Makes the folder of a log that begins with `at`. On stable storage on return.
    async fn build_beside(&self, at: &LogState, meta: PartitionMeta) -> io::Result<()> {
        let path = SegmentPath::new(self.beside(NEW));
        remove_tree(path.directory().to_owned()).await?;
        create_directories(path.directory().to_owned()).await?;
        replace_file(path.meta(), meta.encode().to_vec()).await?;
        let header = header_at(at, self.identity(meta.replica));
        let point = SnapshotPoint { base_offset: at.end, previous_header_crc: at.last_header_crc };
        let producers = (at.end > Offset::ZERO).then(|| at.producers.encode_snapshot(point));
        let spare = self.context.take_spare(FIRST_ALLOCATION_BYTES).await?;
        let interval = self.context.index_interval_bytes;
        let segment = ActiveSegment::rolled(header, spare, producers, interval);
        segment.create(&path, &self.context.pool).await?;
        debug_assert!(segment.allocated_bytes() > FIRST_BATCH_POSITION.get());
        Ok(())
    }

    /// Goes on with what an earlier run has decided, and removes what it has not.
    pub(super) async fn finish_reset(&self) -> io::Result<()> {
        if replace_directory(self.beside(DECIDED), self.path.directory().to_owned()).await? {
            tracing::info!(partition = %self.id, "the log begins anew");
        }
        remove_tree(self.beside(NEW)).await
    }

    /// Removes what a reset may have left. Durable on return.
    pub(super) async fn drop_resets(&self) -> io::Result<()> {
        remove_tree(self.beside(NEW)).await?;
        remove_tree(self.beside(DECIDED)).await
    }

    fn beside(&self, extension: &str) -> PathBuf {
        let mut name = OsString::from(self.path.directory());
        name.push(extension);
        name.into()
    }
}
