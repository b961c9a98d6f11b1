//! The data directory as a whole: whose it is, that only one process has it, and what the last
//! clean stop said.
//!
//! ```text
//! <data>/lock        held with flock while a process uses the directory
//! <data>/identity    format version, cluster id, mode; written once
//! <data>/probe       a small file to try direct I/O on
//! <data>/clean       where every log ended; only between a clean stop and the next start
//! ```
//!
//! Used once at start and once at the end, outside the shards, so it is plain blocking code. Where several nodes
//! share a place for their directories, `claim` chooses.

mod claim;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use forebay_format::names::CLEAN_FILE;
use forebay_format::{CleanEntry, CleanFile, ClusterId};
use rustix::fs::FlockOperation;
use thiserror::Error;

use crate::io::{PROBE_BYTES, PROBE_FILE};

const FORMAT_VERSION: u32 = 1;
const LOCK_FILE: &str = "lock";
const IDENTITY_FILE: &str = "identity";

/// Who decides on leadership over this data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The node itself; it is alone.
    Local,
    /// etcd, among several nodes.
    Cluster,
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Cluster => "cluster",
        }
    }
}

/// The data directory cannot be used.
#[derive(Debug, Error)]
pub enum DataDirectoryError {
    /// Another process uses it.
    #[error(
        "{path}: already used by the process {owner}; two servers cannot share a data directory"
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Its process id, as it wrote it there.
        owner: String,
    },
    /// All directories in the place for several are used by other processes.
    #[error(
        "{path}: all {max} data directories in it are used by other processes; give another place",
        max = claim::CLAIMS_MAX
    )]
    AllClaimed {
        /// The place.
        path: PathBuf,
    },
    /// The place for the directories of several nodes is itself the directory of one.
    #[error(
        "{path}: is the data directory of one node, not a place for those of several; give a \
         new directory, or start without claiming one"
    )]
    Single {
        /// The place.
        path: PathBuf,
    },
    /// There is something in it, and it is not ours.
    #[error(
        "{path}: not a Forebay data directory: it holds {found:?} and no identity file; give an \
         empty or a new directory"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The name of something in it.
        found: String,
    },
    /// It belongs to the other mode, another cluster or a later release.
    #[error("{path}: {what} is {found}, this server expects {expected}")]
    Mismatch {
        /// The identity file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What the directory says.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// The system refused something.
    #[error("{path}: cannot be used as the data directory, or as part of it: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> DataDirectoryError {
    let path = path.to_owned();
    move |source| DataDirectoryError::Io { path, source }
}

/// A data directory that this process holds.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    cluster: ClusterId,
    /// Held until the process ends or this is dropped.
    _lock: File,
}

impl DataDirectory {
    /// Takes the directory, made if it is missing, and with it the entries of the last clean stop.
    /// The clean file is gone, durably, when this returns: nothing was appended before.
    ///
    /// # Errors
    /// See [`DataDirectoryError`]. What is in the logs was not changed then; the clean file may be
    /// gone, and the next start scans.
    pub fn open(path: &Path, mode: Mode) -> Result<(Self, Vec<CleanEntry>), DataDirectoryError> {
        create_durably(path)?;
        let identity = path.join(IDENTITY_FILE);
        if !identity.exists() {
            refuse_foreign(path)?;
        }
        let held = lock(path)?;
        Self::open_locked(path, mode, held)
    }

    /// The same for a directory that is there and is ours to use.
    fn open_locked(
        path: &Path,
        mode: Mode,
        lock: File,
    ) -> Result<(Self, Vec<CleanEntry>), DataDirectoryError> {
        let identity = path.join(IDENTITY_FILE);
        let cluster = if identity.exists() {
            read_identity(&identity, mode)?
        } else {
            let cluster = ClusterId::random();
            let text =
                format!("format = {FORMAT_VERSION}\ncluster = {cluster}\nmode = {}\n", mode.name());
            replace(&identity, text.as_bytes())?;
            cluster
        };
        make_probe(path)?;
        let directory = Self { path: path.to_owned(), cluster, _lock: lock };
        let clean = directory.take_clean()?;
        Ok((directory, clean))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose data it holds.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Leaves the clean file for the next start. On stable storage on return. Call it last: after
    /// it nothing may be written.
    ///
    /// # Errors
    /// The file could not be written; the next start scans instead.
    pub fn close_clean(self, entries: Vec<CleanEntry>) -> Result<(), DataDirectoryError> {
        let file = CleanFile { cluster: self.cluster, entries };
        replace(&self.path.join(CLEAN_FILE), &file.encode())
    }

    fn take_clean(&self) -> Result<Vec<CleanEntry>, DataDirectoryError> {
        let path = self.path.join(CLEAN_FILE);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(at(&path))?,
        };
        fs::remove_file(&path).map_err(at(&path))?;
        sync_directory(&self.path)?;
        match CleanFile::decode(&bytes) {
            Ok(file) if file.cluster == self.cluster => Ok(file.entries),
            Ok(file) => {
                tracing::warn!(path = %path.display(), found = %file.cluster, expected = %self.cluster, "clean file of another cluster ignored");
                Ok(Vec::new())
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "clean file ignored; logs will be scanned");
                Ok(Vec::new())
            }
        }
    }
}

