//! Opening a log: lists what is there, applies the decision table, and leaves an [`OpenLog`].

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use forebay_format::index::Index;
use forebay_format::names::{META_FILE, SegmentFile, parse_segment_file_name};
use forebay_format::partition_meta::PendingCut;
use forebay_format::segment::FIRST_BATCH_POSITION;
use forebay_format::{
    CleanEntry, Epoch, EpochStart, EpochTable, FilePosition, Offset, PartitionMeta, ProducerTable,
    ReplicaId, SegmentHeader, SegmentIdentity, SegmentSalt, SnapshotPoint, TimestampMs,
    decode_snapshot,
};

use super::acks::WaitingAcks;
use super::attempts::Attempt;
use super::cache::TailCache;
use super::partition::{OpenLog, PartitionLog, ReadableEnd, Running, State, Unflushed};
use super::recovery::{TailDecision, decide_tail, trusts};
use super::tail::TailBuffers;
use super::{Corruption, ReserveError};
use crate::clock::Clock;
use crate::io::{
    BLOCK_BYTES, DirectFile, block_ceil, block_floor, create_directories, file_names, read_file,
    remove_file, replace_file, sync_directory,
};
use crate::metrics::Counted;
use crate::runtime::spawn;
use crate::segment::{
    ActiveIndex, ActiveSegment, Chain, SealedSegment, SegmentError, read_header, scan, write_zeros,
};

/// Why a log could not be opened.
enum OpenError {
    Io(io::Error),
    Corrupt(Corruption),
    Refused(String),
}

impl OpenError {
    /// Damage that concerns a whole file.
    fn corrupt(file: PathBuf, offset: Offset, what: &str) -> Self {
        let position = FilePosition::ZERO;
        Self::Corrupt(Corruption { file, position, offset, what: what.to_owned() })
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
                Self::Io(io::Error::new(error.kind(), format!("{}: {error}", path.display())))
            }
            SegmentError::Foreign { .. } => Self::Refused(error.to_string()),
            SegmentError::Header { path, error } => Self::Corrupt(Corruption {
                file: path,
                position: FilePosition::ZERO,
                offset: Offset::ZERO,
                what: error.to_string(),
            }),
            SegmentError::Corrupt { path, position, offset, what } => {
                Self::Corrupt(Corruption { file: path, position, offset, what })
            }
        }
    }
}

/// What a partition's directory holds.
struct Listing {
    /// Base offsets and file lengths in bytes, in order.
    logs: Vec<(Offset, u64)>,
    producers: Vec<Offset>,
    has_meta: bool,
}

