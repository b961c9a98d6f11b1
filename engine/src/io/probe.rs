//! Asks the data directory, before anything depends on it, whether it can do direct I/O.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use glommio::io::OpenOptions;

use super::BLOCK_BYTES;

/// The data directory cannot do what the engine needs.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The filesystem refuses `O_DIRECT`, as tmpfs and some overlays do.
    #[error(
        "{path}: this filesystem cannot do direct I/O ({source}); put the data directory on ext4, \
         XFS or another filesystem on a drive, not on tmpfs or an overlay"
    )]
    DirectIo {
        /// The file that was tried.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Writing a small ordinary file failed.
    #[error("{path}: cannot write to the data directory: {source}")]
    Write {
        /// The file that was tried.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Reads a block of a small synced file of the data directory past the page cache.
///
/// Must run on every executor before it opens any other file there: glommio asks the first file
/// that it opens on a device whether polled I/O works, remembers the answer, and takes the end of
/// an empty file for a yes, after which reads fail with "Operation not supported".
///
/// # Errors
/// [`ProbeError`] names the cause and the remedy.
pub async fn probe_direct_io(data: &Path) -> Result<(), ProbeError> {
    let path = data.join("probe");
    let write = |path: &Path| {
        let mut file = File::create(path)?;
        file.write_all(&[1; 2 * BLOCK_BYTES])?;
        file.sync_all()
    };
    if !path.exists() {
        write(&path).map_err(|source| ProbeError::Write { path: path.clone(), source })?;
    }
    let refused = |source: io::Error| ProbeError::DirectIo { path: path.clone(), source };
    let mut options = OpenOptions::new();
    let file = options.read(true).dma_open(&path).await.map_err(|e| refused(e.into()))?;
    let read = file.read_at_aligned(0, BLOCK_BYTES).await.map_err(|e| refused(e.into()))?;
    if read.len() != BLOCK_BYTES {
        let message = format!("read {} of {BLOCK_BYTES} bytes", read.len());
        return Err(refused(io::Error::new(io::ErrorKind::UnexpectedEof, message)));
    }
    file.close().await.map_err(|e| refused(e.into()))
}
