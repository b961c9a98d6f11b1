//! The one place where what went wrong becomes what a client sees: code, reason, message, metadata.
//!
//! Calls get a gRPC status with the details of google.rpc; streams get the same facts in place, as
//! `forebay.v1.Error`.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use forebay_engine::{AppendError, ReadError, ReserveError, WriteRefusal};
use forebay_format::limits::RECORDS_PER_BATCH_MAX;
use forebay_format::{
    BatchError, Epoch, NodeId, ProducerError, PushError, TopicName, TopicNameError,
};
use forebay_proto::v1;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::config::TopicSettingError;
use crate::leadership::{CreateTopicError, DeleteTopicError};
use crate::operations::{NewestError, OrderError, PeerError};

/// Domain of every `google.rpc.ErrorInfo`.
const DOMAIN: &str = "forebay";

/// What is worth a retry is worth it after this long.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Why a call, a batch or a partition was refused, as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// Stable, for programs.
    pub(crate) reason: &'static str,
    /// For people.
    pub(crate) message: String,
    /// Facts that belong to the reason.
    pub(crate) metadata: Vec<(&'static str, String)>,
    /// The field of the request that is wrong, if one is.
    pub(crate) field: Option<&'static str>,
    /// When a retry is worth trying, if ever.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    fn new(code: Code, reason: &'static str, message: impl fmt::Display) -> Self {
        let message = format!("{message}");
        Self { code, reason, message, metadata: Vec::new(), field: None, retry_after: None }
    }

    /// What tonic refused before a service of ours saw it: it knows codes of its own for that.
    pub(crate) fn from_transport(status: &Status) -> Self {
        let is = |code, reason| Self::new(code, reason, status.message());
        match status.code() {
            Code::OutOfRange => is(Code::InvalidArgument, "MESSAGE_TOO_LARGE").field("message"),
            Code::Internal => is(Code::InvalidArgument, "INVALID_REQUEST").field("message"),
            Code::Unimplemented => is(Code::Unimplemented, "UNIMPLEMENTED"),
            code => is(code, "INVALID_REQUEST"),
        }
    }

    fn field(self, field: &'static str) -> Self {
        Self { field: Some(field), ..self }
    }

    fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.metadata.push((name, format!("{value}")));
        self
    }

    fn retry(self) -> Self {
        Self { retry_after: Some(RETRY_AFTER), ..self }
    }

    /// As a call's status, with the details of google.rpc.
    pub(crate) fn into_status(self) -> Status {
        let metadata: HashMap<String, String> =
            self.metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let mut details = ErrorDetails::new();
        details.set_error_info(self.reason, DOMAIN, metadata);
        if let Some(field) = self.field {
            details.add_bad_request_violation(field, self.message.clone());
        }
        if let Some(after) = self.retry_after {
            details.set_retry_info(Some(after));
        }
        Status::with_error_details(self.code, self.message, details)
    }

    /// As the answer to one batch, or for one partition.
    pub(crate) fn into_error(self) -> v1::Error {
        let retry_after = self.retry_after.unwrap_or(Duration::ZERO);
        let field = self.field.map(|field| ("field", field.to_owned()));
        v1::Error {
            code: self.code.into(),
            reason: self.reason.to_owned(),
            message: self.message,
            metadata: self
                .metadata
                .into_iter()
                .chain(field)
                .map(|(k, v)| (k.to_owned(), v))
                .collect(),
            retry_after_ms: u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX),
        }
    }
}

/// What the services refuse by themselves, before anybody else is asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{message}")]
    Request { field: &'static str, message: String },
    #[error("there is no topic {0}")]
    UnknownTopic(TopicName),
    #[error("the topic {topic} here has the id {id}: it is another one of the same name")]
    OtherTopic { topic: TopicName, id: String },
    #[error("topic {topic} has partitions 0 to {}, not {partition}", .partitions.saturating_sub(1))]
    UnknownPartition { topic: TopicName, partition: u32, partitions: u32 },
    #[error("the partition has {replicas} replicas, not {wanted}")]
    TooFewReplicas { wanted: u32, replicas: u32 },
    #[error("a message may have at most {max} bytes, found {found}")]
    MessageTooLarge { found: usize, max: usize },
    #[error("the connection has {bytes} bytes of unfinished messages, at most {max} are taken")]
    TooManyUnfinished { bytes: usize, max: usize },
    #[error("compressed gRPC messages are not taken: send batches with a codec instead")]
    CompressedMessage,
    #[error("the message is not valid protobuf: {0}")]
    Protobuf(#[from] prost::DecodeError),
    #[error(
        "a batch may have at most {RECORDS_PER_BATCH_MAX} records, and as many headers of records"
    )]
    TooManyRecords,
    #[error("the batch would have more than {max} bytes")]
    TooManyBytes { max: usize },
    #[error("there was no room for the batch within its timeout; it was not appended")]
    NoRoomInTime,
    #[error("the write concern was not met within the timeout; the batch may be in the log or not")]
    Indeterminate,
    #[error("the node is stopping")]
    Stopping,
    #[error("node {leader} leads the partition")]
    NotLeader { leader: NodeId, address: String, epoch: Epoch },
    #[error("the partition has no leader at present")]
    NoLeader,
    #[error("this node is alone and has no replicas to speak of")]
    Alone,
    #[error("the partition's batches go by node {node}, which cannot be reached: {problem}")]
    NotCarried { node: NodeId, problem: String },
    #[error("node {node} led the partition and was lost; the batch may be in the log or not")]
    LeaderLost { node: NodeId },
    #[error("the batch is compressed: read it raw, as plain records it cannot be given yet")]
    CompressedBatch,
}

