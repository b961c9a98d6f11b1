//! One place for several nodes: each takes a directory in it that no other process uses, or makes one.
//!
//! ```text
//! <root>/data-1      a data directory, held by some process
//! <root>/data-2      another; whoever comes while nobody holds it goes on with what is in it
//! ```
//!
//! The numbers say nothing but the order in which the directories were made. Who a node is stands in its
//! directory, so whoever takes one over becomes that node.

use std::fs;
use std::io;
use std::path::Path;

use forebay_format::CleanEntry;

use super::{
    DataDirectory, DataDirectoryError, IDENTITY_FILE, Mode, at, create_durably, lock,
    refuse_foreign, sync_directory,
};

/// Begins the name of each directory; its number follows.
const PREFIX: &str = "data-";

/// Directories in one place. More processes than that on one disk are a mistake.
pub(super) const CLAIMS_MAX: u32 = 512;

impl DataDirectory {
    /// Takes the first directory in `root` that no other process uses, or makes a new one, and opens it
    /// as [`DataDirectory::open`] does. Two processes never get the same one, and a directory that was left is
    /// taken before a new one is made.
    ///
    /// # Errors
    /// See [`DataDirectoryError`]. A directory that nobody uses and that cannot be opened is named, not
    /// passed over: the data in it would never be served again.
    pub fn claim(root: &Path, mode: Mode) -> Result<(Self, Vec<CleanEntry>), DataDirectoryError> {
        create_durably(root)?;
        if root.join(IDENTITY_FILE).exists() {
            return Err(DataDirectoryError::Single { path: root.to_owned() });
        }
        for number in existing(root)? {
            if let Some(claimed) = take(root, number, mode)? {
                return Ok(claimed);
            }
        }
        // One that somebody made meanwhile is theirs; one that they have left again is as good as new.
        for number in 1..=CLAIMS_MAX {
            if make(root, number)?
                && let Some(claimed) = take(root, number, mode)?
            {
                return Ok(claimed);
            }
        }
        Err(DataDirectoryError::AllClaimed { path: root.to_owned() })
    }
}

fn directory_name(number: u32) -> String {
    format!("{PREFIX}{number}")
}

/// The numbers of the directories that are there, lowest first.
fn existing(root: &Path) -> Result<Vec<u32>, DataDirectoryError> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(root).map_err(at(root))? {
        let name = entry.map_err(at(root))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let number = number.and_then(|number| number.parse::<u32>().ok());
        // `data-01` is somebody else's.
        numbers.extend(number.filter(|number| name == *directory_name(*number)));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes a directory, durably; `false` when it was there.
fn make(root: &Path, number: u32) -> Result<bool, DataDirectoryError> {
    let path = root.join(directory_name(number));
    match fs::create_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        made => {
            made.map_err(at(&path))?;
            sync_directory(root).map(|()| true)
        }
    }
}

/// Opens a directory, unless another process uses it.
fn take(
    root: &Path,
    number: u32,
    mode: Mode,
) -> Result<Option<(DataDirectory, Vec<CleanEntry>)>, DataDirectoryError> {
    let path = root.join(directory_name(number));
    // The lock first: who has just made the directory may be filling it.
    let held = match lock(&path) {
        Err(DataDirectoryError::Locked { .. }) => return Ok(None),
        held => held?,
    };
    if !path.join(IDENTITY_FILE).exists() {
        refuse_foreign(&path)?;
    }
    DataDirectory::open_locked(&path, mode, held).map(Some)
}
