//! `ProducerService`: batches in, acknowledgements out.
//!
//! ```text
//! request ─▶ Messages ─▶ Session ─▶ log of the partition ─┐
//!                           ▲                             │ completion queue
//! response ◀─ Results ◀─────┴─────────────────────────────┘
//! ```
//!
//! Batches for partitions that other nodes lead go there instead, and their answers join the others (`carried`).
//!
//! A stream is one task: what polls it for the next response also reads its requests. So a client that
//! does not read its answers is not read from either, and nothing piles up.

mod admission;
mod carried;
mod concern;
mod deadline;
mod fields;
mod in_flight;
mod input;
mod open;
mod plain;
mod prepare;
mod request;
mod results;
mod session;

pub(super) use session::Session as ProduceSession;

/// The path of the call.
pub(super) const PRODUCE: &str = "/forebay.v1.ProducerService/Produce";
