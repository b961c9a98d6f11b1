//! What the rig needs of the machine: processes, namespaces, small disks, and the system's own tools.
//!
//! Each is held by a guard that gives it back. Where the rig is root it runs in a mount and a network namespace
//! of its own; then the kernel takes everything away with its last process, however that ends, and nothing
//! of it has a name that anybody else could meet.

mod child;
mod command;
mod disk;
mod interrupt;
mod namespace;

pub(crate) use self::child::{Child, Stop};
pub(crate) use self::command::{CommandError, run};
pub(crate) use self::disk::Disk;
pub(crate) use self::interrupt::Interrupt;
pub(crate) use self::namespace::{enter_own_namespaces, missing_for_namespaces};
