//! Lines of the log, on stderr: text for people, JSON for programs. `RUST_LOG` chooses which.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Begins to log. Where somebody else in the process has begun already, that stays.
pub(crate) fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let text = match format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let begun = if text { lines.try_init() } else { lines.json().try_init() };
    begun.ok();
}
