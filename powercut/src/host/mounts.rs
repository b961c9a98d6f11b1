//! An ext4 file system in an image file, through a loop device that clears itself.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::command::{self, CommandError};
use super::patience::retry;

/// The smallest journal that ext4 has, in MiB: a short one wraps, and is replayed, more often.
const JOURNAL_MIB: &str = "size=4";
/// What hides mistakes in ext4 is off: commits by timer (5 s by default), and writing the data of
/// a file out when it is renamed over another. Discards would only bypass the log.
const MOUNT_OPTIONS: &str = "noatime,nodiscard,commit=300,noauto_da_alloc";

/// Makes an empty file system of `bytes` in a new sparse file.
pub(crate) fn format_image(path: &Path, bytes: u64) -> Result<(), FormatError> {
    File::create_new(path)?.set_len(bytes)?;
    let fixed = ["-q", "-F", "-b", "4096", "-m", "0", "-N", "4096", "-J", JOURNAL_MIB, "-E"];
    let extended = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
    let mut arguments: Vec<PathBuf> = fixed.map(PathBuf::from).to_vec();
    arguments.push(extended.into());
    arguments.push(path.to_owned());
    command::run("mkfs.ext4", &arguments)?;
    Ok(())
}

/// An image cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatError {
    #[error("cannot make the image file")]
    File(#[from] io::Error),
    #[error(transparent)]
    Mkfs(#[from] CommandError),
}

/// What the image file lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backing {
    /// The recording disk: direct, so that each request reaches it by itself and at once.
    RecordingDisk,
    /// Memory.
    Scratch,
}

/// A mounted image; unmounted and detached when dropped.
#[derive(Debug)]
pub(crate) struct MountedImage {
    device: PathBuf,
    directory: PathBuf,
    is_mounted: bool,
}

impl MountedImage {
    /// Mounts, and with that replays the journal. `directory` must exist.
    pub(crate) fn mount(
        image: &Path,
        backing: Backing,
        directory: &Path,
    ) -> Result<Self, CommandError> {
        let direct = match backing {
            Backing::RecordingDisk => "--direct-io=on",
            Backing::Scratch => "--direct-io=off",
        };
        let mut attach: Vec<PathBuf> =
            ["--find", "--show", "--sector-size=512", direct].map(PathBuf::from).to_vec();
        attach.push(image.to_owned());
        // Two that look for a free device at once may find the same one.
        let device = PathBuf::from(retry(|| command::run("losetup", &attach))?);
        let mount = [
            Path::new("-n"),
            Path::new("-t"),
            Path::new("ext4"),
            Path::new("-o"),
            Path::new(MOUNT_OPTIONS),
            &device,
            directory,
        ];
        let mounted = command::run("mount", &mount);
        // Detaching a device in use means: once the last user is gone. So it never outlives the
        // mount, even if nobody is left to detach it.
        let detached = command::run("losetup", &[Path::new("--detach"), &device]);
        mounted?;
        let directory = directory.to_owned();
        let image = Self { device, directory, is_mounted: true };
        detached?;
        Ok(image)
    }

    /// Unmounts and waits until the loop device has let go of the image file.
    pub(crate) fn unmount(mut self) -> Result<(), CommandError> {
        self.unmount_in_place()
    }

    fn unmount_in_place(&mut self) -> Result<(), CommandError> {
        if !std::mem::take(&mut self.is_mounted) {
            return Ok(());
        }
        let directory = self.directory.as_path();
        let unmounted = retry(|| command::run("umount", &[Path::new("-n"), directory]));
        if unmounted.is_err() {
            let lazily = [Path::new("-n"), Path::new("-l"), directory];
            drop(command::run("umount", &lazily));
        }
        unmounted?;
        let name = self.device.file_name().unwrap_or_default();
        let backing = Path::new("/sys/block").join(name).join("loop/backing_file");
        // Somebody else may have taken the device since; whose file it is tells.
        let busy_with = |file: String| (file.contains(&*self.mark())).then_some(file);
        let still_busy =
            retry(|| match std::fs::read_to_string(&backing).ok().and_then(busy_with) {
                Some(file) => Err(file),
                None => Ok(()),
            });
        still_busy.map_err(|file| CommandError::Failed {
            command: format!("umount {}", directory.display()),
            complaint: format!("{} still holds {}", self.device.display(), file.trim()),
        })
    }

    /// The scratch directory that the image lies in names it among all on this machine.
    fn mark(&self) -> String {
        let parent = self.directory.parent().unwrap_or(&self.directory);
        parent.to_string_lossy().into_owned()
    }
}

impl Drop for MountedImage {
    fn drop(&mut self) {
        drop(self.unmount_in_place());
    }
}
