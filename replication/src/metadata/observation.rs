//! What was read of a partition's keys.

use forebay_format::NodeId;

use super::{LeaderKey, Member, PartitionState, Revision};

/// A key's value, with when it was made and last written.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Keyed<T> {
    /// The value.
    pub value: T,
    /// When the key was created. A key that was deleted and made again has another.
    pub created: Revision,
    /// When it was last written.
    pub modified: Revision,
}

/// How an observation was made.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObservationSource {
    /// The answer to [`Action::ReadMetadata`](crate::Action::ReadMetadata) of this number: true at
    /// some moment after it was asked for.
    Read(u64),
    /// A watch, which may lag behind. Correctness never needs one.
    Watch,
}

/// All keys of a partition at one moment.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Observation {
    /// Where it comes from.
    pub source: ObservationSource,
    /// The store's revision at that moment.
    pub revision: Revision,
    /// `leader`; leased, so it goes away with its node.
    pub leader: Option<Keyed<LeaderKey>>,
    /// `state`; absent until the first assigned node has written it.
    pub state: Option<Keyed<PartitionState>>,
    /// `assigned`, in the order of preference.
    pub assigned: Vec<NodeId>,
    /// `replicas/{node}`, in any order.
    pub reported: Vec<Member>,
}
