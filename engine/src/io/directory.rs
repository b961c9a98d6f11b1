//! Names on disk: making, listing, replacing and removing them, each durable on return.
//!
//! All of it is rare, and has no `io_uring` operation worth using, so it runs on the executor's
//! blocking threads.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::blocking::blocking;
use super::fault::{Skip, skipped};
use super::lost;

fn named<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
}

/// Makes the names in a directory durable, on this thread.
pub(crate) fn sync_directory_now(directory: &Path) -> io::Result<()> {
    if skipped(Skip::DirectorySync) {
        return Ok(());
    }
    let opened = named(directory, File::open(directory))?;
    named(directory, opened.sync_all()).map_err(lost)
}

/// Makes a directory and those above it that are missing; each new name is durable on return.
pub(crate) async fn create_directories(path: PathBuf) -> io::Result<()> {
    blocking(move || {
        let mut missing = Vec::new();
        let mut at = path.as_path();
        while !at.exists() {
            missing.push(at);
            let Some(parent) = at.parent() else { break };
            at = parent;
        }
        for directory in missing.into_iter().rev() {
            match fs::create_dir(directory) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                made => named(directory, made)?,
            }
            if let Some(parent) = directory.parent() {
                sync_directory_now(parent)?;
            }
        }
        // What is there may have been made a moment ago, by another shard or by a process that was
        // killed before it synced.
        for parent in path.ancestors().skip(1).take(2) {
            sync_directory_now(parent)?;
        }
        Ok(())
    })
    .await
}

/// Names and lengths in bytes of the regular files of a directory; `None` when it is not there.
pub(crate) async fn file_names(path: PathBuf) -> io::Result<Option<Vec<(String, u64)>>> {
    blocking(move || {
        let entries = match fs::read_dir(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => named(&path, entries)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                names.push((name, metadata.len()));
            }
        }
        Ok(Some(names))
    })
    .await
}

/// Names of the directories in a directory; none when it is not there.
pub(crate) async fn directory_names(path: PathBuf) -> io::Result<Vec<String>> {
    blocking(move || {
        let entries = match fs::read_dir(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => named(&path, entries)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if let (true, Ok(name)) = (entry.file_type()?.is_dir(), entry.file_name().into_string())
            {
                names.push(name);
            }
        }
        Ok(names)
    })
    .await
}

/// A whole small file; `None` when it is not there.
pub(crate) async fn read_file(path: PathBuf) -> io::Result<Option<Vec<u8>>> {
    blocking(move || match fs::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        read => named(&path, read).map(Some),
    })
    .await
}

/// Puts `contents` in the place of the file at `path`, or makes it. After a crash at any moment
/// there is the old file or the new one, whole; the new one is durable on return.
pub(crate) async fn replace_file(path: PathBuf, contents: Vec<u8>) -> io::Result<()> {
    blocking(move || {
        // The whole name: an index and a producer table of one offset have each their own.
        let mut temporary = path.clone().into_os_string();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        let mut file = named(&temporary, File::create(&temporary))?;
        named(&temporary, file.write_all(&contents))?;
        named(&temporary, file.sync_all()).map_err(lost)?;
        named(&path, fs::rename(&temporary, &path))?;
        sync_directory_now(path.parent().unwrap_or(Path::new(".")))
    })
    .await
}

/// Renames a file within one filesystem; the new name is durable on return.
pub(crate) async fn rename_durably(from: PathBuf, to: PathBuf) -> io::Result<()> {
    blocking(move || {
        named(&from, fs::rename(&from, &to))?;
        sync_directory_now(to.parent().unwrap_or(Path::new(".")))
    })
    .await
}

/// Puts a directory in the place of another one, which goes with all that is in it. `false`, and nothing
/// done, when there is no directory at `from`. Durable on return; after a crash in between, calling it again
/// goes on.
pub(crate) async fn replace_directory(from: PathBuf, to: PathBuf) -> io::Result<bool> {
    blocking(move || {
        if !from.exists() {
            return Ok(false);
        }
        match fs::remove_dir_all(&to) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            removed => named(&to, removed)?,
        }
        named(&from, fs::rename(&from, &to))?;
        sync_directory_now(to.parent().unwrap_or(Path::new("."))).map(|()| true)
    })
    .await
}

/// Moves a directory from one parent to another, both on one filesystem. Durable on return.
pub(crate) async fn move_directory(from: PathBuf, to: PathBuf) -> io::Result<()> {
    blocking(move || {
        named(&from, fs::rename(&from, &to))?;
        // The new name first: at no moment is there none.
        for parent in [to.parent(), from.parent()].into_iter().flatten() {
            sync_directory_now(parent)?;
        }
        Ok(())
    })
    .await
}

/// Bytes that an ordinary user may still allocate on the filesystem of `path`.
pub(crate) async fn free_bytes(path: PathBuf) -> io::Result<u64> {
    blocking(move || {
        let stat = rustix::fs::statvfs(&path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    })
    .await
}

/// Removes a directory if it is empty; fine when it is not, or not there. Durable on return.
pub(crate) async fn remove_empty_directory(path: PathBuf) -> io::Result<()> {
    blocking(move || {
        match fs::remove_dir(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => return Ok(()),
            removed => named(&path, removed)?,
        }
        sync_nearest(path.parent())
    })
    .await
}

/// Makes the names in a directory durable or, when somebody else has removed it, those in the one
/// above.
fn sync_nearest(directory: Option<&Path>) -> io::Result<()> {
    for directory in directory.into_iter().flat_map(Path::ancestors) {
        match sync_directory_now(directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            synced => return synced,
        }
    }
    Ok(())
}

/// Makes the names in a directory durable.
pub(crate) async fn sync_directory(path: PathBuf) -> io::Result<()> {
    blocking(move || sync_directory_now(&path)).await
}

/// Removes a file; fine when it is not there. Not durable on return.
pub(crate) async fn remove_file(path: PathBuf) -> io::Result<()> {
    blocking(move || match fs::remove_file(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => named(&path, removed),
    })
    .await
}

/// Removes a directory with all that is in it; fine when it is not there. Durable on return.
pub(crate) async fn remove_tree(path: PathBuf) -> io::Result<()> {
    blocking(move || {
        match fs::remove_dir_all(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            removed => named(&path, removed)?,
        }
        sync_nearest(path.parent())
    })
    .await
}
