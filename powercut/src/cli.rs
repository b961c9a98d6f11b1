//! The command line: what can be asked for, and what the exit code says.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::campaign::{self, Plan, Progress};
use crate::host::{Interrupt, Scratch, enter_own_mount_namespace, missing_requirements};
use crate::report::Report;
use crate::served::{Served, ServerProgram};
use crate::stand_in::{self, Mistake, StandIn, WriterOptions};
use crate::subject::{RigError, Subject, with_causes};
use crate::trial::Court;

const DONE: u8 = 0;
const FAILED: u8 = 1;
/// Something that power cuts need is not on this machine.
const CANNOT_RUN: u8 = 3;
const INTERRUPTED: u8 = 130;

/// Cuts the power of a recorded disk at random moments and checks that every promise was kept.
///
/// Exit codes: 0 as expected, 1 something was lost or the rig failed, 2 wrong usage, 3 the machine
/// lacks something (named on stderr), 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "forebay-power-cut", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Cut the power of the real server.
    Run(Run),
    /// Judge again what an earlier run kept with `--keep`.
    Judge {
        /// The directory that the run named.
        kept: PathBuf,
        #[command(flatten)]
        server: ServerPath,
    },
    /// Cut the power of a stand-in for the server, with and without mistakes on purpose: shows
    /// that the rig itself works.
    SelfTest {
        /// Cuts for the stand-in without mistakes.
        #[arg(long, default_value_t = 20)]
        cuts: usize,
        #[command(flatten)]
        common: Common,
    },
    /// Say what this machine lacks for power cuts.
    Check,
    #[command(hide = true)]
    StandInWriter(WriterOptions),
}

#[derive(Debug, Clone, Args)]
struct Run {
    /// How many cuts.
    #[arg(long, default_value_t = 20)]
    cuts: usize,
    /// After so many cuts, the workload is run and recorded anew.
    #[arg(long, value_name = "CUTS", default_value_t = 50)]
    cuts_per_recording: usize,
    /// Size of the disk.
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    disk_mib: u64,
    /// Record with this mistake: `skip-fdatasync` or `skip-directory-fsync`. The server must be
    /// built with the feature `fault-injection`.
    #[arg(long, value_name = "NAME")]
    fault: Option<String>,
    /// Succeed when something is lost, and only then; end there.
    #[arg(long)]
    expect_loss: bool,
    #[command(flatten)]
    server: ServerPath,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Args)]
struct ServerPath {
    /// The `forebay` binary; by default the one beside this program.
    #[arg(long = "server", value_name = "FILE")]
    path: Option<PathBuf>,
}

impl ServerPath {
    fn program(&self) -> Result<ServerProgram, RigError> {
        let path = match &self.path {
            Some(path) => path.clone(),
            None => std::env::current_exe()
                .map_err(RigError::at("cannot find the rig itself"))?
                .with_file_name("forebay"),
        };
        // Relative to here, not to the directories that programs are looked for in.
        let path = std::path::absolute(&path).map_err(RigError::at("no server"))?;
        if !path.is_file() {
            return Err(RigError::Unusable(format!("there is no server at {}", path.display())));
        }
        Ok(ServerProgram { path, fault: None })
    }
}

#[derive(Debug, Clone, Args)]
struct Common {
    /// Repeats the choices of an earlier run. Its recordings differ all the same, as the timing
    /// of processes does; `--keep` makes a cut repeatable.
    #[arg(long)]
    seed: Option<u64>,
    /// Cuts that are judged at the same time.
    #[arg(long, default_value_t = 2)]
    parallel: usize,
    /// Keep the image and the facts of each cut that lost something in this directory.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let code = match run(&cli.command) {
        Ok(code) => code,
        Err(RigError::Interrupted) => INTERRUPTED,
        Err(error) => {
            say(&format!("error: {}", with_causes(&error)));
            FAILED
        }
    };
    ExitCode::from(code)
}

fn run(command: &Command) -> Result<u8, RigError> {
    if let Command::StandInWriter(options) = command {
        stand_in::write(options).map_err(RigError::at("the stand-in writer failed"))?;
        return Ok(DONE);
    }
    let missing = missing_requirements();
    if !missing.is_empty() {
        for missing in missing {
            say(&format!("power cuts need {missing}"));
        }
        return Ok(CANNOT_RUN);
    }
    match command {
        Command::Check | Command::StandInWriter(_) => Ok(DONE),
        Command::SelfTest { cuts, common } => in_namespace(|| self_test(*cuts, common)),
        Command::Run(options) => in_namespace(|| cut_the_server(options)),
        Command::Judge { kept, server } => in_namespace(|| judge(kept, server)),
    }
}

fn in_namespace(work: impl FnOnce() -> Result<u8, RigError>) -> Result<u8, RigError> {
    enter_own_mount_namespace().map_err(RigError::at("cannot run `unshare`"))?;
    work()
}

