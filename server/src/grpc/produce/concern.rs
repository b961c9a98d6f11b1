//! What a batch's answer waits for, from what its producer asked for.

use forebay_engine::AckWhen;
use forebay_proto::v1;
use forebay_replication::quorum::VOTERS_MAX;

use crate::config::WriteConcern;
use crate::grpc::status::Refusal;

/// What an answer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Concern {
    /// Nothing.
    AtOnce,
    /// The leader's write; its fsync too, unless that is delayed by configuration.
    Written,
    /// Committed, and so on stable storage of a majority.
    Durable,
    /// The same, and on every in-sync replica.
    All,
    /// On stable storage of so many replicas. At least 1, at most [`VOTERS_MAX`].
    Replicas(u8),
}

impl Concern {
    /// How many there are.
    pub(super) const COUNT: usize = 4 + VOTERS_MAX;

    /// Which of them it is.
    #[inline]
    pub(super) fn index(self) -> usize {
        match self {
            Self::AtOnce => 0,
            Self::Written => 1,
            Self::Durable => 2,
            Self::All => 3,
            Self::Replicas(replicas) => 3 + usize::from(replicas),
        }
    }
}

impl From<Concern> for AckWhen {
    fn from(concern: Concern) -> Self {
        match concern {
            Concern::AtOnce => Self::AtOnce,
            Concern::Written => Self::Written,
            Concern::Durable => Self::Durable,
            Concern::All => Self::All,
            Concern::Replicas(replicas) => Self::Replicas(replicas),
        }
    }
}

/// Reads the two fields of a batch. What it leaves open, the topic says.
pub(super) fn requested(
    concern: i32,
    replicas: u32,
    topic: WriteConcern,
) -> Result<WriteConcern, Refusal> {
    use v1::WriteConcern as Wire;
    let unknown = || Refusal::Request {
        field: "write_concern",
        message: format!("there is no write concern {concern}"),
    };
    match Wire::try_from(concern).ok().ok_or_else(unknown)? {
        Wire::Unspecified => Ok(topic),
        Wire::None => Ok(WriteConcern::None),
        Wire::Leader => Ok(WriteConcern::Leader),
        Wire::Quorum => Ok(WriteConcern::Quorum),
        Wire::All => Ok(WriteConcern::All),
        Wire::Replicas if replicas > 0 => Ok(WriteConcern::Replicas(replicas)),
        Wire::Replicas => Err(Refusal::Request {
            field: "write_concern_replicas",
            message: "with WRITE_CONCERN_REPLICAS, write_concern_replicas says how many; found 0"
                .to_owned(),
        }),
    }
}

/// What to wait for when the topic has `replicas` replicas of each partition. Those beyond
/// [`VOTERS_MAX`] do not count. A replica that is alone is all of them.
pub(super) fn resolve(wanted: WriteConcern, replicas: u32) -> Result<Concern, Refusal> {
    let voters = replicas.min(u32::try_from(VOTERS_MAX).unwrap_or(u32::MAX));
    match wanted {
        WriteConcern::None => Ok(Concern::AtOnce),
        WriteConcern::Leader => Ok(Concern::Written),
        WriteConcern::Quorum => Ok(Concern::Durable),
        WriteConcern::Replicas(wanted) if wanted > voters => {
            Err(Refusal::TooFewReplicas { wanted, replicas: voters })
        }
        WriteConcern::All | WriteConcern::Replicas(_) if voters <= 1 => Ok(Concern::Durable),
        WriteConcern::All => Ok(Concern::All),
        WriteConcern::Replicas(wanted) => {
            Ok(Concern::Replicas(u8::try_from(wanted).unwrap_or(u8::MAX)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concerns_map_to_what_one_replica_can_promise() {
        use v1::WriteConcern as Wire;
        let of = |wire: Wire, replicas| {
            requested(wire.into(), replicas, WriteConcern::None)
                .and_then(|wanted| resolve(wanted, 1))
                .ok()
        };
        assert_eq!(of(Wire::Unspecified, 0), Some(Concern::AtOnce));
        assert_eq!(of(Wire::None, 0), Some(Concern::AtOnce));
        assert_eq!(of(Wire::Leader, 0), Some(Concern::Written));
        assert_eq!(of(Wire::Quorum, 0), Some(Concern::Durable));
        assert_eq!(of(Wire::All, 0), Some(Concern::Durable));
        assert_eq!(of(Wire::Replicas, 1), Some(Concern::Durable));
        assert_eq!(of(Wire::Replicas, 0), None);
        assert_eq!(of(Wire::Replicas, 2), None);
        assert_eq!(resolve(WriteConcern::All, 3).ok(), Some(Concern::All));
        assert_eq!(resolve(WriteConcern::Replicas(2), 3).ok(), Some(Concern::Replicas(2)));
        assert!(resolve(WriteConcern::Replicas(6), 9).is_err(), "five of them vote");
        assert!(requested(6, 0, WriteConcern::None).is_err());
        assert!(requested(-1, 0, WriteConcern::None).is_err());
    }
}