/// Makes the directory and those above it that are missing; each new name is durable on return.
fn create_durably(path: &Path) -> Result<(), DataDirectoryError> {
    let missing: Vec<_> = path.ancestors().take_while(|at| !at.exists()).collect();
    fs::create_dir_all(path).map_err(at(path))?;
    for parent in missing.into_iter().filter_map(Path::parent) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        sync_directory(parent)?;
    }
    Ok(())
}

/// Makes the file that each shard tries direct I/O on, whole and durable before any of them looks.
fn make_probe(path: &Path) -> Result<(), DataDirectoryError> {
    let probe = path.join(PROBE_FILE);
    let is_whole = fs::metadata(&probe).is_ok_and(|found| found.len() == PROBE_BYTES as u64);
    if is_whole { Ok(()) } else { replace(&probe, &[1; PROBE_BYTES]) }
}

fn refuse_foreign(path: &Path) -> Result<(), DataDirectoryError> {
    for entry in fs::read_dir(path).map_err(at(path))? {
        let name = entry.map_err(at(path))?.file_name();
        let ours =
            [LOCK_FILE, "identity.new", "lost+found", PROBE_FILE].iter().any(|own| name == *own);
        if !ours {
            let found = name.to_string_lossy().into_owned();
            return Err(DataDirectoryError::Foreign { path: path.to_owned(), found });
        }
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, DataDirectoryError> {
    let file_path = path.join(LOCK_FILE);
    let mut options = File::options();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&file_path)
        .map_err(at(&file_path))?;
    if let Err(error) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(at(&file_path)(error.into()));
        }
        let owner = fs::read_to_string(&file_path).unwrap_or_default();
        return Err(DataDirectoryError::Locked {
            path: path.to_owned(),
            owner: owner.trim().to_owned(),
        });
    }
    file.set_len(0).map_err(at(&file_path))?;
    writeln!(file, "{}", std::process::id()).map_err(at(&file_path))?;
    Ok(file)
}

fn read_identity(path: &Path, mode: Mode) -> Result<ClusterId, DataDirectoryError> {
    let text = fs::read_to_string(path).map_err(at(path))?;
    let value = |key: &'static str| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(name, _)| name.trim() == key)
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    let mismatch = |what, found: String, expected: String| DataDirectoryError::Mismatch {
        path: path.to_owned(),
        what,
        found: if found.is_empty() { "missing".to_owned() } else { found },
        expected,
    };
    let format = value("format");
    if format != FORMAT_VERSION.to_string() {
        return Err(mismatch("format version", format, FORMAT_VERSION.to_string()));
    }
    let found = value("mode");
    if found != mode.name() {
        return Err(mismatch("mode", found, mode.name().to_owned()));
    }
    let cluster = value("cluster");
    match cluster.parse() {
        Ok(id) => Ok(id),
        // Its error says no more than that.
        Err(_) => Err(mismatch("cluster id", cluster, "32 hexadecimal digits".to_owned())),
    }
}

fn replace(path: &Path, contents: &[u8]) -> Result<(), DataDirectoryError> {
    let temporary = path.with_extension("new");
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(contents)?;
        file.sync_all()
    });
    written.map_err(at(&temporary))?;
    fs::rename(&temporary, path).map_err(at(path))?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

fn sync_directory(path: &Path) -> Result<(), DataDirectoryError> {
    crate::io::sync_directory_now(path).map_err(at(path))
}
