//! What a consumer reads, and from where.

use forebay_format::{Epoch, NodeId, Offset, PartitionIndex, TimestampMs};
use forebay_proto::v1;

/// Where to start in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartAt {
    /// The first record there is.
    #[default]
    Earliest,
    /// Only what comes later.
    Latest,
    /// This offset.
    Offset(Offset),
    /// The first record whose batch was appended at or after this time.
    Timestamp(TimestampMs),
}

/// Where a stream is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: StartAt,
    /// Of the record before it, if that was read.
    pub(super) epoch: Epoch,
}

impl From<StartAt> for Place {
    fn from(start: StartAt) -> Self {
        Self { start, epoch: Epoch::ZERO }
    }
}

impl Place {
    pub(super) fn on_the_wire(self) -> v1::StartPosition {
        use v1::start_position::Position;
        let position = match self.start {
            StartAt::Earliest => Position::Anchor(v1::Anchor::Earliest.into()),
            StartAt::Latest => Position::Anchor(v1::Anchor::Latest.into()),
            StartAt::Offset(offset) => Position::Offset(offset.get()),
            StartAt::Timestamp(time) => Position::TimestampMs(time.get()),
        };
        v1::StartPosition { epoch: self.epoch.get(), position: Some(position) }
    }
}

/// Which replicas are read from. Every replica gives committed records only; one that follows is a little behind.
/// When the one that was chosen cannot be had, another takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadFrom {
    /// The leader, which knows first what is committed.
    #[default]
    Leader,
    /// Any replica: the consumers of a topic, and the partitions of a consumer, spread over them.
    Any,
    /// This node, for one that is near. It fetches what it has no replica of.
    Node(NodeId),
}

/// What to do when the offset to go on at is not in the log (any more).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutOfRange {
    /// Tell the caller; the partition is read no further.
    #[default]
    Fail,
    /// Go on with the first record there is. What was deleted meanwhile is not seen.
    Earliest,
}

/// Settings of a [`Consumer`](super::Consumer).
#[derive(Debug, Clone, Default)]
pub struct ConsumerOptions {
    /// Which partitions, each with a start of its own if it has one. Empty: all.
    pub partitions: Vec<(PartitionIndex, Option<StartAt>)>,
    /// Where partitions without a start of their own begin.
    pub start: StartAt,
    /// When an offset is not in the log.
    pub out_of_range: OutOfRange,
    /// Which replicas are read from.
    pub read_from: ReadFrom,
}
