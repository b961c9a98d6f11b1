//! A segment that does not change any more, and the reader that looks things up in it.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;
use std::rc::{Rc, Weak};

use forebay_format::batch::BatchError;
use forebay_format::index::{INDEX_HEADER_BYTES, Index, IndexEntries, IndexSummary};
use forebay_format::names::SegmentFile;
use forebay_format::segment::{FIRST_BATCH_POSITION, ForeignSegment, SEGMENT_HEADER_BYTES};
use forebay_format::{
    FileError, FilePosition, Offset, SegmentHeader, SegmentIdentity, TimestampMs,
};

use super::{
    ActiveIndex, Chain, REBUILD_INTERVAL_BYTES, ScanStop, SegmentPath, SegmentUse, SegmentsInUse,
    scan,
};
use crate::io::{DirectFile, IndexMap, replace_file};
use crate::runtime::{Signal, spawn};

/// A segment cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum SegmentError {
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said. Shared: one failure can end many waits.
        error: Rc<io::Error>,
    },
    /// The header block is not one.
    #[error("{path}: {error}")]
    Header {
        /// The file.
        path: PathBuf,
        /// What was found and expected.
        error: FileError,
    },
    /// The header block names another owner.
    #[error("{path}: {error}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Both owners.
        error: ForeignSegment,
    },
    /// Bytes that were durable once are not what was written.
    #[error("{path}: at byte {position}, offset {offset}: {what}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        position: FilePosition,
        /// The offset that should be there.
        offset: Offset,
        /// What is wrong.
        what: String,
    },
}

impl SegmentError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { path, error: Rc::new(error) }
    }
}

/// Reads a segment's header block and checks whose it is.
pub(crate) async fn read_header(
    file: &DirectFile,
    identity: &SegmentIdentity,
    base_offset: Offset,
) -> Result<SegmentHeader, SegmentError> {
    let path = || file.path().to_owned();
    let block =
        file.read(0..SEGMENT_HEADER_BYTES as u64).await.map_err(SegmentError::io(path()))?;
    let header = SegmentHeader::decode(block.as_bytes())
        .map_err(|error| SegmentError::Header { path: path(), error })?;
    header
        .verify_identity(identity)
        .map_err(|error| SegmentError::Foreign { path: path(), error })?;
    if header.base_offset != base_offset {
        let found = header.base_offset;
        return Err(SegmentError::Corrupt {
            path: path(),
            position: FilePosition::ZERO,
            offset: base_offset,
            what: format!("the header says base offset {found}, the name {base_offset}"),
        });
    }
    Ok(header)
}

/// A sealed segment as its log knows it; its file is open only while somebody reads.
#[derive(Debug)]
pub(crate) struct SealedSegment {
    /// Offset of its first record.
    pub(crate) base_offset: Offset,
    /// Offset after its last record: the next segment's base.
    pub(crate) end_offset: Offset,
    /// Length of the file in bytes.
    pub(crate) file_bytes: u64,
    /// Append time of its last batch, once known.
    last_append: Cell<Option<TimestampMs>>,
    /// Whether the file has its final length and index. Invariant: until then the file is neither
    /// opened anew nor retired.
    finished: Cell<bool>,
    finished_raised: Signal,
    reader: RefCell<Weak<SegmentReader>>,
    /// Invariant: there is one while the file is being opened. So its index is never made by two.
    opening: RefCell<Option<Rc<Opening>>>,
}

/// The opening of a segment, for all who wait for it.
#[derive(Debug, Default)]
struct Opening {
    outcome: RefCell<Option<Result<Rc<SegmentReader>, SegmentError>>>,
    done: Signal,
}

impl SealedSegment {
    /// A segment between two base offsets.
    pub(crate) fn new(base_offset: Offset, end_offset: Offset, file_bytes: u64) -> Self {
        Self {
            base_offset,
            end_offset,
            file_bytes,
            last_append: Cell::new(None),
            finished: Cell::new(true),
            finished_raised: Signal::default(),
            reader: RefCell::default(),
            opening: RefCell::default(),
        }
    }

