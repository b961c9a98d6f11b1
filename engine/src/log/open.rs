//! Opening a log: lists what is there, applies the decision table, and leaves an [`OpenLog`].

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use forebay_format::names::SegmentFile;
use forebay_format::segment::FIRST_BATCH_POSITION;
use forebay_format::{
    CleanEntry, FileError, FilePosition, LogState, Offset, PartitionMeta, ProducerTable, ReplicaId,
    SegmentHeader, SegmentIdentity, SegmentSalt,
};

use super::acks::WaitingAcks;
use super::attempts::Attempt;
use super::cache::TailCache;
use super::committed::CommittedMark;
use super::partition::{OpenLog, PartitionLog, ReadableEnd, Running, State, Unflushed};
use super::recovery::trusts;
use super::sequencer::Decider;
use super::tail::TailBuffers;
use super::{Corruption, ReserveError};
use crate::clock::Clock;
use crate::io::{BLOCK_BYTES, DirectFile, block_floor, is_lost, lost};
use crate::metrics::Counted;
use crate::runtime::spawn;
use crate::segment::{ActiveSegment, SealedSegment, SegmentError, read_header};

/// Why a log could not be opened.
pub(super) enum OpenError {
    Io(io::Error),
    Corrupt(Corruption),
    Refused(String),
}

impl OpenError {
    /// Damage that concerns a whole file.
    pub(super) fn corrupt(file: PathBuf, offset: Offset, what: &str) -> Self {
        let position = FilePosition::ZERO;
        Self::Corrupt(Corruption { file, position, offset, what: what.to_owned() })
    }

