//! One node: a process, its data and its log.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::network::Network;
use crate::error::{RigError, within};
use crate::host::{Child, Disk, Stop, run};

const PORT: u16 = 7400;
const HTTP_PORT: u16 = 7480;

/// From the start of a process until it answers, on a machine that is busy.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// From SIGTERM until it is gone. Its own limit is shorter.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// As many lines of its log explain why it ended.
const LINES_SHOWN: usize = 12;

/// See the module. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: u32,
    address: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, String)>,
    namespace: Option<PathBuf>,
    data: PathBuf,
    log: PathBuf,
    // Before the disk, which it has open.
    child: Option<Child>,
    is_paused: bool,
    disk: Option<Disk>,
}

impl Node {
    /// A node that does not run yet. Its data lies in `folder`, or on the disk.
    pub(crate) fn new(
        id: u32,
        program: &Path,
        network: &Network,
        folder: &Path,
        disk: Option<Disk>,
    ) -> Self {
        let host = network.host(id);
        let home = disk
            .as_ref()
            .map_or_else(|| folder.join(format!("node-{id}")), |disk| disk.path().to_owned());
        let data = home.join("data");
        let address = format!("{host}:{PORT}");
        let arguments = ["serve", "--node-id", &id.to_string(), "--listen", &address]
            .into_iter()
            .chain(["--http", &format!("{host}:{HTTP_PORT}"), "--data"])
            .map(OsString::from)
            .chain([data.clone().into_os_string()])
            .collect();
        Self {
            id,
            address,
            program: program.to_owned(),
            arguments,
            environment: Vec::new(),
            namespace: network.namespace(id),
            data,
            log: folder.join(format!("node-{id}.log")),
            child: None,
            is_paused: false,
            disk,
        }
    }

    pub(crate) fn with_environment(mut self, environment: &[(&'static str, String)]) -> Self {
        self.environment.extend(environment.iter().cloned());
        self
    }

    /// HOST:PORT of gRPC.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// The process starts; see [`Self::ready`].
    pub(crate) fn start(&mut self) -> Result<(), RigError> {
        let home = self.data.parent().unwrap_or(&self.data);
        std::fs::create_dir_all(home).map_err(RigError::at("cannot make a folder for a node"))?;
        let child = Child::start(
            &self.program,
            &self.arguments,
            &self.environment,
            self.namespace.as_ref(),
            &self.log,
        );
        self.child = Some(child.map_err(RigError::at("cannot start a node"))?);
        Ok(())
    }

    /// Waits until it answers.
    pub(crate) async fn ready(&mut self) -> Result<(), RigError> {
        let client = forebay_client::Client::without_connecting([self.address.as_str()])
            .map_err(RigError::at("no client of a node"))?;
        let admin = client.admin();
        let what = format!("node {} answers", self.id);
        within(READY_WITHIN, what, async {
            loop {
                self.still_runs()?;
                if admin.list_topics().await.is_ok() {
                    return Ok(());
                }
                tokio::time::sleep(POLL).await;
            }
        })
        .await?
    }

    /// Tells when it has ended by itself, which it should not. It is then not running.
    pub(crate) fn still_runs(&mut self) -> Result<(), RigError> {
        let Some(child) = &mut self.child else { return Ok(()) };
        let status = child.exited().map_err(RigError::at("cannot watch a node"))?;
        let Some(status) = status else { return Ok(()) };
        self.child = None;
        let said = self.last_lines();
        let what = format!("node {} has ended by itself ({status}); it said:\n{said}", self.id);
        Err(RigError::Unusable(what))
    }

    /// SIGKILL to all of these at the same moment, and waits until they are gone.
    pub(crate) fn kill_all<'a>(nodes: impl Iterator<Item = &'a mut Self>) -> Result<(), RigError> {
        let mut struck: Vec<&mut Self> = nodes.collect();
        for node in &mut struck {
            if let Some(child) = &mut node.child {
                child.strike().map_err(RigError::at("cannot kill a node"))?;
            }
        }
        for node in struck {
            // Waits as it is dropped.
            node.child = None;
            node.is_paused = false;
        }
        Ok(())
    }

    /// SIGTERM; it has to end well.
    pub(crate) async fn stop(&mut self) -> Result<(), RigError> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let how = child.stop(STOPPED_WITHIN).await.map_err(RigError::at("cannot stop a node"))?;
        match how {
            Stop::Exited(status) if status.success() => Ok(()),
            other => Err(RigError::Unusable(format!(
                "node {} was told to stop, and {other:?}; it said:\n{}",
                self.id,
                self.last_lines()
            ))),
        }
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> Result<(), RigError> {
        if let Some(child) = &mut self.child {
            child.ended().await.map_err(RigError::at("cannot watch a node"))?;
        }
        self.child = None;
        Ok(())
    }

    pub(crate) fn pause(&mut self) -> Result<(), RigError> {
        self.is_paused = true;
        self.signal(Signal::STOP)
    }

    pub(crate) fn resume(&mut self) -> Result<(), RigError> {
        self.is_paused = false;
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), RigError> {
        let Some(child) = &self.child else { return Ok(()) };
        child.signal(signal).map_err(RigError::at("cannot signal a node"))
    }

    pub(crate) fn disk(&self) -> Result<&Disk, RigError> {
        let none = || RigError::Unusable(format!("node {} has no disk of its own", self.id));
        self.disk.as_ref().ok_or_else(none)
    }

    /// Makes its disk whole and gives it room again, if that is not so.
    pub(crate) fn heal_disk(&mut self) -> Result<(), RigError> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let (is_full, is_broken) = disk.is_harmed();
        let cannot = || RigError::at("cannot heal a disk");
        if is_full {
            disk.empty().map_err(cannot())?;
        }
        if is_broken {
            self.child = None;
            disk.repair().map_err(cannot())?;
        }
        Ok(())
    }

    /// Everything that it stored is gone. It must not run.
    pub(crate) fn wipe(&self) -> Result<(), RigError> {
        std::fs::remove_dir_all(&self.data).map_err(RigError::at("cannot wipe a node's data"))
    }

    /// Remembers everything that it stored. It must not run.
    pub(crate) fn copy_data(&self) -> Result<(), RigError> {
        copy(&self.data, &self.copy())
    }

    /// It has stored what [`Self::copy_data`] remembered, and nothing since.
    pub(crate) fn put_data_back(&self) -> Result<(), RigError> {
        self.wipe()?;
        copy(&self.copy(), &self.data)
    }

    fn copy(&self) -> PathBuf {
        self.data.with_extension("copy")
    }

    /// What it said last.
    pub(crate) fn last_lines(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES_SHOWN)..]
            .iter()
            .flat_map(|line| ["    ", line, "\n"])
            .collect()
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), RigError> {
    let (from, to) = (from.to_string_lossy(), to.to_string_lossy());
    let copied = run("cp", &["-rT", "--sparse=always", &*from, &*to]);
    copied.map(drop).map_err(RigError::at("cannot copy a node's data"))
}
