//! Why the rig cannot go on. What a cluster does wrong is no error of the rig but a violation.

use std::time::Duration;

use thiserror::Error;

/// See the module.
#[derive(Debug, Error)]
pub(crate) enum RigError {
    /// The rig cannot do what it was asked for here.
    #[error("{0}")]
    Unusable(String),
    /// A step failed.
    #[error("{what}")]
    Failed {
        what: String,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What was waited for has not come. In a scenario this is a finding.
    #[error("waited {waited:?} in vain until {what}")]
    Late { what: String, waited: Duration },
    /// The user wants out.
    #[error("interrupted")]
    Interrupted,
}

impl RigError {
    /// For `map_err`: what was tried when it failed.
    pub(crate) fn at<E>(what: impl Into<String>) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let what = what.into();
        move |cause| Self::Failed { what, cause: cause.into() }
    }
}

/// An error with all its causes, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Waits for something at most so long. `what` goes on "waited … in vain until".
pub(crate) async fn within<T>(
    patience: Duration,
    what: impl Into<String>,
    waiting: impl Future<Output = T>,
) -> Result<T, RigError> {
    tokio::time::timeout(patience, waiting)
        .await
        .map_err(|_elapsed| RigError::Late { what: what.into(), waited: patience })
}
