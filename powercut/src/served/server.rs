//! A server process on a data directory: started, found ready, killed or stopped.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use forebay_client::{Client, ConnectError};

use crate::host::{Child, Stop};

/// From the start of a process until it answers.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// From SIGTERM until it is gone. Its own limit is shorter.
const STOPPED_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);
/// As many lines of its output explain why it ended.
const OUTPUT_LINES_SHOWN: usize = 8;

/// Which server, and how it is set up.
#[derive(Debug, Clone)]
pub(crate) struct ServerProgram {
    /// The `forebay` binary.
    pub(crate) path: PathBuf,
    /// A mistake that a binary with the feature `fault-injection` is told to make.
    pub(crate) fault: Option<String>,
}

/// Small, and with everything that happens after a while happening soon.
const SETTINGS: [(&str, &str); 8] = [
    ("FOREBAY_NODE__SHARDS", "2"),
    ("FOREBAY_NODE__DRAIN_TIMEOUT", "3s"),
    ("FOREBAY_STORAGE__MEMORY_PER_SHARD", "32MiB"),
    ("FOREBAY_STORAGE__DISK_RESERVE", "16MiB"),
    ("FOREBAY_TOPICS__AUTO_CREATE", "false"),
    ("FOREBAY_TOPICS__SEGMENT_AGE", "1s"),
    ("FOREBAY_LOG__FORMAT", "text"),
    ("RUST_LOG", "info"),
];

/// A running server. Killed when dropped.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    address: Address,
    output: PathBuf,
}

/// Why there is no server that answers.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("cannot start {program}")]
    Process {
        program: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("no client for {address}")]
    Client {
        address: String,
        #[source]
        cause: ConnectError,
    },
    /// The server's own doing.
    #[error("the server {what}; it said:\n{output}")]
    NotReady { what: String, output: String },
}

/// Where a server listens: a loopback address of its own, so that any number of rigs and trials
/// run side by side on the usual ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    host: std::net::Ipv4Addr,
}

impl Address {
    /// One that no other running rig, and nobody in this one, has.
    pub(super) fn unused() -> Self {
        static USED: AtomicU32 = AtomicU32::new(0);
        let within = |number: u32, count: u32| u8::try_from(number % count).expect("below 256");
        let pid = std::process::id();
        let number = USED.fetch_add(1, Ordering::Relaxed);
        let [third, fourth] = [1 + within(pid / 250, 250), 1 + within(pid, 250)];
        Self { host: std::net::Ipv4Addr::new(127, 64 + within(number, 128), third, fourth) }
    }

    fn grpc(self) -> String {
        format!("{}:7400", self.host)
    }

    fn http(self) -> String {
        format!("{}:7480", self.host)
    }

    /// A client of the server that is, or will be, at this address.
    pub(super) fn client(self) -> Result<Client, StartError> {
        Client::without_connecting([self.grpc()])
            .map_err(|cause| StartError::Client { address: self.grpc(), cause })
    }
}

impl Server {
    /// Starts it, and waits until it answers. Its output is added to `output`.
    pub(super) async fn start(
        program: &ServerProgram,
        data: &Path,
        address: Address,
        output: &Path,
    ) -> Result<Self, StartError> {
        let arguments = [
            "serve".into(),
            "--data".into(),
            data.into(),
            "--listen".into(),
            address.grpc().into(),
            "--http".into(),
            address.http().into(),
        ];
        let mut environment = SETTINGS.to_vec();
        if let Some(fault) = &program.fault {
            environment.push(("FOREBAY_FAULT", fault));
        }
        let log = File::options().append(true).create(true).open(output);
        let child = log
            .and_then(|log| Child::start(&program.path, &arguments, &environment, Some(&log)))
            .map_err(|cause| StartError::Process { program: program.path.clone(), cause })?;
        let mut server = Self { child, address, output: output.to_owned() };
        server.ready().await?;
        Ok(server)
    }

    async fn ready(&mut self) -> Result<(), StartError> {
        let client = self.address.client()?;
        let answers = async {
            loop {
                match self.child.exited() {
                    Ok(None) => {}
                    Ok(Some(status)) => return Err(format!("ended at once ({status})")),
                    Err(error) => return Err(format!("cannot be watched ({error})")),
                }
                if client.admin().list_topics().await.is_ok() {
                    return Ok(());
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let what = match tokio::time::timeout(READY_WITHIN, answers).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(what)) => what,
            Err(_elapsed) => format!("did not answer within {READY_WITHIN:?}"),
        };
        Err(StartError::NotReady { what, output: last_lines(&self.output) })
    }

    /// SIGKILL.
    pub(super) fn kill(mut self) -> io::Result<()> {
        self.child.kill()
    }

    /// SIGTERM. Tells what went wrong, if the end was not a clean one in time.
    pub(super) async fn stop(mut self) -> Result<(), String> {
        let wrong = match self.child.stop(STOPPED_WITHIN).await {
            Ok(Stop::Exited(status)) if status.success() => return Ok(()),
            Ok(Stop::Exited(status)) => format!("ended with {status}"),
            Ok(Stop::Killed) => format!("did not stop within {STOPPED_WITHIN:?}"),
            Err(error) => format!("cannot be stopped ({error})"),
        };
        Err(format!("the server {wrong}; it said:\n{}", last_lines(&self.output)))
    }

    /// Waits until it ends by itself, which it never should, and tells what it said.
    pub(super) async fn ended(&mut self) -> String {
        loop {
            let how = match self.child.exited() {
                Ok(None) => None,
                Ok(Some(status)) => Some(format!("ended by itself ({status})")),
                Err(error) => Some(format!("cannot be watched ({error})")),
            };
            if let Some(how) = how {
                return format!("the server {how}; it said:\n{}", last_lines(&self.output));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

pub(super) fn last_lines(output: &Path) -> String {
    let output = fs::read(output).unwrap_or_default();
    let output = String::from_utf8_lossy(&output);
    let lines: Vec<&str> = output.lines().collect();
    let shown = &lines[lines.len().saturating_sub(OUTPUT_LINES_SHOWN)..];
    shown.iter().flat_map(|line| ["    ", line, "\n"]).collect()
}
