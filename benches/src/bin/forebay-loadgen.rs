//! `forebay-loadgen`: see `forebay-loadgen --help`. Results go to stdout, everything else to stderr.

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use forebay_benches::{
    args::{Cli, Command, FloorsArgs, Format, LoadArgs},
    floors::Floors,
    load::LoadError,
    run::{Kind, RunError, run, write_results},
    suite::suite,
    table::table,
};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Exit codes are those of all of the project's commands.
const DONE: u8 = 0;
const FAILED: u8 = 1;
const CONDITION_FALSE: u8 = 3;
const UNREACHABLE: u8 = 4;
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Produce(args) => load(Kind::Produce, &args),
        Command::Consume(args) => load(Kind::Consume, &args),
        Command::E2e(args) => load(Kind::E2e, &args),
        Command::Floors(args) => floors(&args),
        Command::Suite(args) => suite(&args, &mut io::stderr())
            .map_err(Into::into)
            .and_then(|path| print(&path.display().to_string()).map(|()| DONE)),
        Command::Table(args) => {
            let check = args.check;
            table(&args)
                .map_err(Into::into)
                .map(|same| if check && !same { CONDITION_FALSE } else { DONE })
        }
    };
    ExitCode::from(done.unwrap_or_else(|error| {
        let code = code_of(&*error);
        // Without stderr there is nobody to tell.
        let _nobody_listens = writeln!(io::stderr(), "error: {}", with_causes(&*error));
        code
    }))
}

fn load(kind: Kind, args: &LoadArgs) -> Result<u8, Box<dyn Error>> {
    let (summary, mut outcome) = run(kind, args)?;
    match args.format {
        Format::Text => print(&summary.text())?,
        Format::Json => print(&serde_json::to_string_pretty(&summary)?)?,
    }
    if let Some(directory) = &args.out {
        write_results(directory, &summary, &mut outcome)?;
    }
    Ok(if summary.problems.is_empty() { DONE } else { CONDITION_FALSE })
}

fn floors(args: &FloorsArgs) -> Result<u8, Box<dyn Error>> {
    let floors = Floors::measure(&args.directory, args.floor_time)?;
    print(&serde_json::to_string_pretty(&floors)?)?;
    Ok(DONE)
}

fn print(text: &str) -> Result<(), Box<dyn Error>> {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

fn code_of(error: &(dyn Error + 'static)) -> u8 {
    match error.downcast_ref::<RunError>() {
        Some(RunError::Interrupted) => INTERRUPTED,
        Some(RunError::TooLong(_) | RunError::Load(LoadError::Connect(_))) => UNREACHABLE,
        _ => FAILED,
    }
}

/// The error and what caused it, each cause once.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
