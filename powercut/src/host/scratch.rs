//! Memory for images and logs: a tmpfs of our own on an empty directory.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;
use tempfile::TempDir;

use super::command::{self, CommandError};
use super::patience::retry;

/// A directory in memory that goes away with its guard.
#[derive(Debug)]
pub(crate) struct Scratch {
    directory: TempDir,
}

/// Scratch memory cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScratchError {
    #[error("cannot make a directory for scratch files")]
    Directory(#[from] io::Error),
    #[error(transparent)]
    Mount(#[from] CommandError),
}

impl Scratch {
    pub(crate) fn mount() -> Result<Self, ScratchError> {
        let directory = tempfile::Builder::new().prefix("forebay-power-cut-").tempdir()?;
        let arguments =
            ["-n", "-t", "tmpfs", "-o", "mode=700,size=80%", "forebay-power-cut"].map(Into::into);
        let mut arguments: Vec<PathBuf> = arguments.to_vec();
        arguments.push(directory.path().to_owned());
        command::run("mount", &arguments)?;
        Ok(Self { directory })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a directory in it.
    pub(crate) fn directory(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir(&path)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let directory = self.directory.path();
        let mut arguments = vec![PathBuf::from("-n"), directory.to_owned()];
        if retry(|| command::run("umount", &arguments)).is_err() {
            // Better a mount that ends with the namespace than files left behind for ever.
            arguments.insert(0, PathBuf::from("-l"));
            drop(command::run("umount", &arguments));
        }
    }
}

/// Copies a file and leaves its holes.
pub(crate) fn copy_sparse(from: &Path, to: &Path) -> io::Result<File> {
    let source = File::open(from)?;
    let size = source.metadata()?.len();
    let target = File::options().read(true).write(true).create_new(true).open(to)?;
    target.set_len(size)?;
    let mut buffer = vec![0; 1 << 20];
    let mut position = 0;
    while position < size {
        let data = match rustix::fs::seek(&source, SeekFrom::Data(position)) {
            Ok(data) => data,
            // No data behind `position`.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let hole = rustix::fs::seek(&source, SeekFrom::Hole(data))?;
        position = data;
        while position < hole {
            let want = usize::try_from(hole - position).unwrap_or(usize::MAX).min(buffer.len());
            source.read_exact_at(&mut buffer[..want], position)?;
            target.write_all_at(&buffer[..want], position)?;
            position += u64::try_from(want).expect("lengths fit 64 bits");
        }
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparse_copy_has_the_same_bytes_and_size() {
        let directory = tempfile::tempdir().expect("a directory");
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        let source = File::create(&from).expect("a file");
        source.set_len(5 << 20).expect("room");
        source.write_all_at(b"first", 0).expect("a write");
        source.write_all_at(b"later", (3 << 20) + 17).expect("a write");
        copy_sparse(&from, &to).expect("a copy");
        assert!(fs::read(&from).expect("bytes") == fs::read(&to).expect("bytes"));
    }
}
