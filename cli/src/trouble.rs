//! The client's errors in the words of the command line.

use std::error::Error;

use forebay_client::{
    ConnectError, DescribeTopicError, MetadataError, OpenError, OperateError, Unreachable,
};

use crate::failure::{Failure, Kind, with_causes};

/// Nobody answered.
pub(crate) fn unreachable(error: &Unreachable) -> Failure {
    Failure::new(Kind::Unreachable, error.to_string()).hint(
        "Is a node running there? `forebay serve` starts one. Another is named with --endpoint HOST:PORT, or \
         FOREBAY_ENDPOINT.",
    )
}

/// Endpoints that make no sense.
pub(crate) fn connecting(error: &ConnectError) -> Failure {
    match error {
        ConnectError::Unreachable(error) => unreachable(error),
        ConnectError::NoEndpoint | ConnectError::Endpoint { .. } => {
            Failure::usage(error.to_string())
                .hint("--endpoint and FOREBAY_ENDPOINT take HOST:PORT, several with commas.")
        }
        ConnectError::Refused(_) => refused(error),
    }
}

/// A topic's partitions are not known.
pub(crate) fn metadata(error: &MetadataError) -> Failure {
    match error {
        MetadataError::Unreachable(error) => unreachable(error),
        MetadataError::Refused(_) => refused(error),
    }
}

/// A topic cannot be produced to.
pub(crate) fn opening(error: &OpenError) -> Failure {
    match error {
        OpenError::Metadata(error) => metadata(error),
        OpenError::NoTopic { .. } => refused(error).hint("`forebay topic create` makes a topic."),
    }
}

/// A topic's state is not known.
pub(crate) fn describing(error: &DescribeTopicError) -> Failure {
    match error {
        DescribeTopicError::Unreachable(error) => unreachable(error),
        DescribeTopicError::NotFound { name, .. } => no_such_topic(name),
        DescribeTopicError::Refused { .. } => refused(error),
    }
}

/// There is none of this name.
pub(crate) fn no_such_topic(name: &str) -> Failure {
    Failure::error(format!("there is no topic {name}"))
        .hint("`forebay topic list` shows those that exist.")
}

/// The server, or the client on its behalf, said no.
pub(crate) fn refused(error: &dyn Error) -> Failure {
    Failure::error(with_causes(error))
}

/// An operator's call came to nothing.
pub(crate) fn operating(error: &OperateError) -> Failure {
    match error {
        OperateError::Unreachable(error) => unreachable(error),
        OperateError::Refused(refusal) => Failure::error(refusal.to_string()),
    }
}
