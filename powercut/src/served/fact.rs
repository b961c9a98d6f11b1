//! What the server was asked and what it promised, in the order in which it happened.

use serde::{Deserialize, Serialize};

use super::record::StreamId;

/// Numbers the topics of a recording, also those that bear a name again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Incarnation(pub(super) u64);

/// One partition of one incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) incarnation: Incarnation,
    pub(crate) partition: u32,
}

/// What a producer's id is made from.
pub(crate) type ProducerNumber = u64;

/// A topic to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TopicPlan {
    pub(crate) incarnation: Incarnation,
    pub(crate) name: String,
    pub(crate) partitions: u32,
    /// Without it, nothing is ever deleted from the topic.
    pub(crate) retention: Option<Retention>,
}

/// How much of a topic's partitions is to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Retention {
    /// The setting `retention_size`.
    pub(crate) size_bytes: u64,
    /// Of the values that were acknowledged, at least as much must be left as this, if the log's
    /// start has moved: the setting, less what one segment and everything around values can take.
    pub(crate) kept_bytes_min: u64,
}

/// One fact. Requests are stamped before they were sent, answers after they came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fact {
    /// May exist from here on.
    CreateRequested(TopicPlan),
    /// Exists, and stays.
    Created { incarnation: Incarnation, topic_id: String },
    /// May be gone from here on.
    DeleteRequested { incarnation: Incarnation },
    /// Is gone, and stays so.
    Deleted { incarnation: Incarnation },
    /// A producer is about to send: a stream of records to each partition, by index. They may be
    /// there from here on.
    ProducerOpened { producer: ProducerNumber, incarnation: Incarnation, streams: Vec<StreamId> },
    /// Records of a stream are there, on stable storage, from this offset on.
    Appended { stream: StreamId, first: u64, count: u32, base_offset: u64 },
    /// The server was killed or told to stop, and is about to be started again.
    ServerEnded { killed: bool },
}

impl Fact {
    pub(crate) fn sort(&self) -> &'static str {
        match self {
            Self::CreateRequested(_) => "create requested",
            Self::Created { .. } => "created",
            Self::DeleteRequested { .. } => "delete requested",
            Self::Deleted { .. } => "deleted",
            Self::ProducerOpened { .. } => "producer opened",
            Self::Appended { .. } => "appended",
            Self::ServerEnded { .. } => "server ended",
        }
    }
}
