//! A file read and written past the page cache, at block-aligned positions.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use glommio::io::{DmaFile, OpenOptions, ReadResult};

use super::buffer::thread_bound;
use super::fault::{Skip, before_sync, skipped};
use super::{BLOCK_BYTES, Buffer, lost};

/// An open segment file. Clones share the descriptor, which is closed with the last of them.
#[derive(Debug, Clone)]
pub(crate) struct DirectFile {
    file: Rc<DmaFile>,
    path: Rc<Path>,
}

impl DirectFile {
    /// Opens an existing file for reading and writing.
    pub(crate) async fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).dma_open(&path).await?;
        Ok(Self { file: Rc::new(file), path: path.into() })
    }

    /// Makes a file that must not exist yet. Neither it nor its name is durable on return.
    pub(crate) async fn create(path: PathBuf) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).dma_open(&path).await?;
        Ok(Self { file: Rc::new(file), path: path.into() })
    }

    /// The same file under the name that it was given meanwhile.
    pub(crate) fn renamed(self, path: PathBuf) -> Self {
        Self { path: path.into(), ..self }
    }

    /// Where it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Length in bytes, allocated or not.
    pub(crate) async fn len(&self) -> io::Result<u64> {
        Ok(self.file.file_size().await?)
    }

    /// Writes the whole buffer at `position`, a multiple of the block. Not durable on return.
    pub(crate) async fn write(&self, buffer: &Buffer, position: u64) -> io::Result<()> {
        debug_assert_eq!(position % BLOCK_BYTES as u64, 0);
        let written = self.file.write_rc_at(buffer.dma(), position).await?;
        if written == buffer.len() {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::WriteZero,
            format!(
                "{}: wrote {written} of {} bytes at {position}",
                self.path.display(),
                buffer.len()
            ),
        ))
    }

    /// Reads `range`, whose ends are multiples of the block. Shorter at the end of the file.
    pub(crate) async fn read(&self, range: Range<u64>) -> io::Result<ReadChunk> {
        debug_assert_eq!(range.start % BLOCK_BYTES as u64, 0);
        let bytes = usize::try_from(range.end - range.start)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        debug_assert_eq!(bytes % BLOCK_BYTES, 0);
        let result = self.file.read_at_aligned(range.start, bytes).await?;
        Ok(ReadChunk { start: range.start, result })
    }

    /// When this returns, every write that had completed before it was called is on stable
    /// storage. After an error the file's contents are unknown, and it must not be written again.
    pub(crate) async fn sync(&self) -> io::Result<()> {
        if skipped(Skip::Fdatasync) {
            return Ok(());
        }
        before_sync().map_err(lost)?;
        self.file.fdatasync().await.map_err(lost)
    }

    /// Grows the file to `bytes` with space that is reserved, reads as zero, and is not yet
    /// durable. The only call that reports a full disk.
    pub(crate) async fn allocate(&self, bytes: u64) -> io::Result<()> {
        Ok(self.file.pre_allocate(bytes, false).await?)
    }

    /// Cuts the file to `bytes`.
    pub(crate) async fn truncate(&self, bytes: u64) -> io::Result<()> {
        Ok(self.file.truncate(bytes).await?)
    }
}

/// Bytes read at one position of a file.
#[derive(Debug, Clone)]
pub(crate) struct ReadChunk {
    start: u64,
    result: ReadResult,
}

impl ReadChunk {
    /// Position in the file of the first byte.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Position in the file after the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.result.len() as u64
    }

    /// The bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.result
    }

    /// All of it without a copy; must be dropped on this executor.
    pub(crate) fn to_bytes(&self) -> Bytes {
        struct Owner(ReadResult);
        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        thread_bound(Owner(self.result.clone()))
    }
}
