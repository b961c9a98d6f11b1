//! What happens to a replica: everything that the protocol reacts to.

use forebay_format::{
    ClientHeader, Epoch, LogState, NodeId, Offset, PartitionMeta, Position, TimestampMs,
};

use crate::concern::WriteConcern;
use crate::message::Message;
use crate::metadata::{Incarnation, Observation, Outcome, PartitionState, Revision};
use crate::time::Instant;

/// Names a request until it is answered. Chosen by the caller; the protocol only hands it back.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What recovery found on disk.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The partition's meta, or a fresh one with a new replica id when there was none (R11).
    pub meta: PartitionMeta,
    /// The log, all of it durable.
    pub log: LogState,
    /// The state that was kept last ([`Action::KeepState`](crate::Action::KeepState)); `None` when there is
    /// none, or not a whole one.
    pub state: Option<Box<PartitionState>>,
}

/// An event of one replica.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The node's lease, from [`Lease`](crate::lease::Lease).
    Lease(LeaseEvent),
    /// Metadata was read, or a watch saw it change.
    Observed(Box<Observation>),
    /// What became of [`Action::Transact`](crate::Action::Transact) of this number.
    Transacted(u64, Outcome),
    /// A message of the replica on another node.
    Message(NodeId, Message),
    /// The stream to that node broke. What was sent may be lost.
    PeerLost(NodeId),
    /// The log.
    Log(LogEvent),
    /// A client writes.
    Propose(Proposal),
    /// A client reads.
    Read(ReadRequest),
    /// An operator, or housekeeping.
    Command(Token, Command),
    /// The time asked for by [`Action::Wake`](crate::Action::Wake) has come. May come at any time.
    Tick,
}

/// The lease of this node (R3).
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeaseEvent {
    /// The node has a new lease.
    Granted {
        /// The life that begins with it.
        incarnation: Incarnation,
        /// When the node's own key was created under it.
        node_created: Revision,
        /// The local deadline.
        until: Instant,
    },
    /// The deadline has moved.
    Renewed {
        /// The new one.
        until: Instant,
    },
    /// The lease is gone.
    Lost,
}

/// Something that the log was asked for is done. Appends, cuts and resets are done in the order asked.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent {
    /// Everything up to here, as appended, is on stable storage.
    Durable(Position),
    /// The cut is done and durable; this is the log now.
    CutDone(Box<LogState>),
    /// The reset is done and durable; this is the log now.
    ResetDone(Box<LogState>),
    /// The meta of this number, and so of every lower one, is on stable storage.
    MetaDurable(u64),
    /// [`Action::SendBatches`](crate::Action::SendBatches) to this node has sent all up to here.
    Sent {
        /// The node.
        to: NodeId,
        /// As the action said.
        after: Position,
        /// End of the last batch that was sent; `after` when there was none.
        upto: Position,
    },
}

/// A batch that a client wants appended. Its payload is verified and stays with the caller, who
/// appends it when the very call that hands this in answers with [`Action::Append`](crate::Action::Append).
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposal {
    /// Names the request.
    pub token: Token,
    /// The client's header. Has records: a control batch is a leader's own.
    pub batch: ClientHeader,
    /// When it is to be answered.
    pub concern: WriteConcern,
    /// When it is answered at the latest, then with [`Answer::Indeterminate`](crate::Answer::Indeterminate).
    pub deadline: Option<Instant>,
    /// The wall clock of this node. What is stamped never falls.
    pub append_time: TimestampMs,
}

/// A client wants to read on (R13).
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRequest {
    /// Names the request.
    pub token: Token,
    /// Epoch of the record before `offset`, as this reader has read it; 0 if it has read none.
    pub epoch: Epoch,
    /// The first offset it wants.
    pub offset: Offset,
}

/// What a leader or a single replica is told to do.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// R2: hand leadership over, to this node if one is named. To the leader.
    Transfer {
        /// Who shall lead.
        to: Option<NodeId>,
    },
    /// R12: let these nodes be the voters. To the leader.
    Reassign {
        /// At least one and at most five, each once.
        to: Vec<NodeId>,
    },
    /// Let these nodes have further copies, which never vote. To the leader.
    Copies {
        /// Each once, none a voter.
        to: Vec<NodeId>,
    },
    /// Records before this offset are no longer wanted. To the leader.
    AdvanceLogStart {
        /// Capped at the committed mark.
        to: Offset,
    },
    /// R2: the metadata went back, and an operator says that it is right as this replica remembers it, or
    /// as it is where that is newer. To the replica whose alarm names the highest version.
    ConfirmMetadata,
    /// R5: lead with the log that this replica has, whatever may be lost. To any replica.
    ElectUnclean,
}
