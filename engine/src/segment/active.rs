//! The segment that batches are appended to.
//!
//! It exists in memory first: its header, salt and positions are fixed when the log rolls, so that
//! appends go on at once. The file follows when the segment before is durable:
//!
//! ```text
//! rolled ──stage──▶ header durable in a spare ──create──▶ durable under its name ──seal──▶ SealedSegment
//! ```

use std::cell::{Cell, RefCell};
use std::io;

use forebay_format::names::SegmentFile;
use forebay_format::segment::SEGMENT_HEADER_BYTES;
use forebay_format::{FilePosition, SegmentHeader};
use futures_util::future::try_join_all;

use super::{ActiveIndex, SegmentPath, Spare};
use crate::io::{
    BLOCK_BYTES, BUFFER_BYTES_MAX, BufferPool, DirectFile, block_ceil, lost, rename_durably,
    replace_file,
};

/// Zeros written ahead of the tail at once, in bytes: as much again as the file holds, between
/// these. A write into blocks that were allocated and never written commits the filesystem's
/// journal; writing a stretch of them beforehand makes one commit of many.
const WRITE_AHEAD_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=4 << 20;

/// Groups of at least this many bytes carry their own journal commit without showing it, and are
/// written straight into fresh blocks.
const LARGE_GROUP_BYTES: u64 = 1 << 20;

/// Zeros that are written at a time.
const ZEROS_IN_FLIGHT_BYTES: u64 = 4 << 20;

/// What a segment is made from.
#[derive(Debug)]
struct Pending {
    spare: Spare,
    /// The producer table at the segment's start, encoded; `None` when it is empty.
    producers: Option<Vec<u8>>,
    /// Whether both are on stable storage, in a file that lacks nothing but its name.
    is_staged: bool,
}

/// A segment that still grows.
#[derive(Debug)]
pub(crate) struct ActiveSegment {
    header: SegmentHeader,
    /// `None` until [`ActiveSegment::create`].
    file: RefCell<Option<DirectFile>>,
    /// What `create` makes it from.
    pending: RefCell<Option<Pending>>,
    /// Space that is reserved on the disk. Invariant: no append is admitted beyond it.
    allocated_bytes: Cell<u64>,
    /// Invariant: every block below was written at least once.
    written_bytes: Cell<u64>,
    index: RefCell<ActiveIndex>,
}

impl ActiveSegment {
    /// A segment that is to be made from `spare`, and lives in memory until then. `producers` is
    /// the producer table at its start, encoded; `None` when that is empty.
    pub(crate) fn rolled(
        header: SegmentHeader,
        spare: Spare,
        producers: Option<Vec<u8>>,
        index_interval_bytes: u64,
    ) -> Self {
        let index = ActiveIndex::new(header.base_offset, index_interval_bytes);
        Self {
            header,
            file: RefCell::new(None),
            allocated_bytes: Cell::new(spare.allocated_bytes),
            pending: RefCell::new(Some(Pending { spare, producers, is_staged: false })),
            written_bytes: Cell::new(0),
            index: RefCell::new(index),
        }
    }

    /// A segment that an earlier run left, good up to `end`.
    pub(crate) fn reopened(
        header: SegmentHeader,
        file: DirectFile,
        file_bytes: u64,
        end: FilePosition,
        index: ActiveIndex,
    ) -> Self {
        Self {
            header,
            file: RefCell::new(Some(file)),
            pending: RefCell::new(None),
            allocated_bytes: Cell::new(file_bytes),
            written_bytes: Cell::new(block_ceil(end.get())),
            index: RefCell::new(index),
        }
    }

    /// A segment of a log that has nothing on disk: no space, and nothing to make it from.
    pub(crate) fn absent(header: SegmentHeader, index_interval_bytes: u64) -> Self {
        let index = ActiveIndex::new(header.base_offset, index_interval_bytes);
        Self {
            header,
            file: RefCell::new(None),
            pending: RefCell::new(None),
            allocated_bytes: Cell::new(0),
            written_bytes: Cell::new(0),
            index: RefCell::new(index),
        }
    }

    /// Prepares the segment's file under the name of a spare: producer table and header are on stable
    /// storage on return. The segment before may still be written meanwhile. After an error it can be
    /// called again, unless the error says that writes were lost.
    pub(crate) async fn stage(&self, path: &SegmentPath, pool: &BufferPool) -> io::Result<()> {
        let Some(mut pending) = self.pending.take() else { return Ok(()) };
        let staged =
            if pending.is_staged { Ok(()) } else { self.write_start(&pending, path, pool).await };
        pending.is_staged = staged.is_ok();
        self.pending.replace(Some(pending));
        staged
    }

