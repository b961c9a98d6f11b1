//! Write concerns as checker, client and wire name them.

use forebay_checker::WriteConcern;
use forebay_proto::v1;

/// The checker's, which the others are made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Concern(pub(crate) WriteConcern);

impl Concern {
    pub(crate) fn of_client(self) -> forebay_client::WriteConcern {
        use forebay_client::WriteConcern as Client;
        match self.0 {
            WriteConcern::None => Client::None,
            WriteConcern::Leader => Client::Leader,
            WriteConcern::Quorum => Client::Quorum,
            WriteConcern::All => Client::All,
            WriteConcern::Replicas(count) => Client::Replicas(count),
        }
    }

    /// With the number of replicas beside it.
    pub(crate) fn on_the_wire(self) -> (v1::WriteConcern, u32) {
        match self.0 {
            WriteConcern::None => (v1::WriteConcern::None, 0),
            WriteConcern::Leader => (v1::WriteConcern::Leader, 0),
            WriteConcern::Quorum => (v1::WriteConcern::Quorum, 0),
            WriteConcern::All => (v1::WriteConcern::All, 0),
            WriteConcern::Replicas(count) => (v1::WriteConcern::Replicas, count),
        }
    }

    /// Whether an acknowledgement says that a majority has it, however many replicas there are.
    pub(crate) fn is_committed(self) -> bool {
        matches!(self.0, WriteConcern::Quorum | WriteConcern::All)
    }
}
