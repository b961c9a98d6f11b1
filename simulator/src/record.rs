//! Which seeds were run on which code: a text file that lives in the repository.
//!
//! A line per range: `<first>..<end> <tree> <events> events <faults> faults <operations> operations`. The tree is that of
//! the sources that decide what a seed does, so that a change elsewhere does not void what was run.

use std::fs;
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;

use thiserror::Error;

/// Folders that decide what a seed does.
const TESTED: [&str; 4] = ["format/src", "replication/src", "checker/src", "simulator/src"];

/// Why a record cannot be kept.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The file cannot be read or written.
    #[error("{path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Git does not say what the tree is.
    #[error("git {arguments} failed: {what}")]
    Git {
        /// What was asked.
        arguments: String,
        /// What it said.
        what: String,
    },
    /// What is built is not what is committed, so that no commit names it.
    #[error("uncommitted changes in the tested sources:\n{0}")]
    Uncommitted(String),
    /// A line that nobody wrote like this.
    #[error("{path}, line {line}: expected `<first>..<end> <tree> …`")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
}

/// A record file.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    tree: String,
    /// Ranges that were run on this tree.
    done: Vec<Range<u64>>,
}

impl Record {
    /// Reads what there is for `tree`. A file that is not there is empty.
    ///
    /// # Errors
    /// A file that cannot be read, or is something else.
    pub fn open(path: PathBuf, tree: String) -> Result<Self, RecordError> {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(RecordError::File { path, source }),
        };
        let mut done = Vec::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
            let Some((range, of)) = parse(line) else {
                return Err(RecordError::Malformed { path, line: index + 1 });
            };
            if of == tree {
                done.push(range);
            }
        }
        Ok(Self { path, tree, done })
    }

    /// What of `seeds` is still to be run.
    pub fn left(&self, seeds: Range<u64>) -> Vec<Range<u64>> {
        let mut left = vec![seeds];
        for done in &self.done {
            let without = |range: Range<u64>| {
                let before = range.start..range.end.min(done.start);
                let after = range.start.max(done.end)..range.end;
                [before, after].into_iter().filter(|part| !part.is_empty())
            };
            left = left.into_iter().flat_map(without).collect();
        }
        left
    }

    /// Adds a range that was run without a complaint.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn add(&mut self, seeds: Range<u64>, numbers: &str) -> Result<(), RecordError> {
        let file = |source| RecordError::File { path: self.path.clone(), source };
        let mut out =
            fs::OpenOptions::new().create(true).append(true).open(&self.path).map_err(file)?;
        writeln!(out, "{}..{} {} {numbers}", seeds.start, seeds.end, self.tree).map_err(file)?;
        self.done.push(seeds);
        Ok(())
    }
}

fn parse(line: &str) -> Option<(Range<u64>, &str)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once("..")?;
    Some((start.parse().ok()?..end.parse().ok()?, words.next()?))
}

/// A hash of the sources that decide what a seed does, as they are committed.
///
/// # Errors
/// No git, no repository, or changes that are not committed.
pub fn tree_hash() -> Result<String, RecordError> {
    let changed = git(&["status", "--porcelain", "--", ":/"])?;
    let changed: Vec<_> = changed
        .lines()
        .filter(|line| TESTED.iter().any(|folder| line[3.min(line.len())..].starts_with(folder)))
        .collect();
    if !changed.is_empty() {
        return Err(RecordError::Uncommitted(changed.join("\n")));
    }
    let trees = TESTED.map(|folder| format!("HEAD:{folder}"));
    let arguments: Vec<_> =
        std::iter::once("rev-parse").chain(trees.iter().map(String::as_str)).collect();
    let hashes = git(&arguments)?;
    Ok(hashes.lines().map(|hash| hash.get(..8).unwrap_or(hash)).collect::<Vec<_>>().join("-"))
}

fn git(arguments: &[&str]) -> Result<String, RecordError> {
    let failed = |what: String| RecordError::Git { arguments: arguments.join(" "), what };
    let output =
        Command::new("git").args(arguments).output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(done: &[Range<u64>]) -> Record {
        Record { path: PathBuf::new(), tree: "t".to_owned(), done: done.to_vec() }
    }

    #[test]
    fn what_is_left_is_what_no_range_covers() {
        assert_eq!(record(&[2..4, 6..7]).left(0..9), vec![0..2, 4..6, 7..9]);
        assert_eq!(record(&[0..5, 4..9]).left(0..9), Vec::<Range<u64>>::new());
        assert_eq!(record(&[20..30, 9..12]).left(0..9), record(&[]).left(0..9));
    }

    #[test]
    fn line_says_range_and_tree() {
        assert_eq!(parse("10..20 abc-def 5 events"), Some((10..20, "abc-def")));
        assert_eq!(parse("10-20 abc"), None);
        assert_eq!(parse("10..20"), None);
    }
}
