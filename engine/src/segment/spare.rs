//! Files that wait to become segments.
//!
//! A segment that retention retires keeps its blocks and goes into the shard's `spare` folder, and
//! the next segment is made from it: blocks that were written before cost no journal commit when
//! they are written again. A spare is named `<sequence>-<bytes written before>.log`.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;

use crate::io::{DirectFile, create_directories, file_names, rename_durably, sync_directory};

/// Retired files that are kept for reuse by one shard; what goes beyond is removed.
const SPARES_MAX: usize = 2;

/// A file that belongs to no partition yet.
#[derive(Debug)]
pub(crate) struct Spare {
    /// Open for writing.
    pub(crate) file: DirectFile,
    /// Length in bytes; all of it is allocated.
    pub(crate) allocated_bytes: u64,
    /// Up to here every block has been written once.
    pub(crate) written_bytes: u64,
}

/// The spare files of one shard.
#[derive(Debug)]
pub(crate) struct SpareFiles {
    directory: PathBuf,
    next_name: Cell<u64>,
    idle: RefCell<Vec<(PathBuf, u64)>>,
}

impl SpareFiles {
    /// Takes over the folder, with what an earlier run left there.
    pub(crate) async fn open(directory: PathBuf) -> io::Result<Self> {
        create_directories(directory.clone()).await?;
        let mut idle = Vec::new();
        let mut next = 0;
        for (name, _) in file_names(directory.clone()).await?.unwrap_or_default() {
            let path = directory.join(&name);
            let parts = name.strip_suffix(".log").and_then(|stem| stem.split_once('-'));
            let Some((sequence, written)) =
                parts.and_then(|(s, w)| Some((s.parse::<u64>().ok()?, w.parse::<u64>().ok()?)))
            else {
                continue;
            };
            next = next.max(sequence + 1);
            if idle.len() < SPARES_MAX && written > 0 {
                idle.push((path, written));
            } else {
                remove(path).await?;
            }
        }
        Ok(Self { directory, next_name: Cell::new(next), idle: RefCell::new(idle) })
    }

    /// A file of at least `bytes`, all allocated: a retired one if there is any.
    ///
    /// # Errors
    /// `StorageFull` when the disk has no room for it.
    pub(crate) async fn take(&self, bytes: u64) -> io::Result<Spare> {
        let retired = self.idle.borrow_mut().pop();
        let (file, path, written) = if let Some((path, written)) = retired {
            (DirectFile::open(path.clone()).await?, path, written)
        } else {
            let path = self.fresh_path(0);
            (DirectFile::create(path.clone()).await?, path, 0)
        };
        let length = file.len().await?;
        if length < bytes
            && let Err(error) = file.allocate(bytes).await
        {
            drop(file);
            if written == 0 {
                remove(path).await?;
            } else {
                self.idle.borrow_mut().push((path, written));
            }
            return Err(error);
        }
        Ok(Spare { file, allocated_bytes: length.max(bytes), written_bytes: written.min(length) })
    }

    /// Gives an unused spare back.
    pub(crate) async fn put_back(&self, spare: Spare) -> io::Result<()> {
        let path = spare.file.path().to_owned();
        let reusable = spare.written_bytes > 0 && self.idle.borrow().len() < SPARES_MAX;
        drop(spare.file);
        if reusable {
            self.idle.borrow_mut().push((path, spare.written_bytes));
            return Ok(());
        }
        remove(path).await
    }

    /// Takes a segment's file that is no longer part of any log, and that nobody reads, or
    /// removes it where there are enough. Its old name is gone, durably, on return.
    pub(crate) async fn retire(&self, path: PathBuf, written_bytes: u64) -> io::Result<()> {
        let parent = path.parent().map(ToOwned::to_owned).unwrap_or_default();
        if self.idle.borrow().len() < SPARES_MAX {
            let spare = self.fresh_path(written_bytes);
            rename_durably(path, spare.clone()).await?;
            self.idle.borrow_mut().push((spare, written_bytes));
        } else {
            remove(path).await?;
        }
        sync_directory(parent).await
    }

    fn fresh_path(&self, written: u64) -> PathBuf {
        let sequence = self.next_name.get();
        self.next_name.set(sequence + 1);
        self.directory.join(format!("{sequence}-{written}.log"))
    }
}

async fn remove(path: PathBuf) -> io::Result<()> {
    crate::io::remove_file(path).await
}