    /// What could not be decoded. Bytes of a later release are no damage.
    pub(super) fn of_file(file: PathBuf, error: &FileError) -> Self {
        if matches!(error, FileError::Version { .. }) {
            return Self::Refused(format!("{}: {error}", file.display()));
        }
        Self::corrupt(file, Offset::ZERO, &error.to_string())
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<SegmentError> for OpenError {
    fn from(error: SegmentError) -> Self {
        match error {
            SegmentError::Io { path, error } => {
                let named = io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                Self::Io(if is_lost(&error) { lost(named) } else { named })
            }
            SegmentError::Foreign { .. } => Self::Refused(error.to_string()),
            SegmentError::Header { path, error } => Self::of_file(path, &error),
            SegmentError::Corrupt { path, position, offset, what } => {
                Self::Corrupt(Corruption { file: path, position, offset, what })
            }
        }
    }
}

/// The active segment's file as it was found.
pub(super) struct Found {
    pub(super) file: DirectFile,
    pub(super) header: SegmentHeader,
    pub(super) file_bytes: u64,
}

/// The tail of a log as it was found, or recovered.
pub(super) struct Recovered {
    pub(super) segment: ActiveSegment,
    pub(super) end: FilePosition,
    pub(super) state: LogState,
    /// The clean entry that was trusted.
    pub(super) resumed: Option<CleanEntry>,
}

impl PartitionLog {
    /// Begins to open a closed log, in a task of its own. Afterwards it is open or out of service,
    /// or closed as before when the system refused something, and everybody who waits is told.
    pub(super) fn start_opening(self: &Rc<Self>) -> Attempt {
        let clean = match self.state.replace(State::Opening) {
            State::Closed(clean) => clean,
            other => {
                self.state.replace(other);
                return self.opening.latest();
            }
        };
        let attempt = self.opening.begin();
        let log = Rc::clone(self);
        spawn(async move {
            let opened = log.open(clean).await;
            log.opening.end(opened);
            log.progress.raise();
        });
        attempt
    }

    async fn open(&self, clean: Option<CleanEntry>) -> Result<(), ReserveError> {
        let loaded = self.load(clean.as_ref()).await;
        if !matches!(&*self.state.borrow(), State::Opening) {
            // A reader that still held a file of it found damage meanwhile.
            return Ok(());
        }
        match loaded {
            Ok(open) => {
                self.state.replace(State::Open(Box::new(open)));
                Ok(())
            }
            Err(OpenError::Io(error)) if is_lost(&error) => {
                self.poison(&error);
                Ok(())
            }
            Err(OpenError::Io(error)) => {
                tracing::error!(partition = %self.id, %error, "the log could not be opened");
                // Nothing was appended, so what the clean stop said still holds.
                self.state.replace(State::Closed(clean));
                Err(ReserveError::Unavailable { message: error.to_string() })
            }
            Err(OpenError::Refused(message)) => {
                self.quarantine(&ReserveError::Unavailable { message });
                Ok(())
            }
            Err(OpenError::Corrupt(corruption)) => {
                self.quarantine(&ReserveError::Corrupt(corruption));
                Ok(())
            }
        }
    }

    async fn load(&self, clean: Option<&CleanEntry>) -> Result<OpenLog, OpenError> {
        if self.decider.is_replica() {
            self.finish_reset().await?;
        }
        let listing = self.list().await?;
        if !listing.has_meta && listing.logs.is_empty() {
            return match clean {
                Some(entry) => Err(OpenError::corrupt(
                    self.path.meta(),
                    entry.end_offset,
                    "the last clean stop left a log here; meta and segments are gone",
                )),
                None => Ok(self.fresh(PartitionMeta::new(ReplicaId::random()))),
            };
        }
        let mut meta = self.read_meta(&listing).await?;
        let identity = self.identity(meta.replica);
        if let Some(cut) = meta.pending_cut {
            self.finish_cut(&cut, &identity, &mut meta).await?;
            return Box::pin(self.load(clean)).await;
        }
        let entry = clean.filter(|entry| entry.replica == meta.replica);
        let Some(&(active, file_bytes)) = listing.logs.last() else {
            if let Some(entry) = entry {
                let path = self.path.file(SegmentFile::Log, entry.active_segment);
                let what = "the last clean stop left a segment here";
                return Err(OpenError::corrupt(path, entry.active_segment, what));
            }
            if meta.log_start > Offset::ZERO {
                let what = "there is no segment, but the log does not start at 0";
                return Err(OpenError::corrupt(self.path.meta(), meta.log_start, what));
            }
            return Ok(self.fresh(meta));
        };
        let file = DirectFile::open(self.path.file(SegmentFile::Log, active)).await?;
        let header = read_header(&file, &identity, active).await?;
        let found = Found { file, header, file_bytes };
        if let Some(entry) = entry {
            self.check_active(entry, &found)?;
        }
        let mut logs = listing.logs;
        self.finish_retention(&mut logs, meta.log_start, &found.header.epochs).await?;
        let sealed: VecDeque<_> = logs
            .windows(2)
            .map(|pair| Rc::new(SealedSegment::new(pair[0].0, pair[1].0, pair[0].1)))
            .collect();
        let resumed = match entry.filter(|entry| trusts(entry, &meta, &found.header, file_bytes)) {
            Some(entry) => self.resume(entry, &found).await?,
            None => None,
        };
        let recovered = match resumed {
            Some(recovered) => recovered,
            None => self.recover(&found, entry, &mut meta).await?,
        };
        let end = recovered.state.end;
        self.drop_stale_producers(&listing.producers, &logs, end).await?;
        self.assemble(meta, sealed, recovered).await
    }

    /// Whether the active segment is the one that a clean stop left: all of it was synced then.
    fn check_active(&self, entry: &CleanEntry, found: &Found) -> Result<(), OpenError> {
        let header = &found.header;
        if (entry.active_segment, entry.salt) == (header.base_offset, header.salt) {
            return Ok(());
        }
        let path = self.path.file(SegmentFile::Log, entry.active_segment);
        let what = format!(
            "the last clean stop left the log's last segment here, with salt {}; found is the one \
             at {} with salt {}",
            entry.salt.get(),
            header.base_offset,
            header.salt.get()
        );
        Err(OpenError::corrupt(path, entry.active_segment, &what))
    }

    pub(super) fn identity(&self, replica: ReplicaId) -> SegmentIdentity {
        SegmentIdentity { cluster: self.context.cluster, partition: self.id, replica }
    }

    /// An empty log with nothing on disk but, perhaps, its meta.
    fn fresh(&self, meta: PartitionMeta) -> OpenLog {
        let state = LogState::default();
        let header = header_at(&state, self.identity(meta.replica));
        let segment = ActiveSegment::absent(header, self.context.index_interval_bytes);
        let recovered = Recovered { segment, end: FIRST_BATCH_POSITION, state, resumed: None };
        self.open_log(meta, VecDeque::new(), recovered, &[])
    }

    async fn assemble(
        &self,
        meta: PartitionMeta,
        sealed: VecDeque<Rc<SealedSegment>>,
        recovered: Recovered,
    ) -> Result<OpenLog, OpenError> {
        let found = recovered.state.position().epoch;
        if let Decider::Alone { epoch: mine } = self.decider
            && found > mine
        {
            return Err(OpenError::Refused(format!(
                "{}: the log was written in epoch {found}, this node leads in epoch {mine}",
                self.path.directory().display()
            )));
        }
        let end = recovered.end.get();
        let mut partial = Vec::new();
        if let Some(file) = recovered.segment.file()
            && end > block_floor(end)
        {
            let first = block_floor(end);
            let block = file.read(first..first + BLOCK_BYTES as u64).await?;
            let keep = usize::try_from(end - first).unwrap_or(0);
            let kept = block.as_bytes().get(..keep);
            partial = kept.ok_or(io::ErrorKind::UnexpectedEof).map_err(io::Error::from)?.to_vec();
        }
        Ok(self.open_log(meta, sealed, recovered, &partial))
    }

    fn open_log(
        &self,
        meta: PartitionMeta,
        sealed: VecDeque<Rc<SealedSegment>>,
        recovered: Recovered,
        partial: &[u8],
    ) -> OpenLog {
        let Recovered { segment, end, state, resumed } = recovered;
        let active = Rc::new(segment);
        let durable = state.position();
        let committed = self.decider.is_replica().then(|| {
            let told = self.committed.get().unwrap_or(meta.committed.max(meta.log_start));
            let told = told.min(durable.end);
            if self.committed.get().is_some() {
                // What is appended behind a cut is not committed because of what was there before.
                self.committed.set(Some(told));
            }
            CommittedMark::new(told)
        });
        OpenLog {
            identity: self.identity(meta.replica),
            meta,
            on_disk: active.file().is_some(),
            sealed,
            rolled: VecDeque::new(),
            tail: TailBuffers::new(self.context.pool.clone(), end.get(), partial),
            state,
            durable,
            committed,
            readable: ReadableEnd { segment: Rc::clone(&active), position: end },
            active,
            synced: end,
            written_acks: WaitingAcks::default(),
            durable_acks: WaitingAcks::default(),
            cache: TailCache::default(),
            spare: None,
            index_interval_bytes: self.context.index_interval_bytes,
            index_full: false,
            reserved_bytes: 0,
            rewriting: false,
            running: Running::default(),
            unflushed: Unflushed::default(),
            resumed,
            last_used: Clock::monotonic(),
            _counted: Counted::new(&self.context.metrics, |metrics| &metrics.open_partitions),
        }
    }
}

/// The header of a segment, new or used again, that goes on where a log of this state ends.
pub(super) fn header_at(state: &LogState, identity: SegmentIdentity) -> SegmentHeader {
    SegmentHeader {
        identity,
        base_offset: state.end,
        salt: SegmentSalt::random(),
        previous_append_time: state.last_append_time,
        previous_header_crc: state.last_header_crc,
        epochs: state.epochs.clone(),
    }
}

/// The state of a log that ends where this segment begins; `None` without the producer table of that
/// place.
pub(super) fn state_before(
    header: &SegmentHeader,
    producers: Option<ProducerTable>,
) -> Option<LogState> {
    Some(LogState {
        log_start: header.base_offset,
        end: header.base_offset,
        epochs: header.epochs.clone(),
        last_header_crc: header.previous_header_crc,
        last_append_time: header.previous_append_time,
        producers: producers?,
    })
}
