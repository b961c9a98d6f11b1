//! The producer table of a partition: what makes a retry a duplicate and not a second copy.
//!
//! ```text
//!                      sequence is zero, or the table knows better
//!  unknown producer ──────────────────────────────────────────────▶ known, expects sequence n
//!        ▲                                                           │  n: append, expects n + count
//!        └────────── no append for long, or too many others ─────────┘  remembered: duplicate
//!                                                                       else: refused, with the cause
//! ```
//!
//! Every replica computes the same table from the same log. A snapshot is kept at each segment start,
//! because retention deletes what the table was computed from. Time is the leader's append time only.

mod admission;
mod producer;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;

pub use admission::{Admission, ProducerError};
pub use producer::RememberedBatch;
pub use snapshot::{SnapshotPoint, decode_snapshot};
pub use table::ProducerTable;
