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

/// The lines before and behind the table about a node that is alone.
pub const NODE: Markers = ("<!-- bench:begin -->", "<!-- bench:end -->");
/// The lines around the one about a cluster.
pub const CLUSTER: Markers = ("<!-- bench-cluster:begin -->", "<!-- bench-cluster:end -->");

/// What a table stands between.
pub type Markers = (&'static str, &'static str);

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
    #[error("{path} lacks the lines `{begin}` and `{end}`", path = path.display())]
    NoMarkers {
        /// The file.
        path: PathBuf,
        /// The first of them.
        begin: &'static str,
        /// The last of them.
        end: &'static str,
    },
}

/// Writes the tables: of a node, and of a cluster if there is a result of one. Returns whether the file was as
/// it should be before.
///
/// # Errors
/// When there is no result, or no place for a table.
pub fn table(args: &TableArgs) -> Result<bool, TableError> {
    let results = results(&args.results)?;
    let newest = |cluster| {
        let about = results.iter().filter(|result| result.cluster == cluster);
        about.max_by_key(|result| result.started_at_ms)
    };
    let node = newest(false).ok_or(TableError::NoResult { path: args.results.clone() })?;
    let path = &args.readme;
    let text = fs::read_to_string(path).map_err(|source| io_error(path, source))?;
    let mut new = text.clone();
    for (markers, result) in [(NODE, Some(node)), (CLUSTER, newest(true))] {
        let Some(result) = result else { continue };
        let (begin, end) = markers;
        new = replace(&new, markers, &render(result, &args.results))
            .ok_or_else(|| TableError::NoMarkers { path: path.clone(), begin, end })?;
    }
    let same = new == text;
    if !same && !args.check {
        fs::write(path, new).map_err(|source| io_error(path, source))?;
    }
    Ok(same)
}

fn io_error(path: &Path, source: io::Error) -> TableError {
    TableError::Io { path: path.to_owned(), source }
}

fn results(directory: &Path) -> Result<Vec<SuiteResult>, TableError> {
    let entries = fs::read_dir(directory).map_err(|source| io_error(directory, source))?;
    let files = entries.flatten().map(|entry| entry.path());
    let suites = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let read = |path: PathBuf| {
        let text = fs::read(&path).map_err(|source| io_error(&path, source))?;
        serde_json::from_slice(&text).map_err(|source| TableError::Json { path, source })
    };
    suites.map(read).collect()
}

fn replace(text: &str, (begin, end): Markers, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n{table}{end}{after}"))
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
        let (begin, end) = CLUSTER;
        let text = format!("before\n{begin}\nold\n{end}\nafter\n");
        let new = replace(&text, CLUSTER, "new\n").unwrap();
        assert_eq!(new, format!("before\n{begin}\nnew\n{end}\nafter\n"));
        assert_eq!(
            replace(&new, CLUSTER, "new\n"),
            Some(new.clone()),
            "a second time changes nothing"
        );
        assert_eq!(replace(&new, NODE, "new"), None, "they are another table's");
    }
}
