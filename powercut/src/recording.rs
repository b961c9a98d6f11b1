//! Puts a subject to work on a recording disk, and keeps what the disk saw and what was promised.

use std::path::{Path, PathBuf};

use crate::disk::{DiskLog, IMAGE_FILE_NAME, RecordingDisk};
use crate::host::{Backing, Interrupt, MountedImage, Scratch, copy_sparse};
use crate::subject::{RigError, Stage, Stamped, Subject};

/// The directory on the file system that a subject has to itself.
pub(crate) const DATA_DIRECTORY: &str = "data";

/// One run of a subject, from which any number of cuts can be judged.
#[derive(Debug)]
pub(crate) struct Recording<F> {
    pub(crate) seed: u64,
    /// What was on the disk before the log begins.
    pub(crate) base: PathBuf,
    pub(crate) log: DiskLog,
    pub(crate) facts: Vec<Stamped<F>>,
}

/// Names and order of what is stacked up: image in memory, FUSE, loop device, ext4. Taken down in
/// the reverse order, whichever step fails.
pub(crate) fn record<S: Subject>(
    subject: &S,
    scratch: &Scratch,
    base: &Path,
    seed: u64,
    interrupt: &Interrupt,
) -> Result<Recording<S::Fact>, RigError> {
    let name = |what: &str| format!("recording-{seed:016x}-{what}");
    let image_path = scratch.path(&name("image"));
    let image = copy_sparse(base, &image_path).map_err(RigError::at("cannot copy the image"))?;
    // The disk holds the only descriptor from here on, so the memory goes when the disk does.
    std::fs::remove_file(&image_path).map_err(RigError::at("cannot unlink the image"))?;
    let fuse = scratch.directory(&name("fuse")).map_err(RigError::at("cannot make a directory"))?;
    let ext4 = scratch.directory(&name("ext4")).map_err(RigError::at("cannot make a directory"))?;

    let disk = RecordingDisk::mount(image, &fuse, seed)
        .map_err(RigError::at("cannot mount the recording disk"))?;
    let mounted = MountedImage::mount(&fuse.join(IMAGE_FILE_NAME), Backing::RecordingDisk, &ext4)
        .map_err(RigError::at("cannot mount ext4 on the recording disk"))?;

    let data = ext4.join(DATA_DIRECTORY);
    let process_log = scratch.path(&name("log"));
    let stage = Stage { data: &data, process_log, seed, interrupt };
    let facts = subject.record(&stage, &disk.clock());

    mounted.unmount().map_err(RigError::at("cannot unmount ext4"))?;
    let log = disk.unmount().map_err(RigError::at("cannot unmount the recording disk"))?;
    Ok(Recording { seed, base: base.to_owned(), log, facts: facts? })
}
