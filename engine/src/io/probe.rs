//! Asks the data directory, before anything depends on it, whether it can do direct I/O.

use std::io;
use std::path::{Path, PathBuf};

use glommio::io::OpenOptions;

use super::BLOCK_BYTES;

/// Name of the probe file in a data directory.
pub(crate) const PROBE_FILE: &str = "probe";

/// Its length in bytes. Never empty: see [`probe_direct_io`].
pub(crate) const PROBE_BYTES: usize = 2 * BLOCK_BYTES;

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
}

/// Reads a block of the data directory's probe file past the page cache. The file was made, and
/// synced, when the directory was taken.
///
/// Must run on every executor before it opens any other file there: glommio asks the first file
/// that it opens on a device whether polled I/O works, remembers the answer, and takes the end of
/// an empty file for a yes, after which reads fail with "Operation not supported".
///
/// # Errors
/// [`ProbeError`] names the cause and the remedy.
pub async fn probe_direct_io(data: &Path) -> Result<(), ProbeError> {
    let path = data.join(PROBE_FILE);
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
