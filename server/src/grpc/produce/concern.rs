//! What a batch's answer waits for, from what its producer asked for.

use forebay_engine::AckWhen;
use forebay_proto::v1;

use crate::config::WriteConcern;
use crate::grpc::status::Refusal;

/// What an answer waits for on a node that is the only replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Concern {
    /// Nothing.
    AtOnce,
    /// The leader's write; its fsync too, unless that is delayed by configuration.
    Written,
    /// Committed, and so on stable storage.
    Durable,
}

impl Concern {
    /// How many there are.
    pub(super) const COUNT: usize = 3;
}

impl From<Concern> for AckWhen {
    fn from(concern: Concern) -> Self {
        match concern {
            Concern::AtOnce => Self::AtOnce,
            Concern::Written => Self::Written,
            Concern::Durable => Self::Durable,
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

/// What to wait for when the partition has `replicas` replicas.
pub(super) fn resolve(wanted: WriteConcern, replicas: u32) -> Result<Concern, Refusal> {
    match wanted {
        WriteConcern::None => Ok(Concern::AtOnce),
        WriteConcern::Leader => Ok(Concern::Written),
        WriteConcern::Quorum | WriteConcern::All => Ok(Concern::Durable),
        WriteConcern::Replicas(wanted) if wanted <= replicas => Ok(Concern::Durable),
        WriteConcern::Replicas(wanted) => Err(Refusal::TooFewReplicas { wanted, replicas }),
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
        assert!(requested(6, 0, WriteConcern::None).is_err());
        assert!(requested(-1, 0, WriteConcern::None).is_err());
    }
}
