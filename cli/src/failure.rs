//! How a command fails: what is said to the person, and the exit code that says it to a script.
//!
//! Not here: what is wrong. Each command words its own failures.

use std::{
    error::Error,
    fmt,
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

/// Why a command ended without doing what it was asked to. Each kind has an exit code of its own;
/// 0 and 2 also come from clap, for `--help` and for wrong arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It was refused, or went wrong.
    Error,
    /// It was asked for in a way that makes no sense.
    Usage,
    /// What was asked about is not as it should be. Mostly what was printed says so.
    Condition,
    /// Nobody answered, or not in time.
    Unreachable,
    /// Ctrl-C.
    Interrupted,
    /// Whoever read our output has gone. Nothing is wrong, and nothing is said.
    ReaderGone,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::ReaderGone => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::Condition => 3,
            Self::Unreachable => 4,
            Self::Interrupted => 130,
        }
    }
}

/// The end of a command that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    /// What was found and what was expected.
    message: String,
    /// What to do about it.
    hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self::new(Kind::Error, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    pub(crate) fn interrupted() -> Self {
        Self::new(Kind::Interrupted, "interrupted")
    }

    /// What was asked about, and has been printed, is not as it should be.
    pub(crate) fn condition() -> Self {
        Self::new(Kind::Condition, "")
    }

    /// Adds what the person can do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A failed write to standard output.
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::new(Kind::ReaderGone, "")
        } else {
            Self::error(format!("cannot write to standard output: {error}"))
        }
    }

    /// The same of a command that does more than print: a reader that has gone leaves work undone.
    pub(crate) fn unfinished(self) -> Self {
        match self.kind {
            Kind::ReaderGone => {
                Self::error("standard output was closed before the last record was acknowledged")
                    .hint("--quiet prints no acknowledgements")
            }
            _ => self,
        }
    }

    /// Says what went wrong on standard error, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if !matches!(self.kind, Kind::ReaderGone | Kind::Interrupted) && !self.message.is_empty() {
            let mut stderr = io::stderr().lock();
            // Nobody is left to tell when standard error is closed too.
            let _unsaid = writeln!(stderr, "{}{self}", label(stderr.is_terminal()));
        }
        ExitCode::from(self.kind.code())
    }
}

/// `error: `, in red where colours are wanted.
fn label(terminal: bool) -> &'static str {
    let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if colours { "\u{1b}[1;31merror:\u{1b}[0m " } else { "error: " }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n\n  {}", hint.replace('\n', "\n  "))?;
        }
        Ok(())
    }
}

/// An error and what caused it, as one line. A cause whose words the error already has is left out.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn causes_are_told_once() {
        let inner = Layer("the disk is full", None);
        let middle = Layer("not written: the disk is full", Some(Box::new(inner)));
        let outer = Layer("topic a not created", Some(Box::new(middle)));
        assert_eq!(with_causes(&outer), "topic a not created: not written: the disk is full");
    }
}
