//! A `forebay serve` that runs, and what it says.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
};

use rustix::process::{Pid, Signal, kill_process};

/// See the module. It is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Lines of standard error. A thread reads them, so that the server never waits for its log to be read.
    lines: mpsc::Receiver<String>,
    said: String,
}

impl Server {
    /// Starts a command that serves.
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the forebay binary");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // Nobody listens after the test.
                let _nobody_listens = sender.send(line);
            }
        });
        Self { child, lines, said: String::new() }
    }

    /// Waits until it has said `text`; gives back all that it has said so far.
    pub(crate) fn says(&mut self, text: &str) -> &str {
        while !self.said.contains(text) {
            let Ok(line) = self.lines.recv() else {
                let status = self.child.wait().expect("the end of the server");
                panic!("it ended with {status} and has not said {text:?}:\n{}", self.said);
            };
            self.said += &line;
            self.said.push('\n');
        }
        &self.said
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a process of ours");
    }

    /// Waits for its end; gives back the exit code and all that it has said.
    pub(crate) fn wait(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().expect("the end of the server");
        let mut said = std::mem::take(&mut self.said);
        for line in &self.lines {
            said += &line;
            said.push('\n');
        }
        (status.code(), said)
    }
}

impl Drop for Server {
    /// kill -9, and gone when this returns.
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
