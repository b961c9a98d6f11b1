//! Runs the system's own tools (ip, nft, mount, etcdctl) and keeps what they complained about.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::{Command, Stdio};

/// A tool could not be started, or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("cannot run `{command}`")]
    Start {
        command: String,
        #[source]
        cause: io::Error,
    },
    #[error("`{command}` failed: {complaint}")]
    Failed { command: String, complaint: String },
}

/// Runs to the end and gives back stdout, trimmed.
pub(crate) fn run<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> Result<String, CommandError> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).env("PATH", search_path());
    let shown = || {
        let words = arguments.iter().map(|argument| argument.as_ref().to_string_lossy());
        std::iter::once(program.into()).chain(words).collect::<Vec<_>>().join(" ")
    };
    let output =
        command.output().map_err(|cause| CommandError::Start { command: shown(), cause })?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let complaint = format!("{complaint} ({})", output.status);
        return Err(CommandError::Failed { command: shown(), complaint });
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Where programs are looked for. Debian gives ordinary logins no `sbin`, where these tools are.
pub(crate) fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}
