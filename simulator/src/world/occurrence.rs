//! What can be waiting in the queue of a world.

use forebay_format::NodeId;
use forebay_replication::metadata::{Observation, Outcome, Transaction};
use forebay_replication::{Event, Message};

use crate::clients::ClientOccurrence;
use crate::etcd::{Granted, LeaseId};
use crate::faults::Relief;

/// Something that will happen. `run` says which run of a process is meant: what was for an earlier one is void.
#[derive(Debug)]
pub(crate) enum Occurrence {
    /// A process starts.
    Start(NodeId),
    /// This run of a process dies.
    Death { node: NodeId, run: u64 },
    /// A process that stood still goes on.
    Resume(NodeId),
    /// A replica is handed an event.
    Event { node: NodeId, run: u64, event: Event },
    /// The time that a replica asked for has come, unless it has asked for another one since.
    Wake { node: NodeId, run: u64, number: u64 },
    /// A message arrives.
    Message { from: NodeId, to: NodeId, message: Message },
    /// A flush of the log ends.
    Flushed { node: NodeId, run: u64 },
    /// A meta file is on stable storage.
    MetaWritten { node: NodeId, run: u64 },
    /// A request reaches the metadata store.
    StoreRequest { node: NodeId, run: u64, request: StoreRequest },
    /// An answer of the metadata store reaches a node.
    StoreAnswer { node: NodeId, run: u64, answer: StoreAnswer },
    /// It is time to look after a lease.
    KeepAlive { node: NodeId, run: u64 },
    /// The store looks for leases that are over.
    LeaseCheck,
    /// Something with clients.
    Client(ClientOccurrence),
    /// A fault is due.
    Fault,
    /// A fault that was armed may fall.
    Strike,
    /// A fault ends.
    Relief(Relief),
    /// Whoever was going to cut what is committed has done so.
    SabotageOver,
    /// After the healing: look whether all have caught up.
    CaughtUp,
}

/// What a node asks of the metadata store.
#[derive(Debug)]
pub(crate) enum StoreRequest {
    Grant { sent_ms: u64 },
    KeepAlive { lease: LeaseId, number: u64 },
    Transact { number: u64, transaction: Box<Transaction>, fate: Fate, era: u64 },
    Read { number: u64 },
}

/// What becomes of the answer to a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It arrives.
    Answered,
    /// The node was told long ago that nobody knows.
    GivenUp,
}

/// What the store answers.
#[derive(Debug)]
pub(crate) enum StoreAnswer {
    Granted {
        granted: Granted,
        sent_ms: u64,
    },
    KeptAlive {
        number: u64,
        ttl_ms: u64,
    },
    Transacted {
        number: u64,
        outcome: Outcome,
    },
    /// A read, or a watch.
    Observed(Box<Observation>),
}
