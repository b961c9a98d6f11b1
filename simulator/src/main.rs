//! `forebay-simulate`: runs seeds, replays one, and tries what happens without single rules.

use std::io::{self, Write as _};
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use forebay_replication::Mutation;
use forebay_simulator::{
    Campaign, Record, RecordError, Report, Run, Summary, tree_hash, try_all, write_table,
};

/// Runs the replication protocol in seeded worlds, and judges what it does.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run seeds. Ends with 1 when one of them shows something wrong.
    Run {
        /// Which, the end not included.
        #[arg(long, value_parser = parse_range, default_value = "0..2000")]
        seeds: Range<u64>,
        /// On how many threads.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Go on with what this file says was run on the code as it is committed, and add to it.
        #[arg(long)]
        record: Option<PathBuf>,
        /// A rule that is switched off.
        #[arg(long, value_parser = parse_mutation)]
        mutation: Option<Mutation>,
    },
    /// Run one seed, and tell everything that happens.
    Replay {
        /// Which.
        seed: u64,
        /// A rule that is switched off.
        #[arg(long, value_parser = parse_mutation)]
        mutation: Option<Mutation>,
    },
    /// Switch each rule off in turn. Ends with 1 when nobody notices one of them.
    Mutations {
        /// How many seeds each.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// On how many threads.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Write the table into this page.
        #[arg(long)]
        write: Option<PathBuf>,
    },
    /// Tell which fault meets which role.
    Coverage {
        /// How many seeds.
        #[arg(long, default_value_t = 2000)]
        seeds: u64,
        /// On how many threads.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
    },
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let parse = |number: &str| number.parse::<u64>().map_err(|error| error.to_string());
    let (start, end) = text.split_once("..").ok_or("expected FIRST..END, as 0..2000")?;
    Ok(parse(start)?..parse(end)?)
}

fn parse_mutation(text: &str) -> Result<Mutation, String> {
    let found = Mutation::ALL.into_iter().find(|mutation| format!("{mutation:?}") == text);
    let names = || Mutation::ALL.map(|mutation| format!("{mutation:?}")).join(", ");
    found.ok_or_else(|| format!("expected one of {}", names()))
}

fn main() -> ExitCode {
    // A panic is part of a seed's report.
    std::panic::set_hook(Box::new(|_| {}));
    let told = match Arguments::parse().command {
        Verb::Run { seeds, jobs, record, mutation } => run(&seeds, jobs, record, mutation),
        Verb::Replay { seed, mutation } => replay(Run { seed, mutation }),
        Verb::Mutations { seeds, jobs, write } => mutations(seeds, jobs, write),
        Verb::Coverage { seeds, jobs } => coverage(seeds, jobs),
    };
    match told {
        Ok(code) => code,
        Err(error) => {
            let _told = writeln!(io::stderr(), "forebay-simulate: {error}");
            ExitCode::from(2)
        }
    }
}

type Told = Result<ExitCode, Box<dyn std::error::Error>>;

/// Seeds after which a range is recorded.
const RECORDED_SEEDS: u64 = 10_000;

fn run(seeds: &Range<u64>, jobs: usize, path: Option<PathBuf>, mutation: Option<Mutation>) -> Told {
    let mut record = match path {
        Some(path) if mutation.is_none() => Some(Record::open(path, tree_hash()?)?),
        Some(_) => return Err("what is run without a rule is not recorded".into()),
        None => None,
    };
    let left = record.as_ref().map_or_else(|| vec![seeds.clone()], |it| it.left(seeds.clone()));
    for range in left.into_iter().flat_map(pieces) {
        let campaign = Campaign { seeds: range.clone(), jobs, mutation };
        let summary = campaign.run(|_, so_far| {
            let _told = write!(io::stderr(), "\r{} seeds of {range:?}", so_far.seeds);
        });
        let _told = writeln!(io::stderr());
        let numbers = numbers(&summary);
        writeln!(io::stdout(), "{}..{}: {numbers}", range.start, range.end)?;
        if !summary.failed.is_empty() {
            tell_failures(&summary.failed)?;
            return Ok(ExitCode::FAILURE);
        }
        if let Some(record) = &mut record {
            record.add(range, &numbers)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn pieces(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    let step = usize::try_from(RECORDED_SEEDS).unwrap_or(usize::MAX);
    range.step_by(step).map(move |start| start..end.min(start + RECORDED_SEEDS))
}

fn numbers(summary: &Summary) -> String {
    let Summary { events, faults, operations, .. } = summary;
    format!("{events} events {faults} faults {operations} operations")
}

fn tell_failures(failed: &[Report]) -> io::Result<()> {
    let mut out = io::stdout();
    for report in failed {
        let complaints = report.complaints();
        let first = complaints.first().map_or("", String::as_str);
        writeln!(out, "seed {}, {} complaints: {first}", report.seed, complaints.len())?;
    }
    writeln!(out, "{} seeds failed; `forebay-simulate replay SEED` tells more", failed.len())
}

fn replay(run: Run) -> Told {
    let report = run.replay();
    let mut out = io::stdout().lock();
    writeln!(out, "{}", report.transcript.text())?;
    for complaint in report.complaints() {
        writeln!(out, "{complaint}")?;
    }
    let Report { seed, events, faults, operations, .. } = report;
    let fingerprint = report.transcript.fingerprint();
    writeln!(
        out,
        "seed {seed}: {events} events, {faults} faults, {operations} operations, {fingerprint:016x}"
    )?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn mutations(seeds: u64, jobs: usize, page: Option<PathBuf>) -> Told {
    let mut out = io::stdout();
    let all = try_all(seeds, jobs, |caught| {
        let (mutation, times) = (format!("{:?}", caught.mutation), caught.seeds);
        let _told = writeln!(out, "{mutation:<30} {times:>5}  {:?}", caught.by);
    });
    if let Some(path) = page {
        let file = |source| RecordError::File { path: path.clone(), source };
        let text = std::fs::read_to_string(&path).map_err(file)?;
        let text = write_table(&text, seeds, &all).ok_or("the page has no place for the table")?;
        std::fs::write(&path, text).map_err(file)?;
    }
    let all_caught = all.iter().all(|caught| caught.seeds > 0);
    Ok(if all_caught { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn coverage(seeds: u64, jobs: usize) -> Told {
    let summary = Campaign { seeds: 0..seeds, jobs, mutation: None }.run(|_, _| {});
    let mut out = io::stdout();
    writeln!(out, "{}", summary.coverage)?;
    let [events, faults, operations] = summary.fewest.unwrap_or_default();
    writeln!(out, "each seed: at least {events} events, {faults} faults, {operations} operations")?;
    for (kind, role) in summary.coverage.missing() {
        writeln!(out, "never: {kind} of a {role}")?;
    }
    Ok(if summary.coverage.missing().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