    /// A segment that was just filled, and whose file is yet to be finished.
    pub(crate) fn unfinished(self, last_append: TimestampMs) -> Self {
        self.finished.set(false);
        self.last_append.set(Some(last_append));
        self
    }

    /// Says that the file has its final form, or will never get it.
    pub(crate) fn finish(&self) {
        self.finished.set(true);
        self.finished_raised.raise();
    }

    /// Whether it may be opened and retired.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished.get()
    }

    /// Append time of the last batch, once known.
    pub(crate) fn last_append(&self) -> Option<TimestampMs> {
        self.last_append.get()
    }

    /// Whether it is being opened now. It must not be retired then: its index could be written
    /// anew after it was removed.
    pub(crate) fn is_opening(&self) -> bool {
        self.opening.borrow().is_some()
    }

    /// Whether it may be retired now.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_finished() && !self.is_opening()
    }

    /// Opens it once it is finished, or shares the reader that is open. May be dropped: the
    /// opening goes on.
    ///
    /// # Errors
    /// See [`SegmentError`].
    pub(crate) async fn reader(
        self: &Rc<Self>,
        path: &SegmentPath,
        identity: &SegmentIdentity,
        in_use: &SegmentsInUse,
    ) -> Result<Rc<SegmentReader>, SegmentError> {
        if let Some(open) = self.reader.borrow().upgrade() {
            return Ok(open);
        }
        let opening = self.start_opening(path, identity, in_use);
        loop {
            let seen = opening.done.version();
            if let Some(outcome) = &*opening.outcome.borrow() {
                return outcome.clone();
            }
            opening.done.beyond(seen).await;
        }
    }

    fn start_opening(
        self: &Rc<Self>,
        path: &SegmentPath,
        identity: &SegmentIdentity,
        in_use: &SegmentsInUse,
    ) -> Rc<Opening> {
        if let Some(under_way) = &*self.opening.borrow() {
            return Rc::clone(under_way);
        }
        let opening = Rc::new(Opening::default());
        self.opening.replace(Some(Rc::clone(&opening)));
        let used = in_use.begin(self.base_offset);
        let (segment, answer) = (Rc::clone(self), Rc::clone(&opening));
        let (path, identity) = (path.clone(), *identity);
        spawn(async move {
            let outcome = segment.open(&path, &identity, used).await;
            segment.opening.take();
            answer.outcome.replace(Some(outcome));
            answer.done.raise();
        });
        opening
    }

    async fn open(
        &self,
        path: &SegmentPath,
        identity: &SegmentIdentity,
        used: SegmentUse,
    ) -> Result<Rc<SegmentReader>, SegmentError> {
        while !self.is_finished() {
            let seen = self.finished_raised.version();
            self.finished_raised.beyond(seen).await;
        }
        let range = (self.base_offset, self.end_offset);
        let opened = Rc::new(SegmentReader::open(path, identity, range, used).await?);
        self.last_append.set(Some(opened.summary.last_append_time));
        *self.reader.borrow_mut() = Rc::downgrade(&opened);
        Ok(opened)
    }
}

/// An open sealed segment.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    pub(crate) file: DirectFile,
    pub(crate) header: SegmentHeader,
    summary: IndexSummary,
    index: IndexMap,
    _used: SegmentUse,
}

