//! `ConsumerService`: what was committed, out again.
//!
//! ```text
//! request ─▶ Session ─▶ Readers (one per partition) ─▶ cursors of the engine
//! response ◀────┴── pulled: nothing is read that the client has no room for
//! ```

mod api;
mod reader;
mod readers;
mod records;
mod session;
mod subscription;

pub(super) use api::ConsumerApi;
