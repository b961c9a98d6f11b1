//! `ConsumerService`: what was committed, out again.
//!
//! ```text
//! request ─▶ Session ─▶ Readers (one per partition) ─▶ cursors of the engine
//! response ◀── Output ◀────┴── pulled: little is read ahead of what the client takes
//! ```
//!
//! A replica gives what it knows to be committed, whether it leads or not. Partitions that this node has no
//! replica of, and readers that are ahead of the one it has, are carried to another node (`carried`).

mod carried;
mod output;
mod reader;
mod readers;
mod records;
mod session;
mod subscription;
mod turns;

pub(super) use session::Session as ConsumeSession;

/// The path of the call.
pub(super) const CONSUME: &str = "/forebay.v1.ConsumerService/Consume";
