//! The replication protocol: who leads a partition, what is committed, and what every replica's log may
//! hold. State machines only, without I/O, clock, threads or randomness.
//!
//! A [`Replica`] is one replica of one partition. It takes an [`Event`] and the time, changes itself, and
//! adds what it wants done to a list of [`Action`]s. Whoever drives it (the server, a simulator) does
//! that, and hands in what comes of it. `docs/REPLICATION.md` has the protocol, rule by rule; every
//! rule's name (R1 to R15) stands in the file that carries it.

mod action;
pub mod batch;
mod claim;
mod concern;
mod config;
mod coordination;
mod dispatch;
mod election;
mod event;
mod fence;
mod follower;
pub mod health;
mod leader;
pub mod lease;
mod lineage;
mod local;
mod log;
mod message;
mod meta;
pub mod metadata;
mod mutation;
mod operator;
pub mod placement;
pub mod quorum;
mod reads;
mod remembered;
mod replica;
mod soundness;
mod time;
#[cfg(feature = "serde")]
pub mod trace;

pub use forebay_format::{BatchMeta, LogState, Position};

pub use action::{
    Action, Actions, Alarm, Answer, CommandRefusal, Marks, Part, ReadAnswer, WriteRefusal,
};
pub use concern::WriteConcern;
pub use config::Config;
pub use event::{Command, Event, LeaseEvent, LogEvent, Proposal, ReadRequest, Recovered, Token};
pub use message::{LogReport, Message};
pub use mutation::Mutation;
pub use replica::Replica;
pub use time::Instant;
