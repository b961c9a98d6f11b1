//! The committed runs: a fresh server, every scenario several times, floors before each, medians.
//! Figures of a shared machine swing, so a result is compared only with floors of the same minute.

mod cluster;
mod machine;
mod place;
mod scenario;
mod server;

use std::{
    collections::HashMap,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::{machine::Machine, scenario::Measure};
use self::{
    place::Places,
    scenario::{CLUSTER_SCENARIOS, SCENARIOS, Scenario},
};
use crate::{
    args::SuiteArgs,
    clock,
    floors::Floors,
    plot,
    run::{RunError, run},
    summary::Summary,
    units::{Rate, bytes_per_second, microseconds, per_second},
};

/// A committed run.
#[derive(Debug, Serialize, Deserialize)]
pub struct SuiteResult {
    /// Its name, which is that of the files too.
    pub name: String,
    /// When it began, in milliseconds since 1970-01-01 UTC.
    pub started_at_ms: u64,
    /// Where.
    pub machine: Machine,
    /// How often each scenario was run.
    pub rounds: usize,
    /// Shards of each server.
    pub shards: u32,
    /// Whether it is about a cluster.
    #[serde(default)]
    pub cluster: bool,
    /// Medians over all measurements of the floors.
    pub floors: Floors,
    /// Medians by scenario.
    pub results: Vec<ScenarioResult>,
    /// Every single run.
    pub runs: Vec<ScenarioRun>,
}

/// Medians of a scenario.
#[derive(Debug, Serialize, Deserialize)]
pub struct ScenarioResult {
    /// Stable.
    pub scenario: String,
    /// For people.
    pub title: String,
    /// What to type for one run of it.
    pub command: String,
    /// Median.
    pub bytes_per_second: f64,
    /// Median.
    pub records_per_second: f64,
    /// Median of the medians.
    pub service_p50_us: Option<f64>,
    /// Median of the 99 %: from the intended send time where there was one.
    pub latency_p99_us: Option<f64>,
    /// Processor time of the server.
    pub server_ns_per_kib: Option<f64>,
    /// Processor time of the generator.
    pub client_ns_per_kib: f64,
    /// Against the target, if there is one.
    pub measure: Option<Measure>,
}

/// One run.
#[derive(Debug, Serialize, Deserialize)]
pub struct ScenarioRun {
    /// Stable.
    pub scenario: String,
    /// Counted from 0.
    pub round: usize,
    /// What came out.
    pub summary: Summary,
}

/// Why there is no result.
#[derive(Debug, Error)]
pub enum SuiteError {
    /// A scenario could not be run.
    #[error("scenario {name}")]
    Run {
        /// Its name.
        name: &'static str,
        /// Why.
        source: Box<RunError>,
    },
    /// A scenario ran and something was wrong with what came back.
    #[error("scenario {name}: {}", problems.join("; "))]
    Wrong {
        /// Its name.
        name: &'static str,
        /// What.
        problems: Vec<String>,
    },
    /// A scenario's flags are not a command line.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    /// The server, or files.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The result cannot be written.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The picture.
    #[error(transparent)]
    Plot(#[from] plot::PlotError),
    /// The directory for the data is somebody else's.
    #[error("{directory} is not empty", directory = directory.display())]
    NotEmpty {
        /// The directory.
        directory: PathBuf,
    },
    /// Nothing was run.
    #[error("no scenario is named like that")]
    Nothing,
}

/// Runs everything and writes JSON and SVG. Blocks. Progress goes to `progress`.
///
/// # Errors
/// When the server does not start, or a scenario cannot be run or brings back something wrong.
pub fn suite(args: &SuiteArgs, progress: &mut impl Write) -> Result<PathBuf, SuiteError> {
    let started_at_ms = clock::wall_ms();
    fs::create_dir_all(&args.data)?;
    if fs::read_dir(&args.data)?.next().is_some() {
        // It is deleted in the end.
        return Err(SuiteError::NotEmpty { directory: args.data.clone() });
    }
    let machine = Machine::here(&args.data);
    let scenarios = if args.cluster.is_some() { CLUSTER_SCENARIOS } else { SCENARIOS };
    let chosen: Vec<&Scenario> = scenarios
        .iter()
        .filter(|one| args.only.as_ref().is_none_or(|only| one.name.contains(only)))
        .collect();
    if chosen.is_empty() {
        return Err(SuiteError::Nothing);
    }
    let places = Places::start(args, &chosen)?;
    let mut runs = Vec::new();
    for round in 0..args.rounds {
        let mut rates = HashMap::new();
        for scenario in &chosen {
            let summary = run_one(args, scenario, &places, &rates)?;
            rates.insert(scenario.name, summary.records_per_second);
            writeln!(progress, "round {round}, {}:\n{}\n", scenario.name, summary.text())?;
            runs.push(ScenarioRun { scenario: scenario.name.to_owned(), round, summary });
        }
    }
    places.stop()?;
    fs::remove_dir_all(&args.data)?;
    let name = args.name.clone().unwrap_or_else(|| {
        let name = default_name(started_at_ms, &machine);
        if args.cluster.is_some() { format!("{name}-cluster") } else { name }
    });
    let result = SuiteResult {
        floors: median_floors(&runs).ok_or(SuiteError::Nothing)?,
        results: chosen.iter().filter_map(|one| result_of(one, &runs)).collect(),
        name,
        started_at_ms,
        machine,
        rounds: args.rounds,
        shards: args.shards,
        cluster: args.cluster.is_some(),
        runs,
    };
    write(&args.out, &result)
}

fn run_one(
    args: &SuiteArgs,
    scenario: &Scenario,
    places: &Places,
    rates: &HashMap<&str, f64>,
) -> Result<Summary, SuiteError> {
    let mut load = scenario.arguments()?;
    places.direct(&mut load, scenario.on);
    load.duration = args.duration;
    if !scenario.flags.contains("--warmup") {
        load.warmup = args.warmup;
    }
    load.floor_time = args.floor_time;
    if let Some(full) = scenario.half_of.and_then(|other| rates.get(other)) {
        load.rate = Some(Rate(full / 2.0));
    }
    let (summary, _) = run(scenario.kind, &load)
        .map_err(|source| SuiteError::Run { name: scenario.name, source: Box::new(source) })?;
    if !summary.problems.is_empty() {
        let problems = summary.problems.clone();
        return Err(SuiteError::Wrong { name: scenario.name, problems });
    }
    Ok(summary)
}

fn default_name(started_at_ms: u64, machine: &Machine) -> String {
    let days = started_at_ms / 86_400_000;
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}-{}", machine.commit.trim_end_matches('+'))
}

/// The day of the Gregorian calendar, so many days after 1970-01-01 (Howard Hinnant's algorithm).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The middle one; of an even number the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], upper)
    } else {
        upper
    })
}

