//! `ConsumerService`: what was committed, out again.
//!
//! ```text
//! request ─▶ Session ─▶ Readers (one per partition) ─▶ cursors of the engine
//! response ◀── Output ◀────┴── pulled: little is read ahead of what the client takes
//! ```

mod output;
mod reader;
mod readers;
mod records;
mod session;
mod subscription;
mod turns;

pub(super) use session::Session as ConsumeSession;
