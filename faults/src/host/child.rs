//! A child process that does not outlive its guard, nor the thread that started it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

const POLL: Duration = Duration::from_millis(5);

/// A running program.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Exited(ExitStatus),
    /// It was told to stop, did not within the time it was given, and was killed.
    Killed,
}

impl Child {
    /// Starts a program in a network namespace, or in ours; its output is added to `log`. The environment
    /// holds nothing of ours but the search path. The calling thread must live as long as the child is to.
    pub(crate) fn start(
        program: &Path,
        arguments: &[OsString],
        environment: &[(&str, String)],
        namespace: Option<&PathBuf>,
        log: &Path,
    ) -> io::Result<Self> {
        let log = File::options().append(true).create(true).open(log)?;
        let mut line: Vec<OsString> = Vec::new();
        if let Some(namespace) = namespace {
            let mut net = OsString::from("--net=");
            net.push(namespace);
            line.extend(["nsenter".into(), net, "--".into()]);
        }
        line.extend(["setpriv", "--pdeathsig", "KILL", "--"].map(OsString::from));
        line.push(program.into());
        // All of them replace themselves by the next, so that the process id is the program's.
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).args(arguments).process_group(0).env_clear();
        command.env("PATH", super::command::search_path());
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self { process: command.spawn()? })
    }

    /// How it ended, if it has.
    pub(crate) fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process id out of range"))?;
        Ok(kill_process(pid, signal)?)
    }

    /// SIGKILL. [`Self::kill`] waits as well.
    pub(crate) fn strike(&mut self) -> io::Result<()> {
        self.process.kill()
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.process.kill()?;
        self.process.wait().map(drop)
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// SIGTERM, and SIGKILL when that takes longer than `patience`.
    pub(crate) async fn stop(&mut self, patience: Duration) -> io::Result<Stop> {
        if self.exited()?.is_none() {
            self.signal(Signal::TERM)?;
        }
        if let Ok(status) = tokio::time::timeout(patience, self.ended()).await {
            return status.map(Stop::Exited);
        }
        self.kill()?;
        Ok(Stop::Killed)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        drop(self.kill());
    }
}
