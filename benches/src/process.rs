//! What a process used of the processor, and which process serves an endpoint of this machine. Reads
//! /proc and nothing else.

use std::{
    collections::HashSet,
    fs,
    net::{ToSocketAddrs, UdpSocket},
    path::{Path, PathBuf},
    time::Duration,
};

/// A process of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process(u32);

impl Process {
    /// The process of this id.
    pub fn new(pid: u32) -> Self {
        Self(pid)
    }

    /// This process.
    pub fn own() -> Self {
        Self(std::process::id())
    }

    /// Its id.
    pub fn pid(self) -> u32 {
        self.0
    }

    /// The process that listens on this HOST:PORT, when it runs on this machine and we may look.
    pub fn listening_on(endpoint: &str) -> Option<Self> {
        let mut addresses = endpoint.to_socket_addrs().ok()?;
        // A socket can be bound to the addresses of this machine only.
        let local = addresses.find(|one| UdpSocket::bind((one.ip(), 0)).is_ok())?;
        let port = local.port();
        let sockets = listening_sockets(port);
        if sockets.is_empty() {
            return None;
        }
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.find(|&pid| open_files(pid).any(|file| sockets.contains(&file))).map(Self)
    }

    /// Processor time that all its threads have used so far. `None` when it is gone.
    pub fn cpu_time(self) -> Option<Duration> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).ok()?;
        let mut nanoseconds = 0_u64;
        for task in tasks.flatten() {
            // A thread may end while we look.
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
            let ran: u64 = text.split_whitespace().next()?.parse().ok()?;
            nanoseconds += ran;
        }
        Some(Duration::from_nanos(nanoseconds))
    }

    /// The directory that its log files are in, from the files that it has open.
    pub fn data_directory(self) -> Option<PathBuf> {
        let own = fs::read_dir(format!("/proc/{}/fd", self.0)).ok()?.flatten();
        let files = own.filter_map(|entry| fs::read_link(entry.path()).ok());
        // The lock that keeps a second server out of the data directory.
        files.filter(|file| file.is_absolute()).find_map(|file| {
            let name = file.file_name()?.to_str()?;
            matches!(name, "lock" | "LOCK" | "identity")
                .then(|| file.parent().map(Path::to_owned))?
        })
    }
}

/// The processes that serve, as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Servers(Vec<Process>);

impl Servers {
    /// Those of these ids; without any, whoever listens on these endpoints on this machine.
    pub fn find(pids: &[u32], endpoints: &[String]) -> Self {
        if !pids.is_empty() {
            return Self(pids.iter().copied().map(Process::new).collect());
        }
        let mut found: Vec<_> =
            endpoints.iter().filter_map(|one| Process::listening_on(one)).collect();
        found.sort_by_key(|process| process.pid());
        found.dedup();
        Self(found)
    }

    /// Processor time that all of them have used so far. `None` when there is none, or one is gone.
    pub fn cpu_time(&self) -> Option<Duration> {
        if self.0.is_empty() {
            return None;
        }
        self.0.iter().map(|process| process.cpu_time()).sum()
    }

    /// Where the first of them keeps its data.
    pub fn data_directory(&self) -> Option<PathBuf> {
        self.0.first()?.data_directory()
    }
}

/// `socket:[inode]` of every socket that listens on the port.
fn listening_sockets(port: u16) -> HashSet<String> {
    const LISTEN: &str = "0A";
    let mut sockets = HashSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(text) = fs::read_to_string(table) else { continue };
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else { continue };
            let local_port =
                local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
            if state == LISTEN && local_port == Some(port) {
                sockets.insert(format!("socket:[{inode}]"));
            }
        }
    }
    sockets
}

fn open_files(pid: u32) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.to_str()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_process_uses_processor_time() {
        use rustix::time::{ClockId, clock_gettime};
        let own_thread = || {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            Duration::try_from(time).unwrap()
        };
        let (before, start) = (Process::own().cpu_time().unwrap(), own_thread());
        // Many of the scheduler's ticks, at which it counts.
        let work = Duration::from_millis(100);
        let mut sum = 0_u64;
        while own_thread() < start + work {
            sum = (0..100_000_u64).fold(sum, |sum, n| sum ^ n.wrapping_mul(sum | 1));
        }
        std::hint::black_box(sum);
        let used = Process::own().cpu_time().unwrap().saturating_sub(before);
        assert!(used >= work / 2, "{used:?}");
    }

    #[test]
    fn the_process_behind_a_port_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        assert_eq!(Process::listening_on(&endpoint), Some(Process::own()));
        // An address that is kept for documentation, and no machine's.
        let elsewhere = endpoint.replace("127.0.0.1", "192.0.2.1");
        assert_eq!(Process::listening_on(&elsewhere), None);
        drop(listener);
        assert_eq!(Process::listening_on(&endpoint), None);
    }
}
