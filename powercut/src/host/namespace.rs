//! Re-executes the rig in a mount namespace of its own. Then nobody else sees its mounts, several
//! rigs do not see each other's, and the kernel undoes them when the last process in it ends,
//! however it ends.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Set inside the namespace. Not meant for users: it only ends the recursion.
const MARK: &str = "FOREBAY_POWER_CUT_IN_NAMESPACE";

/// Returns in the namespace; outside of it, replaces this process by one that is inside.
pub(crate) fn enter_own_mount_namespace() -> io::Result<()> {
    if std::env::var_os(MARK).is_some() {
        return Ok(());
    }
    let failed = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(MARK, "1")
        .exec();
    Err(failed)
}
