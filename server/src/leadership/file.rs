//! A small file of the data directory that holds what a node knows of itself: a line with a checksum,
//! then JSON. Always replaced as a whole: written beside, synced, renamed over, and the directory synced. A crash leaves the old one or
//! the new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use forebay_format::checksum::crc32c;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Name of the file of a node that is alone.
const NAME: &str = "coordinator";

/// Beginning of the first line; the checksum of everything after that line follows.
const HEAD: &str = "forebay coordinator 1 crc32c ";

/// Why the state cannot be read or stored.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// The system refuses.
    #[error("{path}: cannot {what}: {source}", path = .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("{path}: damaged ({problem}); restore it from a backup", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Another cluster's file.
    #[error("{path}: belongs to cluster {found}, the data directory to {expected}", path = .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The cluster in the file.
        found: String,
        /// The cluster of the data directory.
        expected: String,
    },
    /// There are partitions, and nothing that says which topics they belong to.
    #[error(
        "{path}: missing, though there is data of topic {topic} beside it; restore it from a backup",
        path = .path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The id of a topic that has data.
        topic: String,
    },
}

/// What is in the file.
#[derive(Debug, Default, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct State {
    /// The cluster that the data directory belongs to.
    pub(super) cluster_id: String,
    /// Incarnation of the node, counted from 1 at its first start.
    pub(super) node_epoch: u64,
    pub(super) topics: Vec<TopicEntry>,
    /// Deleted, and their files perhaps not all gone.
    #[serde(default)]
    pub(super) removing: Vec<TopicEntry>,
}

/// A topic in the file.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct TopicEntry {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) partitions: u32,
    pub(super) replication_factor: u32,
    #[serde(default)]
    pub(super) settings: std::collections::BTreeMap<String, String>,
}

/// The file in a data directory.
#[derive(Debug)]
pub(super) struct StateFile {
    directory: PathBuf,
    name: &'static str,
}

impl StateFile {
    pub(super) fn new(directory: &Path) -> Self {
        Self::named(directory, NAME)
    }

    pub(super) fn named(directory: &Path, name: &'static str) -> Self {
        Self { directory: directory.to_owned(), name }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.join(self.name)
    }

    /// What is in the file; nothing when there is none.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<Option<T>, StateFileError> {
        match fs::read(self.path()) {
            Ok(bytes) => decode(&bytes).map(Some).map_err(|problem| self.damaged(problem)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(self.path(), "read the file")(error)),
        }
    }

    /// Puts `state` in the place of what was there. On stable storage when this returns.
    pub(super) fn replace(&self, state: &impl Serialize) -> Result<(), StateFileError> {
        let path = self.path().with_extension("new");
        let mut file = File::create(&path).map_err(failed(path.clone(), "create the file"))?;
        file.write_all(&encode(state)).map_err(failed(path.clone(), "write the file"))?;
        file.sync_all().map_err(failed(path.clone(), "sync the file"))?;
        fs::rename(&path, self.path()).map_err(failed(path, "rename the file"))?;
        if skip_directory_fsync() {
            return Ok(());
        }
        let directory = &self.directory;
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(failed(directory.clone(), "sync the directory"))
    }

    pub(super) fn damaged(&self, problem: impl Into<String>) -> StateFileError {
        StateFileError::Damaged { path: self.path(), problem: problem.into() }
    }
}

fn failed(path: PathBuf, what: &'static str) -> impl FnOnce(io::Error) -> StateFileError {
    move |source| StateFileError::Io { path, what, source }
}

fn encode(state: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_vec_pretty(state).expect("numbers, texts and lists become JSON");
    let mut bytes = format!("{HEAD}{:08x}\n", crc32c(&json)).into_bytes();
    bytes.extend_from_slice(&json);
    bytes
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or("no first line")?;
    let (head, json) = (&bytes[..end], &bytes[end + 1..]);
    let checksum = head.strip_prefix(HEAD.as_bytes()).ok_or("not a file of this release")?;
    let found = format!("{:08x}", crc32c(json));
    if found.as_bytes() != checksum {
        let expected = String::from_utf8_lossy(checksum);
        return Err(format!("expected checksum {expected}, found {found}"));
    }
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

/// Whether the power-cut rig wants to see that it notices a missing directory fsync.
fn skip_directory_fsync() -> bool {
    cfg!(feature = "fault-injection")
        && std::env::var("FOREBAY_FAULT").as_deref() == Ok("skip-directory-fsync")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            cluster_id: "c".into(),
            node_epoch: 3,
            topics: vec![TopicEntry {
                id: "t".into(),
                name: "orders".into(),
                partitions: 4,
                replication_factor: 1,
                settings: [("segment_age".to_owned(), "1h".to_owned())].into(),
            }],
            removing: Vec::new(),
        }
    }

    #[test]
    fn what_was_stored_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = StateFile::new(folder.path());
        assert_eq!(file.read::<State>().expect("nothing there"), None);
        file.replace(&State::default()).expect("stored");
        file.replace(&state()).expect("stored");
        assert_eq!(file.read().expect("readable"), Some(state()));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let bytes = encode(&state());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(decode::<State>(&changed).is_err(), "byte {at}");
        }
        for length in 0..bytes.len() {
            assert!(decode::<State>(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
