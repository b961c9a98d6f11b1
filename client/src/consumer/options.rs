//! What a consumer reads, and from where.

use forebay_format::{Offset, PartitionIndex, TimestampMs};
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

impl StartAt {
    pub(super) fn on_the_wire(self) -> v1::StartPosition {
        use v1::start_position::Position;
        let position = match self {
            Self::Earliest => Position::Anchor(v1::Anchor::Earliest.into()),
            Self::Latest => Position::Anchor(v1::Anchor::Latest.into()),
            Self::Offset(offset) => Position::Offset(offset.get()),
            Self::Timestamp(time) => Position::TimestampMs(time.get()),
        };
        v1::StartPosition { position: Some(position) }
    }
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
}