fn cut_the_server(options: &Run) -> Result<u8, RigError> {
    let session = Session::start(&options.common)?;
    let judged = options.server.program()?;
    let recorded = ServerProgram { fault: options.fault.clone(), ..judged.clone() };
    let plan = Plan {
        cuts: options.cuts,
        cuts_per_recording: options.cuts_per_recording,
        seed: session.seed,
        parallel: options.common.parallel,
        image_bytes: options.disk_mib << 20,
        keep: options.common.keep.clone(),
        stop_at_loss: options.expect_loss,
    };
    let report = session.campaign(&Served { recorded, judged }, &plan)?;
    let expectation =
        if options.expect_loss { Expectation::Loss } else { Expectation::NothingLost };
    let name = options.fault.as_ref().map(|fault| format!("forebay, {fault}"));
    session.conclude(name.as_deref().unwrap_or("forebay"), &report, expectation)
}

fn judge(kept: &Path, server: &ServerPath) -> Result<u8, RigError> {
    let interrupt = Interrupt::listen().map_err(RigError::at("cannot listen for signals"))?;
    let judged = server.program()?;
    let subject = Served { recorded: judged.clone(), judged };
    let scratch = Scratch::mount().map_err(RigError::at("cannot mount scratch memory"))?;
    let court = Court { subject: &subject, scratch: &scratch, keep: None, interrupt: &interrupt };
    let verdict = court.try_kept(kept)?;
    for loss in &verdict.losses {
        say(&loss.to_string());
    }
    say(&format!("{} promises checked", verdict.promises_checked));
    Ok(if verdict.losses.is_empty() { DONE } else { FAILED })
}

/// Cuts within which each mistake of the stand-in must show.
const CUTS_PER_MISTAKE_MAX: usize = 60;
const SELF_TEST_IMAGE_BYTES: u64 = 32 << 20;

fn self_test(cuts: usize, common: &Common) -> Result<u8, RigError> {
    let session = Session::start(common)?;
    let mut code = DONE;
    let mistakes = Mistake::value_variants().iter().copied();
    for mistake in std::iter::once(None).chain(mistakes.map(Some)) {
        let plan = Plan {
            cuts: if mistake.is_some() { CUTS_PER_MISTAKE_MAX } else { cuts },
            cuts_per_recording: 20,
            image_bytes: SELF_TEST_IMAGE_BYTES,
            stop_at_loss: mistake.is_some(),
            seed: session.seed,
            parallel: common.parallel,
            keep: common.keep.clone().filter(|_| mistake.is_none()),
        };
        let report = session.campaign(&StandIn { mistake }, &plan)?;
        let name = mistake.as_ref().and_then(ValueEnum::to_possible_value);
        let name = name.as_ref().map_or("no-mistake", |value| value.get_name());
        let expectation =
            if mistake.is_some() { Expectation::Loss } else { Expectation::NothingLost };
        code = code.max(session.conclude(&format!("stand-in, {name}"), &report, expectation)?);
    }
    Ok(code)
}

/// What the user wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expectation {
    NothingLost,
    Loss,
}

/// What a run of this command shares among its campaigns.
struct Session {
    interrupt: Interrupt,
    seed: u64,
    format: Format,
}

impl Session {
    fn start(common: &Common) -> Result<Self, RigError> {
        let interrupt = Interrupt::listen().map_err(RigError::at("cannot listen for signals"))?;
        let seed = match common.seed {
            Some(seed) => seed,
            None => getrandom::u64().map_err(RigError::at("no random seed to be had"))?,
        };
        Ok(Self { interrupt, seed, format: common.format })
    }

    fn campaign<S: Subject>(&self, subject: &S, plan: &Plan) -> Result<Report, RigError> {
        campaign::run(subject, plan, &self.interrupt, &mut |progress| match progress {
            Progress::Recorded(recording) => say(&recording.to_string()),
            Progress::Judged(outcome) if outcome.verdict.losses.is_empty() => {}
            Progress::Judged(outcome) => say(&outcome.to_string()),
        })
    }

    /// Prints the report, and turns it into an exit code.
    fn conclude(
        &self,
        name: &str,
        report: &Report,
        expectation: Expectation,
    ) -> Result<u8, RigError> {
        let is_expected = match expectation {
            // A campaign in which nothing was promised before any cut shows nothing.
            Expectation::NothingLost => !report.has_losses() && report.promises_checked() > 0,
            Expectation::Loss => report.has_losses(),
        };
        let mut stdout = io::stdout().lock();
        let written = match self.format {
            Format::Json => {
                let line = serde_json::json!({
                    "name": name, "as_expected": is_expected, "report": report,
                });
                writeln!(stdout, "{line}")
            }
            Format::Text => {
                let word = if is_expected { "ok" } else { "FAILED" };
                let wanted = match expectation {
                    Expectation::Loss if is_expected => ", as it should",
                    Expectation::Loss => ", but a loss had to be found",
                    Expectation::NothingLost => "",
                };
                writeln!(stdout, "{word}: {name}: {report}{wanted}")
            }
        };
        written.map_err(RigError::at("cannot print the report"))?;
        Ok(if is_expected { DONE } else { FAILED })
    }
}

/// For people, on stderr. Nobody is left to tell if that fails.
fn say(line: &str) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}
