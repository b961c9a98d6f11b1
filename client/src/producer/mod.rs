//! Producing: records in, batches out, each acknowledged once and in order per partition, whatever
//! happens to connections and servers meanwhile.
//!
//! ```text
//! send ──► partition: open batch ──(full, or due)──► lane ──► body of a produce stream ──► server
//!                                                     ▲                                     │
//! reports ◄── outbox ◄────────────────────────────────┴───────────── session ◄──── answers ─┘
//! ```
//!
//! | file | what it owns |
//! | --- | --- |
//! | `lane` | what may be sent and what is sent again: the pure heart |
//! | `partition` | the batch being filled, sequences, reports |
//! | `outbox` | all partitions, what is ready, timers; still without I/O |
//! | `body`, `session` | one stream after the other to one address |
//! | `supervisor` | which address serves which partition; the tasks |

mod body;
mod handle;
mod lane;
mod options;
mod outbox;
mod partition;
mod record;
mod report;
mod session;
mod shared;
mod supervisor;

pub use handle::{OpenError, Producer};
pub use options::{IN_FLIGHT_MAX, ProducerOptions, Resume, WriteConcern};
pub use record::{PreparedBatch, Record, Ticket};
pub use report::{
    AppendError, BatchAck, DeliveryError, DeliveryFailure, DeliveryReport, RecordAck, SendError,
};
