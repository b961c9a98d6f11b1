//! What the rig needs of the machine: a mount namespace, scratch memory, loop devices, ext4 and
//! child processes, each held by a guard that gives it back.
//!
//! Guards run on every ordinary way out, interruption among them. Should the rig be killed, or
//! abort in a panic, the kernel cleans up: the mounts are in a namespace of our own, loop devices
//! clear themselves with their last mount, files are in a tmpfs that goes with the namespace, and
//! children are killed with the thread that started them.

mod child;
mod command;
mod interrupt;
mod mounts;
mod namespace;
mod patience;
mod requirements;
mod scratch;

pub(crate) use self::child::{Child, Stop};
pub(crate) use self::interrupt::Interrupt;
pub(crate) use self::mounts::{Backing, MountedImage, format_image};
pub(crate) use self::namespace::enter_own_mount_namespace;
pub(crate) use self::requirements::missing_requirements;
pub(crate) use self::scratch::{Scratch, copy_sparse};
