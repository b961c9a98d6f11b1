//! Why etcd has not done what was asked of it.

use std::error::Error;

use tonic::{Code, Status};

use super::values::ValueError;

/// A request came to nothing, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// Nothing was heard in time. What was asked for may have happened, or may happen yet.
    #[error("etcd at {endpoint}: no answer within {timeout_ms} ms")]
    Timeout {
        /// The member that was asked.
        endpoint: String,
        /// How long it was waited for.
        timeout_ms: u64,
    },
    /// The member cannot be reached, or cannot serve. Likewise.
    #[error("etcd at {endpoint}: {problem}")]
    Unavailable {
        /// The member that was asked.
        endpoint: String,
        /// What it or the network said.
        problem: String,
    },
    /// The member has understood, and says no.
    #[error("etcd at {endpoint} refuses: {problem} ({code:?})")]
    Refused {
        /// The member that was asked.
        endpoint: String,
        /// What it said.
        problem: String,
        /// Its code.
        code: Code,
    },
    /// What is stored there cannot be read.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The settings lead to no connection.
    #[error("{setting}: {problem}")]
    Settings {
        /// The setting.
        setting: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl EtcdError {
    /// What a member's answer means.
    pub(super) fn of_status(endpoint: &str, status: &Status) -> Self {
        let (endpoint, code, problem) = (endpoint.to_owned(), status.code(), with_causes(status));
        match code {
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::ResourceExhausted => Self::Refused { endpoint, problem, code },
            _ => Self::Unavailable { endpoint, problem },
        }
    }

    /// Whether another member may do better.
    pub(super) const fn is_of_member(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Unavailable { .. })
    }

    /// Whether it stays so until people change something: settings, credentials, what is stored.
    pub(super) const fn is_lasting(&self) -> bool {
        !self.is_of_member() && !matches!(self, Self::Refused { code: Code::ResourceExhausted, .. })
    }

    /// Whether the member says that there is no such thing.
    pub(super) const fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: Code::NotFound, .. })
    }
}

/// The cause is what people need: "transport error" alone says nothing.
fn with_causes(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
