//! Lines of the log, on stderr: text for people, JSON for programs. `RUST_LOG` chooses which.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// The variable of the environment that chooses what is logged.
const FILTER: &str = "RUST_LOG";

/// What is logged when it says nothing.
const DEFAULT: &str = "info";

/// `RUST_LOG` says something that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("environment {FILTER}: {problem}; an example: info,forebay_server=debug")]
pub struct LogFilterError {
    problem: String,
}

/// Begins to log. Where somebody else in the process has begun already, that stays.
pub(crate) fn start(format: LogFormat) -> Result<(), LogFilterError> {
    let filter = match std::env::var_os(FILTER) {
        None => EnvFilter::new(DEFAULT),
        Some(text) => filter(&text.to_string_lossy())?,
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let begun = if is_text(format) { lines.try_init() } else { lines.json().try_init() };
    begun.ok();
    Ok(())
}

/// Whether people are meant to read the lines.
pub(crate) fn is_text(format: LogFormat) -> bool {
    match format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    }
}

fn filter(text: &str) -> Result<EnvFilter, LogFilterError> {
    if text.trim().is_empty() {
        return Ok(EnvFilter::new(DEFAULT));
    }
    EnvFilter::builder().parse(text).map_err(|error| LogFilterError { problem: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_makes_no_sense_is_refused() {
        for right in ["", "info", "warn,forebay_server=debug"] {
            assert!(filter(right).is_ok(), "{right}");
        }
        let message = filter("forebay_server=loud").expect_err("no level").to_string();
        assert!(message.starts_with("environment RUST_LOG: "), "{message}");
    }
}
