//! The command line: what can be asked for, and what the exit code says.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::error::{RigError, with_causes};
use crate::host::{Interrupt, enter_own_namespaces, missing_for_namespaces};
use crate::report::is_well;
use crate::run::{Course, Verdict, run_all};
use crate::scenario::{SCENARIOS, Scenario};
use crate::self_test::FORGETFUL_MAJORITY;
use crate::soak::{self, Soak};

const DONE: u8 = 0;
const FAILED: u8 = 1;
/// Something that was asked for cannot be done on this machine.
const CANNOT_RUN: u8 = 3;
const INTERRUPTED: u8 = 130;

/// Does harm to a real cluster under load, and has the checker judge what clients and replicas saw.
///
/// Exit codes: 0 nothing wrong, 1 something is wrong or the rig failed, 2 wrong usage, 3 the machine lacks
/// something (named on stderr), 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "forebay-faults", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios, each on a cluster of its own.
    Run {
        /// Which; see `list`. All of them when none is named.
        #[arg(value_parser = scenario_of)]
        scenarios: Vec<Scenario>,
        /// How long the faults of each scenario are repeated; at least once.
        #[arg(long, value_parser = duration_of, default_value = "0s")]
        duration: Duration,
        #[command(flatten)]
        common: Common,
    },
    /// Run scenarios in random order on one cluster for a long time.
    Soak {
        /// For how long; the round that is then under way is finished.
        #[arg(long, value_parser = duration_of, default_value = "2h")]
        duration: Duration,
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(3..=9))]
        nodes: u32,
        /// Where the report is written, as JSON.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Let a majority of disks forget what was acknowledged: succeeds when that is found out.
    SelfTest {
        #[command(flatten)]
        common: Common,
    },
    /// Name the scenarios and what each shows.
    List,
    /// Say what this machine lacks for some of the scenarios.
    Check,
}

#[derive(Debug, Clone, Args)]
struct Common {
    /// The `forebay` binary; by default the one beside this program.
    #[arg(long = "server", value_name = "FILE", env = "FOREBAY")]
    server: Option<PathBuf>,
    /// Repeats the choices of an earlier run, though not the timing of processes.
    #[arg(long)]
    seed: Option<u64>,
    /// Where data and logs lie while a scenario runs, and stay when it fails. It must be on a disk that
    /// has direct I/O. By default beside this program.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Keep data and logs, also when all is well.
    #[arg(long)]
    keep: bool,
    /// Tell what is done when, also when all is well.
    #[arg(long)]
    steps: bool,
}

impl Common {
    fn course(&self, duration: Duration) -> Result<Course, RigError> {
        let own = std::env::current_exe().map_err(RigError::at("cannot find the rig itself"))?;
        let program = self.server.clone().unwrap_or_else(|| own.with_file_name("forebay"));
        // Relative to here, not to the directories that programs are looked for in.
        let program = std::path::absolute(&program).map_err(RigError::at("no server"))?;
        if !program.is_file() {
            return Err(RigError::Unusable(format!("there is no server at {}", program.display())));
        }
        let beside = || own.with_file_name(format!("faults-{}", std::process::id()));
        let folder = self.folder.clone().unwrap_or_else(beside);
        let folder = std::path::absolute(&folder).map_err(RigError::at("no folder"))?;
        let seed = match self.seed {
            Some(seed) => seed,
            None => getrandom::u64().map_err(RigError::at("no random seed to be had"))?,
        };
        Ok(Course { program, folder, seed, duration, keep: self.keep })
    }
}

fn scenario_of(name: &str) -> Result<Scenario, String> {
    let found = SCENARIOS.iter().find(|scenario| scenario.name == name).copied();
    found.ok_or_else(|| "no scenario of that name; `list` names them".to_owned())
}

