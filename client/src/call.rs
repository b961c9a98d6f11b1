//! How a long-lived call ended, as producer and consumer both need to know it.

use thiserror::Error;

use crate::{
    connection::ConnectionError,
    refusal::Refusal,
    wire::{BrokenStream, StreamEnd},
};

/// Why a stream is over.
#[derive(Debug, Error)]
pub(crate) enum CallEnded {
    /// The server stops serving, or has nothing more to say.
    #[error("the server ended the stream")]
    ByServer,
    /// The server refused the whole stream.
    #[error("the server refused the stream")]
    Refused(#[source] Refusal),
    /// The connection broke, or what came cannot be read.
    #[error(transparent)]
    Broken(#[from] BrokenStream),
    /// It never began.
    #[error(transparent)]
    NotConnected(#[from] ConnectionError),
}

impl From<StreamEnd> for CallEnded {
    fn from(end: StreamEnd) -> Self {
        match end {
            StreamEnd::Finished => Self::ByServer,
            StreamEnd::Refused(refusal) => Self::Refused(refusal),
            StreamEnd::Broken(broken) => Self::Broken(broken),
        }
    }
}
