//! Runs the `forebay` binary.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio},
    thread::JoinHandle,
};

use super::Server;

/// One call of `forebay`, being put together.
#[derive(Debug)]
pub(crate) struct Forebay {
    command: Command,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The exit code; `None` after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// A call that has not ended, whose output is read by lines.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Standard error, gathered so that it never fills its pipe.
    stderr: Option<JoinHandle<String>>,
}

impl Forebay {
    /// `forebay` with these arguments, free of the environment's own settings.
    pub(crate) fn new<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("FOREBAY_") || name == "RUST_LOG")
            {
                command.env_remove(name);
            }
        }
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command }
    }

    pub(crate) fn arguments<S: AsRef<OsStr>>(mut self, more: impl IntoIterator<Item = S>) -> Self {
        self.command.args(more);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts a node; see [`Server`].
    pub(crate) fn serve(self) -> Server {
        Server::start(self.command)
    }

    /// Runs to the end without input.
    pub(crate) fn run(mut self) -> Outcome {
        Outcome::from(self.command.output().expect("the forebay binary"))
    }

    /// Runs to the end with `input` on standard input.
    pub(crate) fn run_with(mut self, input: &[u8]) -> Outcome {
        let mut child = self.command.stdin(Stdio::piped()).spawn().expect("the forebay binary");
        let mut stdin = child.stdin.take().expect("a pipe");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let outcome = Outcome::from(child.wait_with_output().expect("the end of the command"));
        // The command may have refused before it read everything.
        let _broken_pipe = writer.join().expect("a thread that only writes");
        outcome
    }

    /// Starts, with standard input open for [`Running::stdin`].
    pub(crate) fn start(mut self) -> Running {
        let mut child = self.command.stdin(Stdio::piped()).spawn().expect("the forebay binary");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let stderr = child.stderr.take().expect("a pipe");
        let gather = || std::io::read_to_string(stderr).unwrap_or_else(|error| error.to_string());
        Running { child, lines, stderr: Some(std::thread::spawn(gather)) }
    }
}

impl Running {
    /// The next line of standard output; panics with what stands on standard error when there is none.
    pub(crate) fn line(&mut self) -> String {
        let Some(line) = self.lines.next() else {
            let status = self.child.wait().expect("the end of the command");
            panic!("no more output; {status}; standard error:\n{}", self.gathered_stderr());
        };
        line.expect("lines in UTF-8")
    }

    /// Reads lines until one contains `text`, and gives it back.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Where to write its input. Dropped, it is the end of the input.
    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("taken once")
    }

    /// Closes its standard output, as `head` does.
    pub(crate) fn close_stdout(self) -> Waiting {
        let Self { child, lines, stderr } = self;
        drop(lines);
        Waiting { child, stderr }
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("a process of ours");
    }

    /// Whether it is still running.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the state of the command").is_none()
    }

    /// Waits for the end; the output is what has not been read as lines.
    pub(crate) fn wait(mut self) -> Outcome {
        drop(self.child.stdin.take());
        let rest = self.lines.by_ref().map(|line| line.expect("lines in UTF-8") + "\n");
        let stdout = rest.collect::<String>().into_bytes();
        let status = self.child.wait().expect("the end of the command");
        Outcome { code: status.code(), stdout, stderr: self.gathered_stderr() }
    }

    fn gathered_stderr(&mut self) -> String {
        self.stderr
            .take()
            .map_or_else(String::new, |thread| thread.join().expect("a thread that only reads"))
    }
}

/// A command whose output nobody reads any more.
#[derive(Debug)]
pub(crate) struct Waiting {
    child: Child,
    stderr: Option<JoinHandle<String>>,
}

impl Waiting {
    pub(crate) fn wait(mut self) -> Outcome {
        drop(self.child.stdin.take());
        let status = self.child.wait().expect("the end of the command");
        let stderr =
            self.stderr.take().expect("not yet joined").join().expect("a thread that only reads");
        Outcome { code: status.code(), stdout: Vec::new(), stderr }
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { code: output.status.code(), stdout: output.stdout, stderr }
    }
}

impl Outcome {
    /// Standard output of a call that must have succeeded.
    pub(crate) fn success(self) -> Vec<u8> {
        assert_eq!(self.code, Some(0), "standard error: {}", self.stderr);
        self.stdout
    }

    /// The same as text.
    pub(crate) fn success_text(self) -> String {
        String::from_utf8(self.success()).expect("text")
    }

    /// Standard error of a call that must have ended with `code`, and printed no data.
    pub(crate) fn failure(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "standard error: {}", self.stderr);
        assert_eq!(String::from_utf8_lossy(&self.stdout), "", "data on standard output");
        self.stderr
    }
}