fn result_of(scenario: &Scenario, runs: &[ScenarioRun]) -> Option<ScenarioResult> {
    let own: Vec<&ScenarioRun> = runs.iter().filter(|run| run.scenario == scenario.name).collect();
    let of = |value: &dyn Fn(&Summary) -> Option<f64>| {
        median(own.iter().filter_map(|run| value(&run.summary)).collect())
    };
    let values = own.iter().filter_map(|run| {
        let other = |name: &str| {
            let same = runs.iter().find(|one| one.round == run.round && one.scenario == name)?;
            Some(same.summary.bytes_per_second)
        };
        scenario.goal.value(&run.summary, other)
    });
    Some(ScenarioResult {
        scenario: scenario.name.to_owned(),
        title: scenario.title.to_owned(),
        command: format!("forebay-loadgen {} {}", scenario.kind.name(), scenario.flags),
        bytes_per_second: of(&|one| Some(one.bytes_per_second))?,
        records_per_second: of(&|one| Some(one.records_per_second))?,
        service_p50_us: of(&|one| Some(one.service_time?.p50_us)),
        latency_p99_us: of(&|one| Some(one.latency_intended.or(one.service_time)?.p99_us)),
        server_ns_per_kib: of(&|one| one.cpu.server_ns_per_kib),
        client_ns_per_kib: of(&|one| Some(one.cpu.client_ns_per_kib))?,
        measure: median(values.collect()).and_then(|value| scenario.goal.measure(value)),
    })
}