/// Whether a service of Forebay has made the status, and not something on the way.
pub(crate) fn is_ours(status: &Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.domain == DOMAIN)
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let as_is = |code, reason| Self::new(code, reason, message.clone());
        match refusal {
            Refusal::Request { field, .. } => {
                as_is(Code::InvalidArgument, "INVALID_REQUEST").field(field)
            }
            Refusal::UnknownTopic(topic) => {
                as_is(Code::NotFound, "TOPIC_UNKNOWN").with("topic", topic)
            }
            Refusal::OtherTopic { topic, id } => as_is(Code::NotFound, "TOPIC_UNKNOWN")
                .with("topic", topic)
                .with("topic_id", id)
                .field("topic_id"),
            Refusal::UnknownPartition { topic, partition, partitions } => {
                as_is(Code::NotFound, "PARTITION_UNKNOWN")
                    .with("topic", topic)
                    .with("partition", partition)
                    .with("partitions", partitions)
            }
            Refusal::TooFewReplicas { replicas, .. } => {
                as_is(Code::InvalidArgument, "TOO_FEW_REPLICAS")
                    .with("replicas", replicas)
                    .field("write_concern_replicas")
            }
            Refusal::MessageTooLarge { max, .. } => {
                as_is(Code::InvalidArgument, "MESSAGE_TOO_LARGE")
                    .with("limit", max)
                    .field("message")
            }
            Refusal::TooManyUnfinished { max, .. } => {
                as_is(Code::ResourceExhausted, "TOO_MANY_IN_FLIGHT").with("limit", max).retry()
            }
            Refusal::CompressedMessage => as_is(Code::Unimplemented, "COMPRESSED_MESSAGE"),
            Refusal::Protobuf(_) => {
                as_is(Code::InvalidArgument, "INVALID_REQUEST").field("message")
            }
            Refusal::TooManyBytes { max } => {
                as_is(Code::InvalidArgument, "BATCH_TOO_LARGE").with("limit", max).field("records")
            }
            Refusal::TooManyRecords => as_is(Code::InvalidArgument, "BATCH_TOO_LARGE")
                .with("limit", RECORDS_PER_BATCH_MAX)
                .field("records"),
            Refusal::NoRoomInTime => as_is(Code::ResourceExhausted, "TOO_MANY_IN_FLIGHT").retry(),
            Refusal::Indeterminate => as_is(Code::Unknown, "INDETERMINATE").retry(),
            Refusal::Stopping => as_is(Code::Unavailable, "NODE_STOPPING").retry(),
            Refusal::NotLeader { leader, address, epoch } => {
                as_is(Code::FailedPrecondition, "NOT_LEADER")
                    .with("leader", leader)
                    .with("address", address)
                    .with("epoch", epoch)
            }
            Refusal::NoLeader => as_is(Code::Unavailable, "NO_LEADER").retry(),
            Refusal::Alone => as_is(Code::FailedPrecondition, "NODE_ALONE"),
            Refusal::NotCarried { node, .. } => {
                as_is(Code::Unavailable, "LEADER_UNREACHABLE").with("leader", node).retry()
            }
            Refusal::LeaderLost { node } => {
                as_is(Code::Unknown, "INDETERMINATE").with("leader", node).retry()
            }
            Refusal::CompressedBatch => as_is(Code::Unimplemented, "COMPRESSED_BATCH"),
        }
    }
}

