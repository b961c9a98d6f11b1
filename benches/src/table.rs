//! The table of results in the README, between two markers. It is made from the newest committed run
//! and by nobody's hand.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::{
    args::TableArgs,
    suite::SuiteResult,
    units::{bytes_per_second, microseconds},
};

/// The line before the table.
pub const BEGIN: &str = "<!-- bench:begin -->";
/// The line behind it.
pub const END: &str = "<!-- bench:end -->";

/// Why there is no table.
#[derive(Debug, Error)]
pub enum TableError {
    /// A file cannot be read or written.
    #[error("{path}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A result is not one.
    #[error("{path} is not a result of the suite", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// There is no result.
    #[error("no result in {path}", path = path.display())]
    NoResult {
        /// Where one should be.
        path: PathBuf,
    },
    /// The file has no place for the table.
    #[error("{path} lacks the lines `{BEGIN}` and `{END}`", path = path.display())]
    NoMarkers {
        /// The file.
        path: PathBuf,
    },
}

/// Writes the table. Returns whether the file was as it should be before.
///
/// # Errors
/// When there is no result, or no place for the table.
pub fn table(args: &TableArgs) -> Result<bool, TableError> {
    let result = newest(&args.results)?;
    let path = &args.readme;
    let text = fs::read_to_string(path).map_err(|source| io_error(path, source))?;
    let new = replace(&text, &render(&result, &args.results))
        .ok_or_else(|| TableError::NoMarkers { path: path.clone() })?;
    let same = new == text;
    if !same && !args.check {
        fs::write(path, new).map_err(|source| io_error(path, source))?;
    }
    Ok(same)
}

fn io_error(path: &Path, source: io::Error) -> TableError {
    TableError::Io { path: path.to_owned(), source }
}

fn newest(directory: &Path) -> Result<SuiteResult, TableError> {
    let entries = fs::read_dir(directory).map_err(|source| io_error(directory, source))?;
    let mut newest: Option<SuiteResult> = None;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read(&path).map_err(|source| io_error(&path, source))?;
        let result: SuiteResult =
            serde_json::from_slice(&text).map_err(|source| TableError::Json { path, source })?;
        if newest.as_ref().is_none_or(|newest| newest.started_at_ms < result.started_at_ms) {
            newest = Some(result);
        }
    }
    newest.ok_or_else(|| TableError::NoResult { path: directory.to_owned() })
}

fn replace(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

fn render(result: &SuiteResult, directory: &Path) -> String {
    let mut table = String::from("| scenario | result | target | |\n| --- | --- | --- | --- |\n");
    for one in &result.results {
        let (value, target) = one.cells();
        let met = one.measure.as_ref().map_or("", |one| if one.met { "met" } else { "not met" });
        // Writing to a String cannot fail.
        let _infallible = writeln!(table, "| {} | {value} | {target} | {met} |", one.title);
    }
    let floors = &result.floors;
    let machine = &result.machine;
    let _infallible = writeln!(
        table,
        "\nMedians of {} rounds on {} ({} cores, Linux {}, {}), generator and server on the same cores, \
         {} shard{}, commit {}. In the same minutes: one TCP stream over loopback {}, direct writes {}, \
         direct reads {}, 4 KiB write + fdatasync {}, TCP round trip {}; the last two together are the \
         floor of an acknowledgement. Every run: [{}.json]({}/{}.json).",
        result.rounds,
        machine.processor,
        machine.cores,
        machine.kernel,
        machine.disk,
        result.shards,
        if result.shards == 1 { "" } else { "s" },
        machine.commit,
        bytes_per_second(floors.tcp_loopback_bytes_per_second),
        bytes_per_second(floors.direct_write_bytes_per_second),
        bytes_per_second(floors.direct_read_bytes_per_second),
        microseconds(floors.write_fdatasync.p50_us),
        microseconds(floors.tcp_round_trip.p50_us),
        result.name,
        directory.display(),
        result.name,
    );
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let text = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let new = replace(&text, "new\n").unwrap();
        assert_eq!(new, format!("before\n{BEGIN}\nnew\n{END}\nafter\n"));
        assert_eq!(replace(&new, "new\n"), Some(new.clone()), "a second time changes nothing");
        assert_eq!(replace("no markers", "new"), None);
    }
}
