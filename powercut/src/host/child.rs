//! A child process that does not outlive its guard, nor the thread that started it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

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
    /// Starts `program`; its output goes to `log`, or, where `log` is absent, stdout to a pipe and
    /// stderr to ours. The calling thread must live as long as the child is to.
    pub(crate) fn start(
        program: &Path,
        arguments: &[OsString],
        environment: &[(&str, &str)],
        log: Option<&File>,
    ) -> io::Result<Self> {
        let mut command = Command::new("setpriv");
        // A signal that a terminal sends to the whole group is ours to handle.
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments).process_group(0);
        command.envs(environment.iter().copied()).stdin(Stdio::null());
        match log {
            Some(log) => command.stdout(log.try_clone()?).stderr(log.try_clone()?),
            None => command.stdout(Stdio::piped()),
        };
        Ok(Self { process: command.spawn()? })
    }

    /// Its stdout, once, if it was started with a pipe.
    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.process.stdout.take()
    }

    /// How it ended, if it has.
    pub(crate) fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Waits for the end without doing anything about it.
    pub(crate) fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.wait()
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.process.kill()?;
        self.process.wait().map(drop)
    }

    /// SIGTERM, and SIGKILL when that takes longer than `patience`.
    pub(crate) async fn stop(&mut self, patience: Duration) -> io::Result<Stop> {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process id out of range"))?;
        if self.exited()?.is_none() {
            kill_process(pid, Signal::TERM)?;
        }
        let gone = async {
            loop {
                if let Some(status) = self.process.try_wait()? {
                    return Ok::<_, io::Error>(status);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if let Ok(status) = tokio::time::timeout(patience, gone).await {
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
