//! An index file, mapped into memory and faulted in.
#![expect(unsafe_code, reason = "mapping a file is unsafe by nature")]

use std::fs::File;
use std::io;
use std::path::PathBuf;

use memmap2::{Mmap, MmapOptions};

use super::blocking::blocking;

/// A read-only map of a whole file.
///
/// The engine never writes to or truncates an index file once it is in place: a new one goes
/// under the same name by rename. A map therefore stays valid for as long as it lives.
#[derive(Debug)]
pub(crate) struct IndexMap(Mmap);

impl IndexMap {
    /// Maps the file and reads all of it, on a blocking thread: a page fault later would stop
    /// the core. `None` when the file is not there or empty.
    pub(crate) async fn open(path: PathBuf) -> io::Result<Option<Self>> {
        blocking(move || {
            let file = match File::open(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                file => file?,
            };
            if file.metadata()?.len() == 0 {
                return Ok(None);
            }
            // SAFETY: the process holds the data directory's lock, and within it index files
            // are replaced by rename, never changed or cut in place.
            let map = unsafe { MmapOptions::new().populate().map(&file)? };
            Ok(Some(Self(map)))
        })
        .await
    }

    /// The file's bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
