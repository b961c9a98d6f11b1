//! What the server says when it refuses, from a gRPC status or from an `Error` message, and whether
//! trying again can help. Control flow looks at code and reason, never at the text.

use std::{collections::BTreeMap, fmt, time::Duration};

use forebay_proto::v1;
use tonic::Code;
use tonic_types::StatusExt;

/// Reasons that the client treats in a way of their own. The server has more of them.
pub mod reason {
    /// Another node leads the partition.
    pub const NOT_LEADER: &str = "NOT_LEADER";
    /// The write was accepted and its outcome is not known.
    pub const INDETERMINATE: &str = "INDETERMINATE";
    /// The topic takes no batch of this size.
    pub const BATCH_TOO_LARGE: &str = "BATCH_TOO_LARGE";
    /// The batch's first sequence is beyond what the log holds of this producer.
    pub const SEQUENCE_GAP: &str = "SEQUENCE_GAP";
    /// The log does not know the producer, and the sequence is not zero.
    pub const PRODUCER_UNKNOWN: &str = "PRODUCER_UNKNOWN";
    /// A later process took up the producer id.
    pub const PRODUCER_EPOCH_STALE: &str = "PRODUCER_EPOCH_STALE";
    /// The node is on its way down.
    pub const NODE_STOPPING: &str = "NODE_STOPPING";
}

/// The domain of the server's `google.rpc.ErrorInfo`.
const DOMAIN: &str = "forebay";

/// A refusal in the server's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The gRPC status code.
    pub code: Code,
    /// Stable, for programs; for example `BATCH_TOO_LARGE`. Empty when something between client and
    /// server refused.
    pub reason: String,
    /// For people: what was found and what was expected.
    pub message: String,
    /// Facts that belong to the reason, for example `earliest` and `latest` of `OUT_OF_RANGE`.
    pub metadata: BTreeMap<String, String>,
    /// The server's hint when a retry is worth trying.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// Whether the same request may succeed later without anything being changed by hand.
    ///
    /// A server of ours says so with a hint when to retry. Without a reason of ours, something in
    /// between has refused, and the code alone must tell.
    pub fn is_retriable(&self) -> bool {
        if self.retry_after.is_some() || self.reason == reason::NOT_LEADER {
            return true;
        }
        self.reason.is_empty()
            && matches!(
                self.code,
                Code::Unavailable
                    | Code::ResourceExhausted
                    | Code::DeadlineExceeded
                    | Code::Cancelled
                    | Code::Aborted
                    | Code::Unknown
                    | Code::Internal
            )
    }

    /// Whether this is no answer of a server that serves: a connection that broke during the call
    /// looks like this too, with a code that depends on how it broke.
    pub(crate) fn is_no_answer(&self) -> bool {
        (self.reason.is_empty() && self.is_retriable()) || self.reason == reason::NODE_STOPPING
    }

    /// A number among the metadata.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.metadata.get(name)?.parse().ok()
    }

    /// For what has no server behind it: a broken connection, seen as a refusal of the stream.
    pub(crate) fn unavailable(message: String) -> Self {
        Self {
            code: Code::Unavailable,
            reason: String::new(),
            message,
            metadata: BTreeMap::new(),
            retry_after: None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.message.is_empty() { self.code.description() } else { &self.message };
        if self.reason.is_empty() {
            write!(f, "{text} ({:?})", self.code)
        } else {
            write!(f, "{text} ({})", self.reason)
        }
    }
}

impl std::error::Error for Refusal {}

impl From<&tonic::Status> for Refusal {
    fn from(status: &tonic::Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN);
        Self {
            code: status.code(),
            reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
            message: status.message().to_owned(),
            metadata: info
                .map(|info| info.metadata.clone().into_iter().collect())
                .unwrap_or_default(),
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
        }
    }
}

impl From<v1::Error> for Refusal {
    fn from(error: v1::Error) -> Self {
        Self {
            code: Code::from_i32(error.code),
            reason: error.reason,
            message: error.message,
            metadata: error.metadata.into_iter().collect(),
            retry_after: (error.retry_after_ms > 0)
                .then(|| Duration::from_millis(error.retry_after_ms.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_own_refusal_is_worth_a_retry_when_it_says_so() {
        let hint = Some(Duration::from_millis(100));
        for (code, reason, retry_after, retriable) in [
            (Code::ResourceExhausted, "DISK_FULL", hint, true),
            (Code::Unknown, reason::INDETERMINATE, hint, true),
            (Code::ResourceExhausted, "MESSAGE_TOO_LARGE", None, false),
            (Code::Aborted, reason::PRODUCER_EPOCH_STALE, None, false),
            (Code::NotFound, "TOPIC_UNKNOWN", None, false),
            (Code::DataLoss, "CORRUPT", None, false),
            (Code::FailedPrecondition, reason::NOT_LEADER, None, true),
            // Without a reason it is somebody in between.
            (Code::Unavailable, "", None, true),
            (Code::Internal, "", None, true),
            (Code::Unimplemented, "", None, false),
            (Code::InvalidArgument, "", None, false),
        ] {
            let reason = reason.to_owned();
            let refusal =
                Refusal { code, reason, retry_after, ..Refusal::unavailable(String::new()) };
            assert_eq!(refusal.is_retriable(), retriable, "{refusal:?}");
        }
    }

    #[test]
    fn status_details_of_our_domain_are_kept() {
        let details = tonic_types::ErrorDetails::with_error_info(
            "OUT_OF_RANGE",
            DOMAIN,
            [("earliest".to_owned(), "12".to_owned())],
        );
        let status = tonic::Status::with_error_details(Code::OutOfRange, "too early", details);
        let refusal = Refusal::from(&status);
        assert_eq!(refusal.reason, "OUT_OF_RANGE");
        assert_eq!(refusal.number("earliest"), Some(12));
        assert_eq!(refusal.to_string(), "too early (OUT_OF_RANGE)");
    }
}
