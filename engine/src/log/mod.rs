//! The log of one partition: append, flush, read, recovery, retention.
//!
//! ```text
//!  append ─▶ Tail (DMA buffers) ─▶ flush: write, fdatasync ─▶ durable ─▶ acknowledgements
//!                                        │                        └────▶ readers
//!                                        └─▶ tail cache
//! ```
//!
//! The log of a replica grows by leave of a [`Sequencer`], which sits above and orders the rest:
//!
//! ```text
//!  client ─▶ propose ─▶ Tail       ReplicaLog: line (stamped batches), rewrite and reset, meta_writer,
//!               └ may it stay?                 committed mark, stored batches for others
//! ```
//!
//! A log owns its segments and its marks. It knows nothing of other partitions except the shard's
//! shared buffers, spare files and cache order, which it is handed.

mod acks;
mod append;
mod attempts;
mod cache;
mod committed;
mod completion;
mod context;
mod cursor;
mod cursor_step;
mod cut;
mod disk_reader;
mod errors;
mod flush;
mod lifecycle;
mod line;
mod listing;
mod locate;
mod meta_writer;
mod open;
mod out_of_service;
mod partition;
mod payload_check;
mod propose;
mod recover;
mod recovery;
mod replica;
mod reserved;
mod reset;
mod resume;
mod retention;
mod rewrite;
mod roll;
mod room;
mod sequencer;
mod set_aside;
mod settings;
mod stamped;
mod stored;
mod tail;

pub use acks::AckWhen;
pub use append::IncomingBatch;
pub(crate) use completion::WeakQueue;
pub use completion::{Appended, Completed, Completion, CompletionQueue};
pub(crate) use context::LogContext;
pub(crate) use cursor::Cursor;
pub use cursor::{CursorStart, Run};
pub use errors::{AppendError, Corruption, ReadError, ReserveError, WriteRefusal};
pub(crate) use partition::PartitionLog;
pub use partition::PartitionStatus;
pub use replica::{Opened, ReplicaLog};
pub(crate) use reserved::Reserved;
pub(crate) use sequencer::Decider;
pub use sequencer::{Lineage, Sequencer};
pub use settings::{FsyncPolicy, LogSettings};
pub use stamped::StampedBatch;
pub use stored::{Stored, StoredReader, StoredRun};