    async fn write_start(
        &self,
        Pending { spare, producers, .. }: &Pending,
        path: &SegmentPath,
        pool: &BufferPool,
    ) -> io::Result<()> {
        if let Some(table) = producers {
            let name = path.file(SegmentFile::Producers, self.header.base_offset);
            replace_file(name, table.clone()).await?;
        }
        let mut block = pool.take(SEGMENT_HEADER_BYTES);
        let header = block.bytes_mut().first_chunk_mut::<SEGMENT_HEADER_BYTES>();
        self.header.encode(header.expect("every buffer holds a block"));
        spare.file.write(&block.freeze(SEGMENT_HEADER_BYTES), 0).await.map_err(lost)?;
        spare.file.sync().await
    }

    /// Makes the segment's file, unless it is there. When this returns, producer table and header
    /// are on stable storage under their names; before, the segment's name does not exist. After an
    /// error it can be called again, as [`ActiveSegment::stage`] can.
    pub(crate) async fn create(&self, path: &SegmentPath, pool: &BufferPool) -> io::Result<()> {
        self.stage(path, pool).await?;
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let name = path.file(SegmentFile::Log, self.header.base_offset);
        let spare = &pending.spare;
        if let Err(error) = rename_durably(spare.file.path().to_owned(), name.clone()).await {
            self.pending.replace(Some(pending));
            return Err(error);
        }
        self.written_bytes.set(spare.written_bytes.max(SEGMENT_HEADER_BYTES as u64));
        self.file.replace(Some(pending.spare.file.renamed(name)));
        Ok(())
    }

    /// Whose it is, where it starts, and the salt of this life of the file.
    pub(crate) fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// The file, once there is one.
    pub(crate) fn file(&self) -> Option<DirectFile> {
        self.file.borrow().clone()
    }

    /// Bytes of the file that appends may fill.
    pub(crate) fn allocated_bytes(&self) -> u64 {
        self.allocated_bytes.get()
    }

    /// The index, to look up or to extend.
    pub(crate) fn index(&self) -> &RefCell<ActiveIndex> {
        &self.index
    }

    /// Reserves disk space up to `bytes`.
    ///
    /// # Errors
    /// `StorageFull`; nothing is lost then.
    pub(crate) async fn extend(&self, bytes: u64) -> io::Result<()> {
        let Some(file) = self.file() else { return Ok(()) };
        file.allocate(bytes).await?;
        self.allocated_bytes.set(self.allocated_bytes.get().max(bytes));
        Ok(())
    }

    /// Before a small group that ends at `end`: zeros on the blocks behind it, unless they were
    /// written already.
    pub(crate) async fn write_ahead(
        &self,
        group_bytes: u64,
        end: u64,
        pool: &BufferPool,
    ) -> io::Result<()> {
        let end = block_ceil(end);
        let written = self.written_bytes.get();
        let Some(file) = self.file() else { return Ok(()) };
        if end <= written {
            return Ok(());
        }
        self.written_bytes.set(end);
        if group_bytes >= LARGE_GROUP_BYTES {
            return Ok(());
        }
        let ahead = end.clamp(*WRITE_AHEAD_BYTES.start(), *WRITE_AHEAD_BYTES.end());
        let target =
            (end + ahead).min(self.allocated_bytes.get() / BLOCK_BYTES as u64 * BLOCK_BYTES as u64);
        if target > end {
            write_zeros(&file, end..target, pool).await?;
            self.written_bytes.set(target);
        }
        Ok(())
    }

    /// Writes the index file. When this returns it is on stable storage.
    pub(crate) async fn write_index(
        &self,
        path: &SegmentPath,
        end: FilePosition,
        chain: super::Chain,
    ) -> io::Result<()> {
        let image = self.index.borrow().image(self.header.salt, end, chain);
        replace_file(path.file(SegmentFile::Index, self.header.base_offset), image).await
    }
}

/// Writes zeros to whole blocks. Not durable on return.
pub(crate) async fn write_zeros(
    file: &DirectFile,
    range: std::ops::Range<u64>,
    pool: &BufferPool,
) -> io::Result<()> {
    // Most ranges are small, and one buffer of their own size does.
    let Some(exponent) = (range.end - range.start).checked_ilog2() else { return Ok(()) };
    let bytes = BUFFER_BYTES_MAX.min(1 << exponent);
    let mut zeros = pool.take(bytes);
    zeros.bytes_mut().fill(0);
    let zeros = zeros.freeze(bytes);
    let bytes = bytes as u64;
    let mut at = range.start;
    while range.end - at >= bytes {
        let several = (range.end - at).min(ZEROS_IN_FLIGHT_BYTES) / bytes;
        try_join_all((0..several).map(|n| file.write(&zeros, at + n * bytes))).await?;
        at += several * bytes;
    }
    let rest = usize::try_from(range.end - at).map_err(io::Error::other)?;
    for part in pool.copies(&zeros.as_bytes()[..rest]) {
        file.write(&part, at).await?;
        at += part.len() as u64;
    }
    Ok(())
}