impl From<BatchError> for Failure {
    fn from(error: BatchError) -> Self {
        let invalid = |reason| Self::new(Code::InvalidArgument, reason, &error).field("raw_batch");
        match error {
            BatchError::Length { .. }
            | BatchError::Magic { .. }
            | BatchError::Malformed { .. }
            | BatchError::Records { .. } => invalid("BATCH_MALFORMED"),
            BatchError::Version { .. } => invalid("BATCH_VERSION"),
            BatchError::TooLarge { max, .. } => invalid("BATCH_TOO_LARGE").with("limit", max),
            BatchError::Compressed { .. } => Refusal::CompressedBatch.into(),
            BatchError::PayloadCrc { .. }
            | BatchError::HeaderCrc { .. }
            | BatchError::LocalCrc { .. } => invalid("BATCH_CHECKSUM"),
        }
    }
}

impl From<PushError> for Failure {
    fn from(error: PushError) -> Self {
        let invalid = |reason| Self::new(Code::InvalidArgument, reason, error).field("records");
        match error {
            PushError::Full => invalid("BATCH_TOO_LARGE"),
            PushError::RecordTooLarge { max, .. } => invalid("RECORD_TOO_LARGE").with("limit", max),
        }
    }
}

impl From<ProducerError> for Failure {
    fn from(error: ProducerError) -> Self {
        let aborted = |reason| Self::new(Code::Aborted, reason, error);
        match error {
            ProducerError::StaleEpoch { current, .. } => {
                aborted("PRODUCER_EPOCH_STALE").with("current", current)
            }
            ProducerError::UnknownProducer { .. } => aborted("PRODUCER_UNKNOWN"),
            ProducerError::SequenceGap { expected, .. } => {
                aborted("SEQUENCE_GAP").with("expected", expected)
            }
            ProducerError::SequenceReused { expected, .. } => {
                Self::new(Code::InvalidArgument, "SEQUENCE_REUSED", error)
                    .with("expected", expected)
                    .field("raw_batch")
            }
            ProducerError::DuplicateForgotten { oldest, .. } => {
                aborted("DUPLICATE_FORGOTTEN").with("oldest", oldest)
            }
        }
    }
}

impl From<ReserveError> for Failure {
    fn from(error: ReserveError) -> Self {
        let is = |code, reason| Self::new(code, reason, &error);
        match &error {
            ReserveError::Unknown => is(Code::NotFound, "PARTITION_UNKNOWN"),
            ReserveError::DiskFull { .. } => is(Code::ResourceExhausted, "DISK_FULL").retry(),
            ReserveError::Corrupt(corruption) => is(Code::DataLoss, "CORRUPT")
                .with("file", corruption.file.display())
                .with("offset", corruption.offset),
            ReserveError::Unavailable { .. } => is(Code::Unavailable, "UNAVAILABLE").retry(),
            ReserveError::Stopping => Refusal::Stopping.into(),
        }
    }
}

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        let message = error.to_string();
        let invalid =
            |reason| Self::new(Code::InvalidArgument, reason, message.clone()).field("raw_batch");
        match error {
            AppendError::Batch(error) => error.into(),
            AppendError::TooLarge { limit, .. } => invalid("BATCH_TOO_LARGE").with("limit", limit),
            AppendError::Control => invalid("BATCH_MALFORMED"),
            AppendError::Producer(error) => error.into(),
            AppendError::Refused(error) => error.into(),
            AppendError::NotAdmitted(refusal) => refusal.into(),
            AppendError::Indeterminate => Refusal::Indeterminate.into(),
        }
    }
}

impl From<WriteRefusal> for Failure {
    fn from(refusal: WriteRefusal) -> Self {
        let is = |code, reason| Self::new(code, reason, refusal);
        match refusal {
            WriteRefusal::NotLeader { leader: Some(leader) } => {
                is(Code::FailedPrecondition, "NOT_LEADER").with("leader", leader)
            }
            WriteRefusal::NotLeader { leader: None } => is(Code::Unavailable, "NO_LEADER").retry(),
            WriteRefusal::NotServing => is(Code::Unavailable, "NOT_SERVING").retry(),
            WriteRefusal::ReadOnly { live, needed } => {
                is(Code::Unavailable, "READ_ONLY").with("live", live).with("needed", needed).retry()
            }
            WriteRefusal::MetadataRolledBack => {
                is(Code::Unavailable, "METADATA_ROLLED_BACK").retry()
            }
            WriteRefusal::TooManyReplicas { voters } => {
                is(Code::InvalidArgument, "TOO_FEW_REPLICAS")
                    .with("replicas", voters)
                    .field("write_concern_replicas")
            }
            WriteRefusal::Overloaded => is(Code::ResourceExhausted, "TOO_MANY_IN_FLIGHT").retry(),
        }
    }
}

