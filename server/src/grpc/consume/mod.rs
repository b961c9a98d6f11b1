//! `ConsumerService`: what was committed, out again.
//!
//! ```text
//! request ─▶ Session ─▶ Readers (one per partition) ─▶ cursors of the engine
//! response ◀── Output ◀────┴── pulled: nothing is read that the client has no room for
//! ```

mod output;
mod reader;
mod readers;
mod records;
mod session;
mod subscription;
mod turns;

pub(super) use session::Session as ConsumeSession;
