//! What can be wrong with a configuration. Every message says where, what, and what was probably meant.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::value::ValueError;

/// Where the value of a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A line of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// A variable of the environment.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A flag on the command line.
    Flag {
        /// The flag as it was written, `--data` for example.
        flag: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.pad("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::Flag { flag } => write!(f, "flag {flag}"),
        }
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: cannot read the configuration: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{origin}: not valid TOML: {message}")]
    Syntax {
        /// The place.
        origin: Origin,
        /// What the parser said.
        message: String,
    },
    /// A section or key that does not exist.
    #[error("{origin}: there is no setting \"{found}\"{}", did_you_mean(*.nearest))]
    Unknown {
        /// The place.
        origin: Origin,
        /// Its name as it was written.
        found: String,
        /// What was probably meant.
        nearest: Option<&'static str>,
    },
    /// A variable that lacks the separator between section and key.
    #[error(
        "environment {variable}: there is no such setting; did you mean {expected}, with two underscores?"
    )]
    Variable {
        /// Its name as it was written.
        variable: String,
        /// The name of the setting's variable.
        expected: String,
    },
    /// A value that does not go together with another setting.
    #[error("{origin}: {setting}: {problem}")]
    Conflict {
        /// The place.
        origin: Origin,
        /// Name of the setting.
        setting: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A value that the setting does not take.
    #[error("{origin}: {setting}: {source}")]
    Value {
        /// The place.
        origin: Origin,
        /// Name of the setting.
        setting: &'static str,
        /// What is wrong with the value.
        source: Box<ValueError>,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean \"{nearest}\"?")).unwrap_or_default()
}

/// A setting of a topic that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicSettingError {
    /// It does not exist.
    #[error("there is no topic setting {found:?}{} (settings: {all})", did_you_mean(*.nearest))]
    Unknown {
        /// Its name as it was written.
        found: String,
        /// What was probably meant.
        nearest: Option<&'static str>,
        /// The names of all that exist.
        all: String,
    },
    /// It does not take this value.
    #[error("{setting}: {source}")]
    Value {
        /// Name of the setting.
        setting: &'static str,
        /// What is wrong with the value.
        source: ValueError,
    },
}
