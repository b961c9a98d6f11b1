//! What is put through power cuts: something that writes to a directory, says what it has on
//! stable storage, and can be asked afterwards.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::disk::{DiskClock, Position};
use crate::host::Interrupt;

/// Something that was said or asked at a moment of the disk's history.
#[derive(Debug, Clone, Serialize, serde::Deserialize)]
pub(crate) struct Stamped<F> {
    /// For what the subject said: where the disk's log ended when it was heard, so every cut at or
    /// after this must honour it. For what it was asked: where the log ended before that.
    pub(crate) at: Position,
    pub(crate) fact: F,
}

/// One thing that a cut took away, or left wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Loss {
    /// For programs: what sort of loss, in `kebab-case`.
    pub(crate) kind: &'static str,
    /// For people: what exactly, and what was expected.
    pub(crate) detail: String,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.detail)
    }
}

/// What was looked at after one cut.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    /// How many promises were checked. Nothing checked is nothing shown.
    pub(crate) promises_checked: u64,
    pub(crate) losses: Vec<Loss>,
}

/// The rig could not do its work; says nothing about the subject.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RigError {
    #[error("interrupted")]
    Interrupted,
    #[error("{what}")]
    Failed {
        what: String,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{0}")]
    Unusable(String),
}

impl RigError {
    /// For `map_err`: the rig failed at `what`.
    pub(crate) fn at<E>(what: impl Into<String>) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let what = what.into();
        move |cause| Self::Failed { what, cause: cause.into() }
    }
}

/// Where and when something happens.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    /// The directory that the subject has to itself.
    pub(crate) data: &'a Path,
    /// Where the output of processes goes.
    pub(crate) process_log: PathBuf,
    pub(crate) seed: u64,
    pub(crate) interrupt: &'a Interrupt,
}

/// Something that promises durability.
pub(crate) trait Subject: Sync {
    /// What it can promise, or be asked for.
    type Fact: Clone + Send + Sync + Serialize + DeserializeOwned;

    /// Puts it to work on the recording disk. Nothing of the rig's own process may touch
    /// `stage.data`. Every process that it started is gone when this returns.
    fn record(
        &self,
        stage: &Stage<'_>,
        clock: &DiskClock,
    ) -> Result<Vec<Stamped<Self::Fact>>, RigError>;

    /// Looks at what a cut at `cut` left. Gets all facts, those after the cut too.
    fn judge(
        &self,
        stage: &Stage<'_>,
        facts: &[Stamped<Self::Fact>],
        cut: Position,
    ) -> Result<Verdict, RigError>;

    /// A name for facts of one sort. Cuts are aimed at each sort equally often, the rare ones too.
    fn sort(fact: &Self::Fact) -> &'static str;
}

/// The text of an error and of everything that led to it.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
