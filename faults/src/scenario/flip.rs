//! A byte on a disk that is another one: in the middle of what a segment holds, where it cannot be taken for a write
//! that a crash has torn.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use forebay_format::Batch;

/// As few batches are too few to have a middle that is known to be synced.
const BATCHES_MIN: usize = 8;

/// Flips a byte in the first segment of a partition's folder. False where that holds too little.
pub(super) fn flip_in(partition: &Path) -> io::Result<bool> {
    let mut segments: Vec<_> = fs::read_dir(partition)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    segments.sort();
    let Some(segment) = segments.first() else { return Ok(false) };
    let bytes = fs::read(segment)?;
    let batches = batches_in(&bytes);
    if batches.len() < BATCHES_MIN {
        return Ok(false);
    }
    let (start, end) = batches[batches.len() / 2];
    let at = end - 1;
    debug_assert!(start < at, "a batch is longer than its header");
    let file = File::options().write(true).open(segment)?;
    let place = u64::try_from(at).map_err(io::Error::other)?;
    file.write_all_at(&[bytes[at] ^ 1], place)?;
    file.sync_all()?;
    Ok(true)
}

/// Where each batch begins and ends, of the run that begins with the first.
fn batches_in(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let first = bytes.windows(4).position(|four| four == b"FBAT");
    let Some(mut at) = first else { return found };
    while let Ok((_, rest)) = Batch::split(&bytes[at..]) {
        let end = bytes.len() - rest.len();
        found.push((at, end));
        at = end;
    }
    found
}
