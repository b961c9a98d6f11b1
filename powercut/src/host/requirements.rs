//! What a machine must have for power cuts, and what it lacks of it.

use std::fmt;
use std::fs::{self, File};

use super::command::{self, search_path};

/// Something that is not there, and how to get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    what: String,
    remedy: &'static str,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.remedy)
    }
}

/// Programs and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 6] = [
    ("mkfs.ext4", "install the package e2fsprogs"),
    ("mount", "install the package mount"),
    ("umount", "install the package mount"),
    ("losetup", "install the package mount"),
    ("unshare", "install the package util-linux"),
    ("setpriv", "install the package util-linux"),
];

const DEVICES: [(&str, &str); 2] = [
    ("/dev/fuse", "load the kernel module fuse, or pass the device into the container"),
    ("/dev/loop-control", "load the kernel module loop, or pass the device into the container"),
];

/// Everything that is missing; empty when power cuts can be made here.
pub(crate) fn missing_requirements() -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut miss = |what: String, remedy| missing.push(Missing { what, remedy });
    for (program, remedy) in PROGRAMS {
        if !is_on_path(program) {
            miss(format!("the program {program}"), remedy);
        }
    }
    if rustix::process::geteuid().is_root() {
        for (device, remedy) in DEVICES {
            if let Err(error) = File::options().read(true).write(true).open(device) {
                miss(format!("the device {device} ({error})"), remedy);
            }
        }
        if !may_mount() {
            miss(
                "the right to mount (CAP_SYS_ADMIN)".to_owned(),
                "run as root outside of a container, or in a privileged one",
            );
        }
    } else {
        miss("root".to_owned(), "run as root, for loop devices and mounts");
    }
    missing
}

fn is_on_path(program: &str) -> bool {
    std::env::split_paths(&search_path()).any(|directory| {
        fs::metadata(directory.join(program)).is_ok_and(|metadata| metadata.is_file())
    })
}

fn may_mount() -> bool {
    let in_own_namespace = ["--mount", "--propagation", "private", "--"];
    let mount = ["mount", "-n", "-t", "tmpfs", "forebay-power-cut", "/tmp"];
    command::run("unshare", &[&in_own_namespace[..], &mount].concat()).is_ok()
}
