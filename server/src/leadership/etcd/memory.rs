//! What a node of a cluster remembers of itself between its lives, in a file of its data directory:
//! which cluster it belongs to, who it is, and which of its lives was the last.

use std::path::Path;

use forebay_format::{ClusterId, NodeId, ReplicaId};
use forebay_replication::metadata::Incarnation;
use serde::{Deserialize, Serialize};

use crate::leadership::file::{StateFile, StateFileError};

/// Name of the file in the data directory.
const NAME: &str = "cluster";

/// What a node remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) cluster: ClusterId,
    pub(super) node: NodeId,
    /// Tells this data directory from every other, also one of the same node id.
    pub(super) directory: ReplicaId,
    /// The last life that began, or was to.
    pub(super) incarnation: Incarnation,
}

/// How it stands in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    cluster_id: String,
    node_id: u32,
    directory: String,
    incarnation: u64,
}

/// The file.
#[derive(Debug)]
pub(super) struct Memory {
    file: StateFile,
}

impl Memory {
    pub(super) fn new(data: &Path) -> Self {
        Self { file: StateFile::named(data, NAME) }
    }

    /// What is remembered; nothing in a directory that belongs to no cluster yet.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub(super) fn recall(&self) -> Result<Option<Remembered>, StateFileError> {
        let Some(entry) = self.file.read::<Entry>()? else { return Ok(None) };
        let damaged = |error: forebay_format::ParseIdError| self.file.damaged(error.to_string());
        Ok(Some(Remembered {
            cluster: entry.cluster_id.parse().map_err(damaged)?,
            node: NodeId::new(entry.node_id),
            directory: entry.directory.parse().map_err(damaged)?,
            incarnation: Incarnation::new(entry.incarnation),
        }))
    }

    /// Remembers this instead of what was. On stable storage when it returns.
    ///
    /// # Errors
    /// The file cannot be written; what was there is remembered still.
    pub(super) fn remember(&self, what: &Remembered) -> Result<(), StateFileError> {
        self.file.replace(&Entry {
            cluster_id: what.cluster.to_string(),
            node_id: what.node.get(),
            directory: what.directory.to_string(),
            incarnation: what.incarnation.get(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_remembered_is_recalled() {
        let folder = tempfile::tempdir().expect("a folder");
        let memory = Memory::new(folder.path());
        assert_eq!(memory.recall().expect("readable"), None);
        let what = Remembered {
            cluster: ClusterId::random(),
            node: NodeId::new(7),
            directory: ReplicaId::random(),
            incarnation: Incarnation::new(9),
        };
        memory.remember(&what).expect("stored");
        assert_eq!(memory.recall().expect("readable"), Some(what));
        std::fs::write(folder.path().join(NAME), "something else").expect("written");
        memory.recall().expect_err("damaged");
    }
}
