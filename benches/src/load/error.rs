//! Why a load could not be run.

use std::{io, path::PathBuf};

use forebay_client::{
    ConnectError, ConsumeError, CreateTopicError, DeleteTopicError, DeliveryError,
    DescribeTopicError, OpenError, SendError, SubscribeError,
};
use thiserror::Error;

use crate::{payload::PayloadError, units::Size};

/// See the variants.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Nobody is there.
    #[error("no server")]
    Connect(#[from] ConnectError),
    /// The topic could not be made.
    #[error("no topic")]
    Create(#[from] CreateTopicError),
    /// The topic cannot be looked at.
    #[error("no topic")]
    Describe(#[from] DescribeTopicError),
    /// The topic could not be deleted.
    #[error("the topic stays")]
    Delete(#[from] DeleteTopicError),
    /// The producer could not be opened.
    #[error("no producer")]
    Open(#[from] OpenError),
    /// The consumer could not be opened.
    #[error("no consumer")]
    Subscribe(#[from] SubscribeError),
    /// A record was not accepted.
    #[error("sending failed")]
    Send(#[from] SendError),
    /// Records were refused.
    #[error("records were not acknowledged")]
    Delivery(#[from] DeliveryError),
    /// Reading failed.
    #[error("reading failed")]
    Consume(#[from] ConsumeError),
    /// The load cannot be built.
    #[error("no load")]
    Payload(#[from] PayloadError),
    /// The topic is there, and not as it should be.
    #[error("topic {topic} has {found} partitions, {expected} were asked for")]
    Partitions {
        /// The topic.
        topic: String,
        /// Partitions it has.
        found: usize,
        /// Partitions asked for.
        expected: u32,
    },
    /// Records that are there already would be taken for those that are sent.
    #[error("topic {topic} exists: end-to-end latencies need a new one; name another with --topic")]
    NotNew {
        /// The topic.
        topic: String,
    },
    /// The disk would become full.
    #[error(
        "{path} has {free} free and the topic may take {needed}: lower --retention-size, \
         or make room",
        path = directory.display()
    )]
    NoRoom {
        /// Where the server keeps its data.
        directory: PathBuf,
        /// What is free.
        free: Size,
        /// What is needed.
        needed: Size,
    },
    /// Sockets, files or timers.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A task of the load panicked.
    #[error("the load broke off")]
    Task(#[from] tokio::task::JoinError),
}