impl From<OrderError> for Failure {
    fn from(error: OrderError) -> Self {
        let is = |code, reason| Self::new(code, reason, error);
        match error {
            OrderError::NotHere => is(Code::FailedPrecondition, "NO_REPLICA"),
            OrderError::NotLeader => is(Code::Unavailable, "NO_LEADER").retry(),
            OrderError::Busy => is(Code::Unavailable, "BUSY").retry(),
            OrderError::NoSuccessor => is(Code::FailedPrecondition, "NO_SUCCESSOR"),
            OrderError::NothingToConfirm => is(Code::FailedPrecondition, "NOTHING_TO_CONFIRM"),
            OrderError::MetadataChanged => is(Code::Aborted, "METADATA_CHANGED").retry(),
            OrderError::GivenUp => is(Code::Unavailable, "GIVEN_UP").retry(),
            OrderError::Unknown => is(Code::Unknown, "INDETERMINATE"),
        }
    }
}

impl From<NewestError> for Failure {
    fn from(error: NewestError) -> Self {
        match &error {
            NewestError::NothingToConfirm { .. } => {
                Self::new(Code::FailedPrecondition, "NOTHING_TO_CONFIRM", &error)
            }
            NewestError::Forgotten { seen, remembered, .. } => {
                Self::new(Code::FailedPrecondition, "NEWEST_NOT_REMEMBERED", &error)
                    .with("seen", seen)
                    .with("remembered", remembered)
            }
        }
    }
}

