//! A server of our own for the suite.

use std::{
    fs, io,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::clock;

/// How long a server may take to start, and to stop.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// When written data is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fsync {
    /// Before it is acknowledged.
    BeforeAck,
    /// Once a second; acknowledgements do not wait.
    EverySecond,
}

/// A running server. It is killed when it is dropped; `stop` stops it as it should be.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    endpoint: String,
    data: PathBuf,
}

impl Server {
    /// Starts it on free ports and waits until it listens.
    pub(super) fn start(binary: &Path, data: &Path, shards: u32, fsync: Fsync) -> io::Result<Self> {
        fs::create_dir_all(data)?;
        let port = free_ports(shards)?;
        let endpoint = format!("127.0.0.1:{port}");
        let log = fs::File::create(data.with_extension("log"))?;
        let policy = match fsync {
            Fsync::BeforeAck => "batch",
            Fsync::EverySecond => "interval:1s",
        };
        let child = Command::new(binary)
            .arg("serve")
            .args(["--listen", &endpoint, "--http", "127.0.0.1:0"])
            .args(["--shards", &shards.to_string()])
            .arg("--data")
            .arg(data)
            .env("FOREBAY_STORAGE__FSYNC", policy)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log))
            .spawn()?;
        let mut server = Self { child, endpoint, data: data.to_owned() };
        server.wait_until_it_listens()?;
        Ok(server)
    }

    fn wait_until_it_listens(&mut self) -> io::Result<()> {
        let start = clock::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                let ended = io::Error::other(format!("the server ended with {status}"));
                return Err(self.with_log(&ended));
            }
            if TcpStream::connect(&self.endpoint).is_ok() {
                return Ok(());
            }
            pause();
        }
        Err(io::Error::other(format!("the server does not listen on {}", self.endpoint)))
    }

    fn with_log(&self, error: &io::Error) -> io::Error {
        let log = fs::read_to_string(self.data.with_extension("log")).unwrap_or_default();
        io::Error::other(format!("{error}:\n{log}"))
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// Asks it to stop, and waits until it has. An end with an error is one.
    pub(super) fn stop(mut self) -> io::Result<()> {
        terminate(&mut self.child).map_err(|error| self.with_log(&error))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, or nothing more can be done.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Asks a process to end, and waits until it has, without an error.
pub(super) fn terminate(child: &mut Child) -> io::Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    }
    let start = clock::now();
    while start.elapsed() < PATIENCE {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(io::Error::other(format!("it ended with {status}"))),
            None => pause(),
        }
    }
    Err(io::Error::other("it did not stop"))
}

#[expect(clippy::disallowed_methods, reason = "a thread of the suite's own, and no shard")]
pub(super) fn pause() {
    std::thread::sleep(PAUSE);
}

/// The first of as many free ports in a row as a node and its shards take.
pub(super) fn free_ports(shards: u32) -> io::Result<u16> {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let wanted = u16::try_from(shards).unwrap_or(u16::MAX);
        let Some(last) = first.checked_add(wanted) else { continue };
        if (first..=last).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return Ok(first);
        }
    }
    Err(io::Error::other("no free ports"))
}