/// A number with its unit: `90s`, `15m`, `2h`.
fn duration_of(text: &str) -> Result<Duration, String> {
    let seconds = [("h", 3_600), ("m", 60), ("s", 1)].into_iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(seconds)
    });
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "expected a time such as 90s, 15m or 2h".to_owned())
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
    match command {
        Command::List => {
            for scenario in &SCENARIOS {
                print(&format!("{:<28} {}\n", scenario.name, scenario.claim));
            }
            return Ok(DONE);
        }
        Command::Check => {
            let missing = missing_for_namespaces();
            let text =
                missing.as_ref().map(|missing| format!("cut links and small disks need {missing}"));
            say(&text.unwrap_or_default());
            return Ok(if missing.is_some() { CANNOT_RUN } else { DONE });
        }
        _ => {}
    }
    if missing_for_namespaces().is_none() {
        enter_own_namespaces().map_err(RigError::at("cannot make namespaces"))?;
    }
    let interrupt = Interrupt::listen().map_err(RigError::at("cannot listen for signals"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(RigError::at("no runtime"))?;
    // On this thread, which lives as long as the children that it starts may.
    runtime.block_on(async {
        match command {
            Command::Run { scenarios, duration, common } => {
                let scenarios = if scenarios.is_empty() { &SCENARIOS[..] } else { scenarios };
                let course = common.course(*duration)?;
                run_scenarios(scenarios, (&course, common.steps), &interrupt).await
            }
            Command::SelfTest { common } => {
                self_test(&common.course(Duration::ZERO)?, &interrupt).await
            }
            Command::Soak { duration, nodes, out, common } => {
                let course = common.course(*duration)?;
                let out = std::path::absolute(out).map_err(RigError::at("no report"))?;
                run_soak(&Soak { course, nodes: *nodes, out }, &interrupt).await
            }
            Command::List | Command::Check => Ok(DONE),
        }
    })
}

async fn run_scenarios(
    scenarios: &[Scenario],
    (course, steps): (&Course, bool),
    interrupt: &Interrupt,
) -> Result<u8, RigError> {
    say(&format!("seed {}", course.seed));
    let table = run_all(scenarios, course, interrupt, |scenario, verdict| {
        if let Verdict::Judged(outcome) = verdict
            && (steps || !is_well(verdict))
        {
            for step in &outcome.steps {
                say(step);
            }
        }
        tell(scenario, verdict, course);
    })
    .await?;
    print(&table.to_string());
    // Not empty where something failed.
    drop(std::fs::remove_dir(&course.folder));
    Ok(match (table.has_failures(), table.has_gaps()) {
        (true, _) => FAILED,
        (false, true) => CANNOT_RUN,
        (false, false) => DONE,
    })
}

fn tell(scenario: &Scenario, verdict: &Verdict, course: &Course) {
    let problems = match verdict {
        Verdict::Judged(outcome) if outcome.problems.is_empty() => {
            let Some(gap) = outcome.gaps_ms.iter().max() else { return say(scenario.name) };
            return say(&format!("{}: writes went on after {gap} ms", scenario.name));
        }
        Verdict::Judged(outcome) => outcome.problems.clone(),
        Verdict::Broken(what) => vec![what.clone()],
        Verdict::NotRun(_) => return,
    };
    say(&format!("FAILED {} with seed {}: {}", scenario.name, course.seed, scenario.claim));
    for problem in &problems {
        say(problem);
    }
    say(&format!("logs and histories are in {}", course.folder.join(scenario.name).display()));
}

async fn self_test(course: &Course, interrupt: &Interrupt) -> Result<u8, RigError> {
    let mut noticed = false;
    run_all(&[FORGETFUL_MAJORITY], course, interrupt, |_, verdict| {
        match verdict {
            Verdict::Judged(outcome) => {
                noticed = outcome.losses > 0;
                let first = outcome.problems.first().map(String::as_str);
                say(first.unwrap_or("nothing was noticed"));
            }
            Verdict::Broken(what) | Verdict::NotRun(what) => say(what),
        }
        debug_assert!(!noticed || !is_well(verdict), "a violation is a problem");
    })
    .await?;
    let word = if noticed { "found out, as it must be" } else { "NOT found out" };
    say(&format!("a majority of disks that forgets is {word}"));
    if noticed && !course.keep {
        drop(std::fs::remove_dir_all(&course.folder));
    }
    Ok(if noticed { DONE } else { FAILED })
}

async fn run_soak(soak: &Soak, interrupt: &Interrupt) -> Result<u8, RigError> {
    say(&format!("seed {}", soak.course.seed));
    let report = soak::run(soak, interrupt, |outcome| {
        let Outcomes { line, problems } = Outcomes::of(outcome);
        say(&line);
        for problem in problems {
            say(problem);
        }
    })
    .await?;
    drop(std::fs::remove_dir(&soak.course.folder));
    Ok(if report.problems.is_empty() { DONE } else { FAILED })
}

/// A round in a line.
struct Outcomes<'a> {
    line: String,
    problems: &'a [String],
}

impl<'a> Outcomes<'a> {
    fn of(outcome: &'a crate::round::Outcome) -> Self {
        let line = format!(
            "{:<28} {:>7} acknowledged, {:>3} elections, {:>5.1} s, {} violations",
            outcome.scenario,
            outcome.acknowledged,
            outcome.elections,
            outcome.seconds,
            outcome.violations
        );
        Self { line, problems: &outcome.problems }
    }
}

fn print(text: &str) {
    // Nobody is left who could be told that nobody listens.
    drop(io::stdout().lock().write_all(text.as_bytes()));
}

fn say(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}