/// The tail of a log as it was found, or recovered.
struct Recovered {
    segment: ActiveSegment,
    end: FilePosition,
    chain: Chain,
    epochs: EpochTable,
    producers: ProducerTable,
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
            Err(OpenError::Io(error)) => {
                tracing::error!(partition = %self.id, %error, "the log could not be opened");
                // Nothing was appended, so what the clean stop said still holds.
                self.state.replace(State::Closed(clean));
                Err(ReserveError::Unavailable { message: error.to_string() })
            }
            Err(OpenError::Refused(message)) => {
                self.quarantine(ReserveError::Unavailable { message });
                Ok(())
            }
            Err(OpenError::Corrupt(corruption)) => {
                self.quarantine(ReserveError::Corrupt(corruption));
                Ok(())
            }
        }
    }

    async fn load(&self, clean: Option<&CleanEntry>) -> Result<OpenLog, OpenError> {
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
        let mut logs = listing.logs;
        self.finish_retention(&mut logs, meta.log_start).await?;
        let Some(&(active, active_bytes)) = logs.last() else {
            if meta.log_start > Offset::ZERO {
                let what = "there is no segment, but the log does not start at 0";
                return Err(OpenError::corrupt(self.path.meta(), meta.log_start, what));
            }
            return Ok(self.fresh(meta));
        };
        let sealed: VecDeque<_> = logs
            .windows(2)
            .map(|pair| Rc::new(SealedSegment::new(pair[0].0, pair[1].0, pair[0].1)))
            .collect();
        let file_path = self.path.file(SegmentFile::Log, active);
        let file = DirectFile::open(file_path).await?;
        let header = read_header(&file, &identity, active).await?;
        let trusted = clean.filter(|entry| trusts(entry, &meta, &header, active_bytes));
        let trusted = match trusted {
            Some(entry) => self.resume(entry, &file, &header, active_bytes).await?,
            None => None,
        };
        let recovered = match trusted {
            Some(recovered) => recovered,
            None => self.recover(&file, &header, active_bytes, &mut meta).await?,
        };
        self.drop_stale_producers(&listing.producers, &logs).await?;
        self.assemble(meta, sealed, recovered).await
    }

    fn identity(&self, replica: ReplicaId) -> SegmentIdentity {
        SegmentIdentity { cluster: self.context.cluster, partition: self.id, replica }
    }

    async fn list(&self) -> io::Result<Listing> {
        let names = file_names(self.path.directory().to_owned()).await?.unwrap_or_default();
        let mut listing = Listing { logs: Vec::new(), producers: Vec::new(), has_meta: false };
        for (name, bytes) in names {
            match parse_segment_file_name(&name) {
                Some((offset, SegmentFile::Log)) => listing.logs.push((offset, bytes)),
                Some((offset, SegmentFile::Producers)) => listing.producers.push(offset),
                Some((_, SegmentFile::Index)) => {}
                None => listing.has_meta |= name == META_FILE,
            }
        }
        listing.logs.sort_unstable();
        Ok(listing)
    }

    async fn read_meta(&self, listing: &Listing) -> Result<PartitionMeta, OpenError> {
        let path = self.path.meta();
        let Some(bytes) = read_file(path.clone()).await? else {
            let first = listing.logs.first().map_or(Offset::ZERO, |(base, _)| *base);
            let what = "meta is missing, so this replica cannot know what it promised";
            return Err(OpenError::corrupt(path, first, what));
        };
        PartitionMeta::decode(&bytes)
            .map_err(|error| OpenError::corrupt(path, Offset::ZERO, &error.to_string()))
    }

    /// Removes segments that lie below the log start: retention recorded it, and then died.
    async fn finish_retention(
        &self,
        logs: &mut Vec<(Offset, u64)>,
        log_start: Offset,
    ) -> Result<(), OpenError> {
        while let [(base, bytes), (next, _), ..] = logs[..]
            && next <= log_start
        {
            self.remove_segment_files(base, bytes, false).await?;
            logs.remove(0);
        }
        match logs.first() {
            Some(&(base, _)) if base > log_start => {
                let path = self.path.file(SegmentFile::Log, base);
                let what = format!("the log starts at {log_start}, its first segment is missing");
                Err(OpenError::corrupt(path, log_start, &what))
            }
            _ => Ok(()),
        }
    }

    /// An empty log with nothing on disk but, perhaps, its meta.
    fn fresh(&self, meta: PartitionMeta) -> OpenLog {
        let header = SegmentHeader {
            identity: self.identity(meta.replica),
            base_offset: Offset::ZERO,
            salt: SegmentSalt::random(),
            previous_append_time: TimestampMs::MIN,
            previous_header_crc: 0,
            epochs: EpochTable::new(),
        };
        let segment = ActiveSegment::absent(header.clone(), self.context.index_interval_bytes);
        let recovered = Recovered {
            chain: Chain::before(&header),
            segment,
            end: FIRST_BATCH_POSITION,
            epochs: EpochTable::new(),
            producers: ProducerTable::new(),
        };
        self.open_log(meta, VecDeque::new(), recovered, &[])
    }

    /// Makes directory, meta and first segment. All of it is on stable storage on return.
    pub(super) async fn create_on_disk(&self, bytes: u64) -> io::Result<()> {
        let Ok((meta, header)) = self.with_open(|open| (open.meta, open.active.header().clone()))
        else {
            return Ok(());
        };
        create_directories(self.path.directory().to_owned()).await?;
        replace_file(self.path.meta(), meta.encode().to_vec()).await?;
        self.context.check_disk_reserve(bytes).await?;
        let spare = self.context.spares.take(bytes).await?;
        let interval = self.context.index_interval_bytes;
        let segment = ActiveSegment::rolled(header, spare, None, interval);
        segment.create(&self.path, &self.context.pool).await?;
        let segment = Rc::new(segment);
        self.if_open(|open| {
            open.readable.segment = Rc::clone(&segment);
            open.active = segment;
            open.on_disk = true;
        });
        Ok(())
    }

    /// Takes the clean entry's word; `None` when the files that go with it are not usable.
    async fn resume(
        &self,
        entry: &CleanEntry,
        file: &DirectFile,
        header: &SegmentHeader,
        file_bytes: u64,
    ) -> Result<Option<Recovered>, OpenError> {
        let index_path = self.path.file(SegmentFile::Index, header.base_offset);
        let Some(bytes) = read_file(index_path).await? else { return Ok(None) };
        let Ok(stored) = Index::decode(&bytes) else { return Ok(None) };
        let summary = stored.summary();
        if (summary.salt, summary.end_position) != (entry.salt, entry.end_position) {
            return Ok(None);
        }
        let mut index = ActiveIndex::new(header.base_offset, self.context.index_interval_bytes);
        for at in stored.entries().iter() {
            let time = summary.base_time.saturating_add(i64::from(at.time_delta));
            index.note(header.base_offset + u64::from(at.relative_offset), at.position(), time);
        }
        let mut epochs = header.epochs.clone();
        for &began in &entry.epochs {
            if !epochs.push(began) {
                return Ok(None);
            }
        }
        let point = SnapshotPoint {
            base_offset: entry.end_offset,
            previous_header_crc: entry.last_header_crc,
        };
        let Some(producers) = self.read_producers(point).await? else { return Ok(None) };
        let (file, end) = (file.clone(), entry.end_position);
        Ok(Some(Recovered {
            segment: ActiveSegment::reopened(header.clone(), file, file_bytes, end, index),
            end,
            chain: Chain {
                next_offset: entry.end_offset,
                header_crc: entry.last_header_crc,
                epoch: entry.last_epoch,
                append_time: entry.last_append_time,
            },
            epochs,
            producers,
        }))
    }

    /// The producer table as of `point`. No file: nobody was known then. `None`: unusable.
    async fn read_producers(
        &self,
        point: SnapshotPoint,
    ) -> Result<Option<ProducerTable>, OpenError> {
        let path = self.path.file(SegmentFile::Producers, point.base_offset);
        let Some(bytes) = read_file(path).await? else { return Ok(Some(ProducerTable::new())) };
        let decoded = decode_snapshot(&bytes).ok();
        Ok(decoded.and_then(|(found, table)| (found == point).then_some(table)))
    }

    /// Walks the active segment and does what the decision table says.
    async fn recover(
        &self,
        file: &DirectFile,
        header: &SegmentHeader,
        file_bytes: u64,
        meta: &mut PartitionMeta,
    ) -> Result<Recovered, OpenError> {
        let point = SnapshotPoint {
            base_offset: header.base_offset,
            previous_header_crc: header.previous_header_crc,
        };
        let Some(mut producers) = self.read_producers(point).await? else {
            let path = self.path.file(SegmentFile::Producers, header.base_offset);
            let what = "the producer table at the segment's start is damaged";
            return Err(OpenError::corrupt(path, header.base_offset, what));
        };
        let mut epochs = header.epochs.clone();
        let mut index = ActiveIndex::new(header.base_offset, self.context.index_interval_bytes);
        let from = (FIRST_BATCH_POSITION, Chain::before(header));
        let walk = scan(file, header, from, |batch, position| {
            let leader = &batch.leader;
            // Not added when it is the epoch that goes on.
            let _ = epochs.push(EpochStart { epoch: leader.epoch, start: leader.base_offset });
            if !batch.client.control {
                index.note(leader.base_offset, position, leader.append_time);
                producers.record(&batch.client, leader);
            }
        })
        .await?;
        match decide_tail(&walk) {
            TailDecision::Keep => {}
            TailDecision::Cut { at, wipe_end } => {
                tracing::info!(partition = %self.id, position = %at, offset = %walk.chain.next_offset, "log ends here");
                if wipe_end > at {
                    let offset = walk.chain.next_offset;
                    let cut = PendingCut { segment: header.base_offset, position: at, offset };
                    self.cut(file, &cut, meta).await?;
                }
            }
            TailDecision::Corrupt { position, offset, what } => {
                let file = file.path().to_owned();
                return Err(OpenError::Corrupt(Corruption { file, position, offset, what }));
            }
        }
        // What survived a crash of the process may still be in the drive's cache only.
        file.sync().await?;
        let segment =
            ActiveSegment::reopened(header.clone(), file.clone(), file_bytes, walk.end, index);
        Ok(Recovered { segment, end: walk.end, chain: walk.chain, epochs, producers })
    }

    /// Records a cut, zeroes everything behind it, and forgets the record; each step is on stable
    /// storage before the next.
    async fn cut(
        &self,
        file: &DirectFile,
        cut: &PendingCut,
        meta: &mut PartitionMeta,
    ) -> Result<(), OpenError> {
        meta.pending_cut = Some(*cut);
        replace_file(self.path.meta(), meta.encode().to_vec()).await?;
        self.wipe(file, cut.position).await?;
        meta.pending_cut = None;
        replace_file(self.path.meta(), meta.encode().to_vec()).await?;
        Ok(())
    }

    async fn wipe(&self, file: &DirectFile, from: FilePosition) -> Result<(), OpenError> {
        let from = from.get();
        let (first, end) = (block_floor(from), block_ceil(file.len().await?));
        if from > first {
            let block = file.read(first..first + BLOCK_BYTES as u64).await?;
            let keep = usize::try_from(from - first).unwrap_or(0);
            let mut buffer = self.context.pool.take(BLOCK_BYTES);
            let Some(kept) = block.as_bytes().get(..keep) else {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            };
            buffer.bytes_mut()[..keep].copy_from_slice(kept);
            buffer.bytes_mut()[keep..BLOCK_BYTES].fill(0);
            file.write(&buffer.freeze(BLOCK_BYTES), first).await?;
        }
        write_zeros(file, block_ceil(from)..end, &self.context.pool).await?;
        file.sync().await?;
        Ok(())
    }

    /// Carries out a cut that an earlier run recorded.
    async fn finish_cut(
        &self,
        cut: &PendingCut,
        identity: &SegmentIdentity,
        meta: &mut PartitionMeta,
    ) -> Result<(), OpenError> {
        for (base, _) in self.list().await?.logs {
            if base > cut.segment {
                remove_file(self.path.file(SegmentFile::Log, base)).await?;
            }
        }
        sync_directory(self.path.directory().to_owned()).await?;
        let file = DirectFile::open(self.path.file(SegmentFile::Log, cut.segment)).await?;
        read_header(&file, identity, cut.segment).await?;
        self.wipe(&file, cut.position).await?;
        meta.pending_cut = None;
        replace_file(self.path.meta(), meta.encode().to_vec()).await?;
        Ok(())
    }

    /// Removes producer tables that a clean stop left between segment starts; the log goes on.
    async fn drop_stale_producers(
        &self,
        producers: &[Offset],
        logs: &[(Offset, u64)],
    ) -> io::Result<()> {
        for &offset in producers {
            if !logs.iter().any(|&(base, _)| base == offset) {
                remove_file(self.path.file(SegmentFile::Producers, offset)).await?;
            }
        }
        Ok(())
    }

    async fn assemble(
        &self,
        meta: PartitionMeta,
        sealed: VecDeque<Rc<SealedSegment>>,
        recovered: Recovered,
    ) -> Result<OpenLog, OpenError> {
        if recovered.chain.epoch > self.epoch.get() {
            let (found, mine) = (recovered.chain.epoch, self.epoch.get());
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
        let Recovered { segment, end, chain, epochs, producers } = recovered;
        let active = Rc::new(segment);
        OpenLog {
            identity: self.identity(meta.replica),
            meta,
            on_disk: active.file().is_some(),
            sealed,
            rolled: VecDeque::new(),
            tail: TailBuffers::new(self.context.pool.clone(), end.get(), partial),
            chain,
            epoch_started: chain.epoch == self.epoch.get() && chain.epoch > Epoch::ZERO,
            durable: chain.next_offset,
            readable: ReadableEnd { segment: Rc::clone(&active), position: end },
            active,
            synced: end,
            epochs,
            producers,
            written_acks: WaitingAcks::default(),
            durable_acks: WaitingAcks::default(),
            cache: TailCache::default(),
            spare: None,
            reserved_bytes: 0,
            running: Running::default(),
            unflushed: Unflushed::default(),
            last_used: Clock::monotonic(),
            _counted: Counted::new(&self.context.metrics, |metrics| &metrics.open_partitions),
        }
    }
}