impl SegmentReader {
    async fn open(
        path: &SegmentPath,
        identity: &SegmentIdentity,
        (base_offset, end_offset): (Offset, Offset),
        used: SegmentUse,
    ) -> Result<Self, SegmentError> {
        let log = path.file(SegmentFile::Log, base_offset);
        let file = DirectFile::open(log.clone()).await.map_err(SegmentError::io(log))?;
        let header = read_header(&file, identity, base_offset).await?;
        let index_path = path.file(SegmentFile::Index, base_offset);
        let map = IndexMap::open(index_path.clone())
            .await
            .map_err(SegmentError::io(index_path.clone()))?;
        let fits = |summary: &IndexSummary| {
            summary.salt == header.salt && summary.end_offset == end_offset
        };
        let summary_of = |map: &IndexMap| Index::decode(map.as_bytes()).map(|i| *i.summary());
        let good = map.and_then(|map| Some((summary_of(&map).ok().filter(fits)?, map)));
        let (summary, index) = if let Some(good) = good {
            good
        } else {
            let index = index_path.display();
            tracing::warn!(%index, "index missing or wrong; rebuilding it from the log");
            let map = rebuild_index(&file, &header, end_offset, index_path.clone()).await?;
            let summary = summary_of(&map)
                .map_err(|error| SegmentError::Header { path: index_path, error })?;
            (summary, map)
        };
        Ok(Self { file, header, summary, index, _used: used })
    }

    /// Exclusive end of the last batch.
    pub(crate) fn end(&self) -> FilePosition {
        self.summary.end_position
    }

    /// Where the batch that holds `offset` is, or one before it that is close.
    pub(crate) fn before_offset(&self, offset: Offset) -> FilePosition {
        let relative = offset.checked_sub(self.summary.base_offset).unwrap_or(0);
        let found = self.entries().lookup_offset(relative);
        found.map_or(FIRST_BATCH_POSITION, |entry| entry.position())
    }

    /// Where to start looking for the first batch appended at or after `time`.
    pub(crate) fn before_time(&self, time: TimestampMs) -> FilePosition {
        let delta = time.saturating_since(self.summary.base_time);
        let found = self.entries().lookup_time(delta);
        found.map_or(FIRST_BATCH_POSITION, |entry| entry.position())
    }

    fn entries(&self) -> IndexEntries<'_> {
        // Verified when the segment was opened.
        IndexEntries::new(self.index.as_bytes().get(INDEX_HEADER_BYTES..).unwrap_or_default())
    }
}

/// Walks the whole segment, which must be good up to `end_offset`, and puts its index in place.
async fn rebuild_index(
    file: &DirectFile,
    header: &SegmentHeader,
    end_offset: Offset,
    index_path: PathBuf,
) -> Result<IndexMap, SegmentError> {
    let log_path = || file.path().to_owned();
    let mut index = ActiveIndex::new(header.base_offset, REBUILD_INTERVAL_BYTES);
    let from = (FIRST_BATCH_POSITION, Chain::before(header));
    let walk = scan(file, header, from, |batch, position| {
        index.note(batch.leader.base_offset, position, batch.leader.append_time);
    })
    .await
    .map_err(SegmentError::io(log_path()))?;
    if walk.chain.next_offset != end_offset {
        let what = match walk.stop {
            ScanStop::End => format!("the file ends, the next segment begins at {end_offset}"),
            ScanStop::NotABatch { error, .. } => error.to_string(),
            ScanStop::BrokenChain { what } => what,
        };
        let offset = walk.chain.next_offset;
        return Err(SegmentError::Corrupt { path: log_path(), position: walk.end, offset, what });
    }
    let image = index.image(header.salt, walk.end, walk.chain);
    replace_file(index_path.clone(), image).await.map_err(SegmentError::io(index_path.clone()))?;
    let map =
        IndexMap::open(index_path.clone()).await.map_err(SegmentError::io(index_path.clone()))?;
    map.ok_or_else(|| SegmentError::Corrupt {
        path: index_path,
        position: FilePosition::ZERO,
        offset: header.base_offset,
        what: "the index that was just written is gone".to_owned(),
    })
}

/// A batch that does not verify, as an error of its segment.
pub(crate) fn corrupt(
    file: &DirectFile,
    position: FilePosition,
    offset: Offset,
    error: &BatchError,
) -> SegmentError {
    SegmentError::Corrupt {
        path: file.path().to_owned(),
        position,
        offset,
        what: error.to_string(),
    }
}
