//! Where a run was made.

use std::{fs, path::Path, process::Command};

use serde::{Deserialize, Serialize};

/// A machine and the code that ran on it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's own name.
    pub processor: String,
    /// Cores that we may use.
    pub cores: usize,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// Device and file system of the data directory.
    pub disk: String,
    /// The commit, with a plus when something was changed since.
    pub commit: String,
}

impl Machine {
    /// This machine.
    pub fn here(data: &Path) -> Self {
        Self {
            processor: value_of("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: value_of("/proc/meminfo", "MemTotal")
                .trim_end_matches(" kB")
                .parse::<u64>()
                .map_or(0, |kib| kib * 1024),
            kernel: read("/proc/sys/kernel/osrelease"),
            disk: disk(data),
            commit: commit(),
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The value behind `key :` in a file of lines.
fn value_of(path: &str, key: &str) -> String {
    let text = read(path);
    let line = text.lines().find(|line| line.starts_with(key));
    let value = line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim());
    value.unwrap_or("unknown").to_owned()
}

fn disk(data: &Path) -> String {
    let data = data.canonicalize().unwrap_or_else(|_missing| data.to_owned());
    let mounts = read("/proc/mounts");
    let mount = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (device, place, kind) = (fields.next()?, fields.next()?, fields.next()?);
            data.starts_with(place).then_some((place.len(), format!("{kind} on {device}")))
        })
        .max_by_key(|(length, _)| *length);
    mount.map_or_else(|| "unknown".to_owned(), |(_, text)| text)
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=10", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    let mark = if changed.is_none_or(|changed| changed.is_empty()) { "" } else { "+" };
    format!("{commit}{mark}")
}
