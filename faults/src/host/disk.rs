//! A small disk: ext4 on a loop device whose image lies in a tmpfs of its own.
//!
//! It can be filled, so that a node finds no room, and it can be broken: with the tmpfs full, whatever would take
//! a new block of the image fails with an I/O error, as on a disk that dies.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::command::{CommandError, run};

const IMAGE_BYTES: u64 = 640 << 20;
const TMPFS: &str = "mode=700,size=700m";

/// See the module. Unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    backing: PathBuf,
    mounted: PathBuf,
}

/// A disk could not be made, filled or broken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error(transparent)]
    File(#[from] io::Error),
    #[error(transparent)]
    Tool(#[from] CommandError),
}

impl Disk {
    /// An empty one, mounted at `folder`/mounted.
    pub(crate) fn make(folder: &Path) -> Result<Self, DiskError> {
        let disk = Self { backing: folder.join("backing"), mounted: folder.join("mounted") };
        std::fs::create_dir_all(&disk.backing)?;
        std::fs::create_dir_all(&disk.mounted)?;
        run("mount", &["-n", "-t", "tmpfs", "-o", TMPFS, "forebay-faults", &text(&disk.backing)])?;
        File::create_new(disk.image())?.set_len(IMAGE_BYTES)?;
        let options = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
        run("mkfs.ext4", &["-q", "-F", "-m", "0", "-E", options, &text(&disk.image())])?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where to put data.
    pub(crate) fn path(&self) -> &Path {
        &self.mounted
    }

    /// Leaves no room.
    pub(crate) fn fill(&self) -> Result<(), DiskError> {
        fill(&self.mounted.join("ballast"))
    }

    /// Gives the room back.
    pub(crate) fn empty(&self) -> Result<(), DiskError> {
        Ok(std::fs::remove_file(self.mounted.join("ballast"))?)
    }

    /// Whether it was filled, or is broken.
    pub(crate) fn is_harmed(&self) -> (bool, bool) {
        let harmed = |folder: &Path| folder.join("ballast").exists();
        (harmed(&self.mounted), harmed(&self.backing))
    }

    /// From now on, writes of new blocks fail.
    pub(crate) fn break_down(&self) -> Result<(), DiskError> {
        fill(&self.backing.join("ballast"))
    }

    /// Makes it whole, with what of its content was written. Nobody may use it meanwhile.
    pub(crate) fn repair(&self) -> Result<(), DiskError> {
        std::fs::remove_file(self.backing.join("ballast"))?;
        run("umount", &["-n", &text(&self.mounted)])?;
        // It ends with 1 where it has mended something.
        drop(run("e2fsck", &["-p", "-f", &text(&self.image())]));
        Ok(self.mount()?)
    }

    fn mount(&self) -> Result<(), CommandError> {
        let image = text(&self.image());
        let device = run("losetup", &["--find", "--show", &image])?;
        let mounted = run("mount", &["-n", "-t", "ext4", &device, &text(&self.mounted)]);
        // In use, it is detached with its last user: so it does not outlive the mount.
        let detached = run("losetup", &["--detach", &device]);
        mounted.and(detached).map(drop)
    }

    fn image(&self) -> PathBuf {
        self.backing.join("disk.img")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for place in [&self.mounted, &self.backing] {
            // What cannot be unmounted goes with the namespace.
            drop(run("umount", &["-n", "-l", &text(place)]));
        }
    }
}

/// Takes all the room there is, in ever smaller pieces.
fn fill(ballast: &Path) -> Result<(), DiskError> {
    let file = File::create(ballast)?;
    let mut end = 0;
    for piece in [64 << 20, 4 << 20, 256 << 10, 4 << 10] {
        loop {
            match rustix::fs::fallocate(&file, FallocateFlags::empty(), end, piece) {
                Ok(()) => end += piece,
                Err(Errno::NOSPC) => break,
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }
    Ok(())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
