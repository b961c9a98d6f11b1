//! What commands print on standard output, in the format that was asked for.
//!
//! The names of JSON fields are a promise to scripts. They come from the `Serialize` types of the commands
//! and are pinned by tests.

use std::{
    fmt,
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
};

use serde::Serialize;

use crate::failure::Failure;

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For people, with every column
    Wide,
    /// For scripts
    Json,
    /// For scripts and people
    Yaml,
}

/// Something that a command found out.
pub(crate) trait Report: Serialize {
    /// For people, with a newline at the end. `wide`: with everything there is.
    ///
    /// # Errors
    /// Only those of `out`.
    fn text(&self, wide: bool, out: &mut String) -> fmt::Result;
}

/// Prints `report` on standard output.
pub(crate) fn print(format: Format, report: &impl Report) -> Result<(), Failure> {
    let mut stdout = Stdout::new()?;
    stdout.buffer().extend_from_slice(text(format, report).as_bytes());
    stdout.flush()
}

/// `report` as it is printed.
pub(crate) fn text(format: Format, report: &impl Report) -> String {
    match format {
        Format::Text | Format::Wide => {
            let mut text = String::new();
            let written = report.text(format == Format::Wide, &mut text);
            written.expect("a String takes every character");
            text
        }
        Format::Json => {
            let json = serde_json::to_string_pretty(report);
            json.expect("reports hold nothing that JSON cannot say") + "\n"
        }
        Format::Yaml => yaml(report),
    }
}

/// One YAML document.
pub(crate) fn yaml(report: &impl Serialize) -> String {
    serde_saphyr::to_string(report).expect("reports hold nothing that YAML cannot say")
}

/// Standard output with a buffer of its own, emptied only when it is asked to: the standard library's
/// looks for newlines in everything and writes after each.
#[derive(Debug)]
pub(crate) struct Stdout {
    file: File,
    buffer: Vec<u8>,
}

/// When a writer of many small things should call [`Stdout::flush`].
const FULL_BYTES: usize = 1 << 20;

impl Stdout {
    pub(crate) fn new() -> Result<Self, Failure> {
        let file = io::stdout().as_fd().try_clone_to_owned();
        let file = File::from(file.map_err(|error| Failure::output(&error))?);
        Ok(Self { file, buffer: Vec::new() })
    }

    /// Where to put what is to be printed.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Whether so much has been gathered that it should be written.
    pub(crate) fn is_full(&self) -> bool {
        self.buffer.len() >= FULL_BYTES
    }

    /// Writes what has been gathered. All of it has been handed to the kernel when this returns.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        let written = self.file.write_all(&self.buffer);
        self.buffer.clear();
        written.map_err(|error| Failure::output(&error))
    }
}

/// Columns of text, each as wide as its widest cell.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn with_heading<const N: usize>(heading: [&str; N]) -> Self {
        Self { rows: vec![heading.map(String::from).to_vec()] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// Leaves a column out.
    pub(crate) fn drop_column(&mut self, heading: &str) {
        let headings = self.rows.first();
        let column = headings.and_then(|row| row.iter().position(|cell| cell == heading));
        let column = column.expect("a heading of this table");
        for row in &mut self.rows {
            row.remove(column);
        }
    }
}

/// Lines without spaces at their ends.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// A number of bytes for people: `512 B`, `1.5 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    // Tenths of the unit, so that no floating point is needed.
    let mut tenths = u128::from(count) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10 * 1024 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::with_heading(["NAME", "PARTITIONS"]);
        table.row(["orders".into(), "3".into()]);
        assert_eq!(table.to_string(), "NAME    PARTITIONS\norders  3\n");
    }

    #[test]
    fn bytes_are_told_in_the_unit_that_fits() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(1 << 20), "1.0 MiB");
        assert_eq!(bytes(u64::MAX), "16383.9 PiB");
    }
}
