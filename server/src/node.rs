//! A node as the program sees it that has started it: run, started, stopped, and why it ended.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use forebay_engine::DataDirectoryError;

use crate::config::Config;
use crate::control::ShardFailed;
use crate::leadership::StateFileError;
use crate::leadership::etcd::identity::StartError;
use crate::net::{BindError, SpawnError, Stop, StopSignal};
use crate::ports::Addresses;
use crate::run::Serving;
use crate::shutdown::EndSignals;
use crate::telemetry::{self, LogFilterError};

/// Why a node could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The data directory.
    #[error(transparent)]
    Data(#[from] DataDirectoryError),
    /// A port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The cluster that it is to belong to.
    #[error(transparent)]
    Cluster(#[from] StartError),
    /// The topics.
    #[error(transparent)]
    State(#[from] StateFileError),
    /// A shard's thread.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A shard could not start, or its disk failed. What was acknowledged as durable is.
    #[error(transparent)]
    Shard(#[from] ShardFailed),
    /// Something that the system refuses to the control thread.
    #[error("the control thread cannot {what}: {source}")]
    Control {
        /// What it wanted.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The shards did not close their logs in time. The next start looks through them.
    #[error("the shards did not end in time; the next start looks through their logs")]
    StopTimedOut,
    /// What chooses the lines of the log cannot be understood.
    #[error(transparent)]
    LogFilter(#[from] LogFilterError),
    /// A signal came before the node served.
    #[error("told to stop before it served")]
    StoppedAtStart,
    /// A second signal came while the node was stopping. The next start looks through the logs.
    #[error("interrupted while stopping; the next start looks through the logs")]
    Interrupted,
}

/// A node that runs in threads of its own.
#[derive(Debug)]
pub struct Node {
    addresses: Addresses,
    stop: Stop,
    control: JoinHandle<Result<(), RunError>>,
}

/// Runs a node until it is told to stop by SIGTERM or SIGINT. Everything that was acknowledged as
/// durable is on stable storage when this returns, whatever it returns.
///
/// # Errors
/// Whatever kept the node from starting, or ended it.
pub fn run(config: Config) -> Result<(), RunError> {
    telemetry::start_logs(config.log.format)?;
    match Node::start_with(config, Owner::Process) {
        // Nothing was promised to anybody yet.
        Err(RunError::StoppedAtStart) => Ok(()),
        node => node?.join(),
    }
}

/// Who listens to signals, and talks to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The node: the process is there for it.
    Process,
    /// The program that has started it.
    Program,
}

impl Node {
    /// Starts a node and returns once it serves. It installs no signal handlers and prints nothing.
    ///
    /// # Errors
    /// Whatever kept it from starting.
    pub fn start(config: Config) -> Result<Self, RunError> {
        Self::start_with(config, Owner::Program)
    }

    /// Where it is reached; ports that the system chose are filled in.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Drains, stops, and leaves a clean data directory.
    ///
    /// # Errors
    /// What kept it from that, or had ended it before.
    pub fn stop(self) -> Result<(), RunError> {
        self.stop.stop();
        self.join()
    }

    fn start_with(config: Config, owner: Owner) -> Result<Self, RunError> {
        let (stop, stopped) = Stop::new();
        let (started, start) = sync_channel(1);
        let control = std::thread::Builder::new()
            .name("forebay-control".to_owned())
            .spawn(move || control_thread(config, owner, &stopped, &started))
            .map_err(|source| RunError::Control { what: "start", source })?;
        match start.recv() {
            Ok(addresses) => Ok(Self { addresses, stop, control }),
            Err(_) => match join(control) {
                Err(error) => Err(error),
                Ok(()) => unreachable!("a control thread that ends well has served"),
            },
        }
    }

    /// Waits until it ends by itself.
    fn join(self) -> Result<(), RunError> {
        let Self { stop, control, .. } = self;
        let ended = join(control);
        drop(stop);
        ended
    }
}

fn join(thread: JoinHandle<Result<(), RunError>>) -> Result<(), RunError> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn control_thread(
    config: Config,
    owner: Owner,
    stopped: &StopSignal,
    started: &SyncSender<Addresses>,
) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| RunError::Control { what: "start its runtime", source })?;
    runtime.block_on(async {
        let signals = match owner {
            Owner::Process => EndSignals::of_process(),
            Owner::Program => Ok(EndSignals::none()),
        };
        let mut signals =
            signals.map_err(|source| RunError::Control { what: "listen to signals", source })?;
        let mut serving = tokio::select! {
            serving = Serving::start(config) => serving?,
            () = signals.next() => return Err(RunError::StoppedAtStart),
        };
        if owner == Owner::Process {
            serving.announce();
        }
        started.send(serving.addresses.clone()).ok();
        tokio::select! {
            failed = serving.control.serve() => return Err(failed.into()),
            () = signals.next_or(stopped) => {}
        }
        tokio::select! {
            result = serving.stop() => result,
            () = signals.next() => Err(RunError::Interrupted),
        }
    })
}
