//! An etcd of a test's own: on free ports, in a folder that goes with it, and ended by its process id.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::config::{Endpoints, EtcdConfig, Span};
use crate::leadership::etcd::connection::Connection;
use crate::leadership::etcd::keys::Keys;
use crate::leadership::etcd::txn::get;

/// How often other ports are tried when somebody else was quicker.
const STARTS_MAX: usize = 5;

/// How long an etcd may take to serve on a machine that is busy.
const START_PATIENCE: Duration = Duration::from_mins(1);

/// A process.
pub(super) struct Etcd {
    child: Child,
    folder: TempDir,
    client: u16,
    peer: u16,
    /// Whatever else it is told.
    flags: Vec<String>,
}

impl Etcd {
    /// One that serves; `None` where etcd is not installed, which is said.
    pub(super) async fn start() -> Option<Self> {
        Self::start_with(&[], Self::config).await
    }

    /// Likewise, with these flags, and asked in this way whether it serves.
    pub(super) async fn start_with(
        flags: &[String],
        way: impl Fn(&Self) -> EtcdConfig,
    ) -> Option<Self> {
        if !is_installed() {
            return None;
        }
        for _ in 0..STARTS_MAX {
            let folder = tempfile::tempdir().expect("a folder");
            let flags = flags.to_vec();
            let (client, peer) = (free_port(), free_port());
            let child = spawn(&folder, client, peer, &flags);
            let mut etcd = Self { child, folder, client, peer, flags };
            if etcd.serves(way(&etcd)).await {
                return Some(etcd);
            }
        }
        panic!("no etcd came up");
    }

    /// Whether it serves; not when it has ended, because a port was taken.
    async fn serves(&mut self, config: EtcdConfig) -> bool {
        let connection = Connection::new(&config).expect("right settings");
        let asked = connection.read(vec![get("/")]);
        let ended = async {
            while self.child.try_wait().expect("a child").is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let either = async {
            tokio::select! {
                answer = asked => answer.is_ok(),
                () = ended => false,
            }
        };
        timeout(START_PATIENCE, either).await.expect("etcd serves or ends")
    }

    /// Settings that lead to it.
    pub(super) fn config(&self) -> EtcdConfig {
        config_of("http", self.client)
    }

    pub(super) fn port(&self) -> u16 {
        self.client
    }

    /// A way to it, beside whatever is tested.
    pub(super) fn connection(&self) -> Connection {
        Connection::new(&self.config()).expect("right settings")
    }

    /// Ends it as a power cut does.
    pub(super) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    /// A copy of its data, for [`Self::put_back`]. It must be killed.
    pub(super) fn back_up(&self) -> TempDir {
        let backup = tempfile::tempdir().expect("a folder");
        copy(&self.folder.path().join("data"), backup.path());
        backup
    }

    /// Puts an earlier state in the place of its data: the revisions since then are used again. It must be
    /// killed.
    pub(super) fn put_back(&self, backup: &TempDir) {
        let data = self.folder.path().join("data");
        std::fs::remove_dir_all(&data).expect("removed");
        copy(backup.path(), &data);
    }

    /// Starts it again with its data, after [`Self::kill`]. Does not wait.
    pub(super) fn revive(&mut self) {
        self.child = spawn(&self.folder, self.client, self.peer, &self.flags);
    }

    /// Stops its time.
    pub(super) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(super) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("signalled");
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Settings that lead to an etcd on this port of this machine.
pub(super) fn config_of(scheme: &str, port: u16) -> EtcdConfig {
    EtcdConfig {
        endpoints: Endpoints(vec![format!("{scheme}://127.0.0.1:{port}")]),
        lease_ttl: Span::from_millis(5_000),
        request_timeout: Span::from_millis(1_000),
        ..EtcdConfig::default()
    }
}

/// The keys of the clusters of these tests.
pub(super) fn keys() -> Keys {
    Keys::new(EtcdConfig::default().prefix.as_str())
}

fn is_installed() -> bool {
    let found = Command::new("etcd").arg("--version").stdout(Stdio::null()).status().is_ok();
    let must = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(found || !must, "etcd is not installed; on Debian: apt-get install etcd-server");
    if !found {
        writeln!(std::io::stderr(), "NOT RUN: etcd is not installed").ok();
    }
    found
}

fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    let done = command.arg("-rT").args([from, to]).status().expect("cp runs");
    assert!(done.success(), "copied");
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn spawn(folder: &TempDir, client: u16, peer: u16, flags: &[String]) -> Child {
    let scheme =
        if flags.iter().any(|flag| flag.starts_with("--cert-file")) { "https" } else { "http" };
    let client = format!("{scheme}://127.0.0.1:{client}");
    let peer = format!("http://127.0.0.1:{peer}");
    let log = std::fs::File::create(folder.path().join("log")).expect("a log");
    Command::new("etcd")
        .arg("--name=etcd")
        .arg(format!("--data-dir={}", folder.path().join("data").display()))
        .arg(format!("--listen-client-urls={client}"))
        .arg(format!("--advertise-client-urls={client}"))
        .arg(format!("--listen-peer-urls={peer}"))
        .arg(format!("--initial-advertise-peer-urls={peer}"))
        .arg(format!("--initial-cluster=etcd={peer}"))
        .args(["--heartbeat-interval=50", "--election-timeout=500", "--logger=zap"])
        .args(flags)
        .env_clear()
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("etcd starts")
}
