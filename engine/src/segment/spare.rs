//! Files that wait to become segments.
//!
//! A segment that retention retires keeps its blocks and goes into the shard's `spare` folder, and
//! the next segment is made from it: blocks that were written before cost no journal commit when
//! they are written again. Only a segment of about the same size gets it, so that a small log does not
//! pin a large file, and none outgrows what it retains. A spare is named `<sequence>-<bytes written before>.log`.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;

use crate::io::{
    DirectFile, create_directories, directory_names, file_names, remove_tree, rename_durably,
    sync_directory,
};

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

    /// Removes the folders of shards from `shards` on: an earlier run had more of them.
    pub(crate) async fn remove_of_absent_shards(spare: PathBuf, shards: usize) -> io::Result<()> {
        for name in directory_names(spare.clone()).await? {
            if name.parse::<usize>().is_ok_and(|shard| shard >= shards) {
                remove_tree(spare.join(name)).await?;
            }
        }
        Ok(())
    }

    /// Bytes of disk that a file of `bytes` takes up besides what a spare has already.
    pub(crate) fn missing_bytes(&self, bytes: u64) -> u64 {
        let idle = self.idle.borrow();
        fitting(&idle, bytes).map_or(bytes, |at| bytes.saturating_sub(idle[at].1))
    }

    /// Removes an idle spare. Returns whether there was one.
    pub(crate) async fn give_up_one(&self) -> io::Result<bool> {
        let given_up = self.idle.borrow_mut().pop();
        match given_up {
            Some((path, _)) => remove(path).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// A file of `bytes`, all allocated: a retired one if one of about this size is there.
    ///
    /// # Errors
    /// `StorageFull` when the disk has no room for it.
    pub(crate) async fn take(&self, bytes: u64) -> io::Result<Spare> {
        let retired = {
            let mut idle = self.idle.borrow_mut();
            fitting(&idle, bytes).map(|at| idle.swap_remove(at))
        };
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
        if length > bytes {
            file.truncate(bytes).await?;
        }
        let written_bytes = written.min(length).min(bytes);
        Ok(Spare { file, allocated_bytes: bytes, written_bytes })
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
    /// removes it where there are enough or none is to be kept. Its old name is gone, durably, on
    /// return.
    pub(crate) async fn retire(
        &self,
        path: PathBuf,
        written_bytes: u64,
        keep: bool,
    ) -> io::Result<()> {
        let parent = path.parent().map(ToOwned::to_owned).unwrap_or_default();
        if keep && self.idle.borrow().len() < SPARES_MAX {
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

/// Which of the spares a segment of `bytes` may have: at least half as long, so that it is worth it,
/// and at most twice, so that not much is thrown away.
fn fitting(idle: &[(PathBuf, u64)], bytes: u64) -> Option<usize> {
    idle.iter().position(|&(_, length)| length >= bytes / 2 && length <= bytes.saturating_mul(2))
}

async fn remove(path: PathBuf) -> io::Result<()> {
    crate::io::remove_file(path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_gets_a_spare_of_about_its_size_and_no_other() {
        let idle = |lengths: &[u64]| -> Vec<_> {
            lengths.iter().map(|&length| (PathBuf::new(), length)).collect()
        };
        let rows: [(&[u64], u64, Option<usize>); 7] = [
            (&[], 100, None),
            (&[100], 100, Some(0)),
            (&[50], 100, Some(0)),
            (&[49], 100, None),
            (&[200], 100, Some(0)),
            (&[201], 100, None),
            (&[1000, 90], 100, Some(1)),
        ];
        for (lengths, bytes, expected) in rows {
            assert_eq!(fitting(&idle(lengths), bytes), expected, "{lengths:?} for {bytes}");
        }
    }
}
