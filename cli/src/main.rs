//! The `forebay` command: a node (`serve`), and a client of nodes (`topic …`, `cluster …`, `ready`).
//!
//! Every command gives back a [`Failure`] or nothing; this file alone turns that into an
//! exit code. It owns no logic of its own.

mod arguments;
mod client;
mod clock;
mod cluster;
mod duration;
mod failure;
mod input;
mod output;
mod pattern;
mod range;
mod ready;
mod serve;
mod topic;
mod trouble;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::{CommandFactory, Parser};
use failure::Failure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Serve(serve) => serve::run(serve),
        Command::Topic(topic) => topic::run(topic),
        Command::Ready(ready) => ready::run(&ready),
        Command::Cluster(cluster) => cluster::run(cluster),
        Command::Completion { shell } => {
            let mut stdout = output::Stdout::new()?;
            let mut command = Arguments::command();
            clap_complete::generate(shell, &mut command, "forebay", stdout.buffer());
            stdout.flush()
        }
    }
}
