//! Re-executes the rig in a mount and a network namespace of its own.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::command::{self, search_path};

/// Set inside. Not meant for users: it only ends the recursion.
const MARK: &str = "FOREBAY_FAULTS_IN_NAMESPACE";

/// Programs and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 7] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("losetup", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
];

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What is missing for cut links and small disks, in words; nothing when all is there.
pub(crate) fn missing_for_namespaces() -> Option<String> {
    if !is_root() {
        return Some("root, for network namespaces and mounts".to_owned());
    }
    for (program, package) in PROGRAMS {
        if !is_on_path(program) {
            return Some(format!("the program {program} (Debian: {package})"));
        }
    }
    // What a container without the rights to do so cannot do.
    let probe =
        ["--mount", "--net", "--propagation", "private", "--", "ip", "link", "set", "lo", "up"];
    command::run("unshare", &probe)
        .err()
        .map(|error| format!("the right to make namespaces ({error})"))
}

fn is_on_path(program: &str) -> bool {
    std::env::split_paths(&search_path()).any(|directory| directory.join(program).is_file())
}

/// Returns inside; outside, replaces this process by one that is inside.
pub(crate) fn enter_own_namespaces() -> io::Result<()> {
    if std::env::var_os(MARK).is_none() {
        return Err(Command::new("unshare")
            .args(["--mount", "--net", "--propagation", "private", "--"])
            .arg(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            .env(MARK, "1")
            .env("PATH", search_path())
            .exec());
    }
    std::fs::create_dir_all("/run/netns")?;
    let prepared = command::run("mount", &["-n", "-t", "tmpfs", "forebay-faults", "/run/netns"])
        .and_then(|_| command::run("ip", &["link", "set", "lo", "up"]));
    prepared.map(drop).map_err(io::Error::other)
}
