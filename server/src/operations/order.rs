//! What an operator wants a replica to do.

use forebay_format::NodeId;
use forebay_replication::{Command, CommandRefusal};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Hand over: to this node, or to whichever holds most.
    Transfer { to: Option<NodeId> },
    /// Lead with the log that it has.
    ElectUnclean,
    /// The metadata are right as it remembers them.
    ConfirmMetadata,
}

impl From<Order> for Command {
    fn from(order: Order) -> Self {
        match order {
            Order::Transfer { to } => Self::Transfer { to },
            Order::ElectUnclean => Self::ElectUnclean,
            Order::ConfirmMetadata => Self::ConfirmMetadata,
        }
    }
}

/// Why a replica has not done it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OrderError {
    #[error("this node has no replica of the partition")]
    NotHere,
    #[error("this node does not lead the partition")]
    NotLeader,
    #[error("the replica has something else to finish first; try again")]
    Busy,
    #[error("no replica that could lead is in touch with the leader there")]
    NoSuccessor,
    #[error("there is nothing to confirm: the metadata are no older than what replicas have seen")]
    NothingToConfirm,
    #[error("the metadata have changed meanwhile, or this node has no lease; try again")]
    MetadataChanged,
    #[error("it took too long and was given up, or this node stopped leading on the way")]
    GivenUp,
    #[error(
        "it took too long; it may have been done, or may be done yet: look before you repeat it"
    )]
    Unknown,
}

impl From<CommandRefusal> for OrderError {
    fn from(refusal: CommandRefusal) -> Self {
        match refusal {
            CommandRefusal::NotLeader => Self::NotLeader,
            CommandRefusal::Busy => Self::Busy,
            CommandRefusal::InvalidNodes => Self::NoSuccessor,
            CommandRefusal::NothingToConfirm => Self::NothingToConfirm,
            CommandRefusal::MetadataChanged => Self::MetadataChanged,
            CommandRefusal::GivenUp => Self::GivenUp,
        }
    }
}

impl OrderError {
    /// Whether this order may be carried out a moment later, as it was meant.
    pub(crate) fn passes(self, order: Order) -> bool {
        match order {
            Order::Transfer { .. } | Order::ConfirmMetadata => {
                matches!(self, Self::Busy | Self::MetadataChanged)
            }
            // When the metadata have changed, somebody else may have been elected, and nothing was lost: people
            // have to look again.
            Order::ElectUnclean => matches!(self, Self::Busy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forced_election_is_not_repeated_once_the_metadata_have_changed() {
        let transfer = Order::Transfer { to: None };
        for (error, order, passes) in [
            (OrderError::Busy, Order::ElectUnclean, true),
            (OrderError::MetadataChanged, Order::ElectUnclean, false),
            (OrderError::MetadataChanged, transfer, true),
            (OrderError::MetadataChanged, Order::ConfirmMetadata, true),
            (OrderError::GivenUp, transfer, false),
            (OrderError::NotHere, Order::ConfirmMetadata, false),
        ] {
            assert_eq!(error.passes(order), passes, "{error} {order:?}");
        }
    }
}