impl From<PeerError> for Failure {
    fn from(error: PeerError) -> Self {
        match &error {
            PeerError::Silent(node) => {
                Self::new(Code::Unavailable, "NODE_SILENT", &error).with("node", node).retry()
            }
            PeerError::Unanswered(node) => {
                Self::new(Code::Unknown, "INDETERMINATE", &error).with("node", node)
            }
            PeerError::Refused(status) => Self::new(status.code(), "NODE_REFUSED", &error),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let is = |code, reason| Self::new(code, reason, &error);
        match &error {
            ReadError::Unknown => is(Code::NotFound, "PARTITION_UNKNOWN"),
            ReadError::OutOfRange { earliest, latest, .. } => is(Code::OutOfRange, "OUT_OF_RANGE")
                .with("earliest", earliest)
                .with("latest", latest),
            ReadError::Corrupt(corruption) => is(Code::DataLoss, "CORRUPT")
                .with("file", corruption.file.display())
                .with("offset", corruption.offset),
            ReadError::Lost { from, upto } => {
                is(Code::DataLoss, "LOG_TRUNCATED").with("from", from).with("upto", upto)
            }
            ReadError::Ahead { .. } => Refusal::NoLeader.into(),
            ReadError::Unavailable { .. } => is(Code::Unavailable, "UNAVAILABLE").retry(),
            ReadError::Stopping => Refusal::Stopping.into(),
        }
    }
}

impl From<TopicNameError> for Failure {
    fn from(error: TopicNameError) -> Self {
        Self::new(Code::InvalidArgument, "INVALID_TOPIC_NAME", error).field("topic")
    }
}

impl From<TopicSettingError> for Failure {
    fn from(error: TopicSettingError) -> Self {
        Self::new(Code::InvalidArgument, "INVALID_SETTING", error).field("settings")
    }
}

impl From<CreateTopicError> for Failure {
    fn from(error: CreateTopicError) -> Self {
        let message = error.to_string();
        match error {
            CreateTopicError::Exists(topic) => {
                Self::new(Code::AlreadyExists, "TOPIC_EXISTS", message).with("topic", &topic.name)
            }
            CreateTopicError::TooMany { max, .. } => {
                Self::new(Code::InvalidArgument, "TOO_MANY", message)
                    .with("limit", max)
                    .field("partitions")
            }
            CreateTopicError::Placement(_) => {
                Self::new(Code::FailedPrecondition, "TOO_FEW_NODES", message)
                    .field("replication_factor")
            }
            CreateTopicError::Store(_) | CreateTopicError::Etcd(_) => {
                Self::new(Code::Unknown, "INDETERMINATE", message)
            }
        }
    }
}

impl From<DeleteTopicError> for Failure {
    fn from(error: DeleteTopicError) -> Self {
        let message = error.to_string();
        match error {
            DeleteTopicError::Unknown(topic) => Refusal::UnknownTopic(topic).into(),
            DeleteTopicError::Store(_) | DeleteTopicError::Etcd(_) => {
                Self::new(Code::Unknown, "INDETERMINATE", message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay_engine::Corruption;
    use forebay_format::{FilePosition, Offset, Sequence};

    use super::*;

    fn row(failure: &Failure) -> (Code, &'static str, bool) {
        (failure.code, failure.reason, failure.retry_after.is_some())
    }

    fn corruption() -> Corruption {
        Corruption {
            file: "t/0/1.log".into(),
            position: FilePosition::new(8192),
            offset: Offset::new(7),
            what: "checksum".into(),
        }
    }

    #[test]
    fn conditions_have_the_documented_code_reason_and_retry() {
        let name = TopicName::new("orders").expect("a name");
        let full = ReserveError::DiskFull { message: "no space".into() };
        let gap =
            ProducerError::SequenceGap { expected: Sequence::new(4), found: Sequence::new(9) };
        let out_of_range = ReadError::OutOfRange {
            requested: Offset::new(9),
            earliest: Offset::new(2),
            latest: Offset::new(5),
        };
        let lost = ReadError::Lost { from: Offset::new(3), upto: Offset::new(9) };
        let unreachable = Refusal::NotCarried { node: NodeId::new(2), problem: "gone".into() };
        let table = [
            (
                BatchError::PayloadCrc { found: 1, expected: 2 }.into(),
                Code::InvalidArgument,
                "BATCH_CHECKSUM",
                false,
            ),
            (
                AppendError::TooLarge { found: 9, limit: 8 }.into(),
                Code::InvalidArgument,
                "BATCH_TOO_LARGE",
                false,
            ),
            (
                TopicName::new("a b").expect_err("bad").into(),
                Code::InvalidArgument,
                "INVALID_TOPIC_NAME",
                false,
            ),
            (Refusal::UnknownTopic(name).into(), Code::NotFound, "TOPIC_UNKNOWN", false),
            (ReserveError::Unknown.into(), Code::NotFound, "PARTITION_UNKNOWN", false),
            (out_of_range.into(), Code::OutOfRange, "OUT_OF_RANGE", false),
            (AppendError::Indeterminate.into(), Code::Unknown, "INDETERMINATE", true),
            (Refusal::Indeterminate.into(), Code::Unknown, "INDETERMINATE", true),
            (gap.into(), Code::Aborted, "SEQUENCE_GAP", false),
            (lost.into(), Code::DataLoss, "LOG_TRUNCATED", false),
            (unreachable.into(), Code::Unavailable, "LEADER_UNREACHABLE", true),
            (
                Refusal::LeaderLost { node: NodeId::new(2) }.into(),
                Code::Unknown,
                "INDETERMINATE",
                true,
            ),
            (AppendError::Refused(full).into(), Code::ResourceExhausted, "DISK_FULL", true),
            (Refusal::Stopping.into(), Code::Unavailable, "NODE_STOPPING", true),
            (ReadError::Corrupt(corruption()).into(), Code::DataLoss, "CORRUPT", false),
        ];
        for (failure, code, reason, retry) in table {
            let failure: Failure = failure;
            assert_eq!(row(&failure), (code, reason, retry), "{failure:?}");
        }
    }

    #[test]
    fn a_status_carries_the_facts_as_google_rpc_details() {
        let failure = Failure::from(ReadError::OutOfRange {
            requested: Offset::new(9),
            earliest: Offset::new(2),
            latest: Offset::new(5),
        });
        let error = failure.clone().into_error();
        assert_eq!(error.metadata["earliest"], "2");
        assert_eq!(error.metadata["latest"], "5");
        let status = failure.into_status();
        let info = status.get_details_error_info().expect("an ErrorInfo");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("OUT_OF_RANGE", "forebay"));
        assert_eq!(info.metadata["earliest"], "2");
    }

    #[test]
    fn what_is_wrong_with_a_request_names_the_field() {
        let error = Failure::from(Refusal::TooManyRecords).into_error();
        assert_eq!(error.metadata["field"], "records");
        let status = Failure::from(TopicName::new("").expect_err("empty")).into_status();
        let violations = status.get_details_bad_request().expect("a BadRequest").field_violations;
        assert_eq!(violations[0].field, "topic");
    }

    #[test]
    fn what_is_worth_a_retry_says_when() {
        let status = Failure::from(Refusal::Stopping).into_status();
        let retry = status.get_details_retry_info().expect("a RetryInfo");
        assert_eq!(retry.retry_delay, Some(RETRY_AFTER));
        assert_eq!(Failure::from(Refusal::Stopping).into_error().retry_after_ms, 500);
    }
}