fn median_floors(runs: &[ScenarioRun]) -> Option<Floors> {
    let all: Vec<&Floors> = runs.iter().filter_map(|run| run.summary.floors.as_ref()).collect();
    let of = |value: &dyn Fn(&Floors) -> f64| median(all.iter().map(|one| value(one)).collect());
    let mut floors = (*all.first()?).clone();
    floors.memcpy_bytes_per_second = of(&|one| one.memcpy_bytes_per_second)?;
    floors.crc32c_bytes_per_second = of(&|one| one.crc32c_bytes_per_second)?;
    floors.tcp_loopback_bytes_per_second = of(&|one| one.tcp_loopback_bytes_per_second)?;
    floors.direct_write_bytes_per_second = of(&|one| one.direct_write_bytes_per_second)?;
    floors.direct_read_bytes_per_second = of(&|one| one.direct_read_bytes_per_second)?;
    floors.write_fdatasync.p50_us = of(&|one| one.write_fdatasync.p50_us)?;
    floors.write_fdatasync.p99_us = of(&|one| one.write_fdatasync.p99_us)?;
    floors.tcp_round_trip.p50_us = of(&|one| one.tcp_round_trip.p50_us)?;
    floors.tcp_round_trip.p99_us = of(&|one| one.tcp_round_trip.p99_us)?;
    Some(floors)
}

fn write(directory: &Path, result: &SuiteResult) -> Result<PathBuf, SuiteError> {
    fs::create_dir_all(directory)?;
    let path = directory.join(format!("{}.json", result.name));
    let mut json = serde_json::to_vec_pretty(result)?;
    json.push(b'\n');
    fs::write(&path, json)?;
    let bars: Vec<(String, f64)> = result
        .results
        .iter()
        .map(|one| {
            let rates = format!(
                "{}: {}, {} records",
                one.scenario,
                bytes_per_second(one.bytes_per_second),
                per_second(one.records_per_second)
            );
            (rates, one.bytes_per_second / 1e9)
        })
        .collect();
    let floor = result.floors.tcp_loopback_bytes_per_second / 1e9;
    plot::bars(&directory.join(format!("{}.svg", result.name)), &result.name, &bars, floor)?;
    Ok(path)
}

impl ScenarioResult {
    /// The result in the unit of its target, and the target.
    pub fn cells(&self) -> (String, String) {
        let Some(measure) = &self.measure else {
            return (bytes_per_second(self.bytes_per_second), String::new());
        };
        let bound = if measure.at_least { "≥" } else { "≤" };
        match measure.metric.as_str() {
            "records_per_second" => {
                (per_second(measure.value), format!("{bound} {}", per_second(measure.target)))
            }
            "service_p50_over_floor" => (
                format!(
                    "{} = {:.2} × floor",
                    self.service_p50_us.map(microseconds).unwrap_or_default(),
                    measure.value
                ),
                format!("{bound} {} × floor", measure.target),
            ),
            "latency_p99_over_floor" => (
                format!(
                    "{} = {:.2} × floor",
                    self.latency_p99_us.map(microseconds).unwrap_or_default(),
                    measure.value
                ),
                format!("{bound} {} × floor", measure.target),
            ),
            other => {
                let of = match other {
                    "of_tcp_loopback" => "of TCP loopback",
                    "of_direct_read" => "of direct reads",
                    _ => "",
                };
                let rate = bytes_per_second(self.bytes_per_second);
                (
                    format!("{rate} = {:.0} % {of}", measure.value * 100.0).trim_end().to_owned(),
                    format!("{bound} {:.0} % {of}", measure.target * 100.0).trim_end().to_owned(),
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(20_454), (2026, 1, 1));
    }

    #[test]
    fn the_median_does_not_follow_an_outlier() {
        assert_eq!(median(vec![1.0, 100.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![1.0, 2.0]), Some(1.5));
        assert_eq!(median(Vec::new()), None);
    }
}
