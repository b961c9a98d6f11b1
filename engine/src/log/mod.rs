//! The log of one partition: append, flush, read, recovery, retention.
//!
//! ```text
//!  append ─▶ Tail (DMA buffers) ─▶ flush: write, fdatasync ─▶ durable ─▶ acknowledgements
//!                                        │                        └────▶ readers
//!                                        └─▶ tail cache
//! ```
//!
//! A log owns its segments and its marks. It knows nothing of other partitions except the shard's
//! shared buffers, spare files and cache order, which it is handed.

mod acks;
mod append;
mod attempts;
mod cache;
mod completion;
mod context;
mod cursor;
mod cut;
mod disk_reader;
mod errors;
mod flush;
mod lifecycle;
mod listing;
mod open;
mod partition;
mod recover;
mod recovery;
mod resume;
mod retention;
mod roll;
mod room;
mod settings;
mod tail;

pub use acks::AckWhen;
pub use append::IncomingBatch;
pub(crate) use completion::WeakQueue;
pub use completion::{Appended, Completed, Completion, CompletionQueue};
pub(crate) use context::LogContext;
pub(crate) use cursor::Cursor;
pub use cursor::{CursorStart, Run};
pub use errors::{AppendError, Corruption, ReadError, ReserveError};
pub use partition::PartitionStatus;
pub(crate) use partition::{PartitionLog, Reserved};
pub use settings::{FsyncPolicy, LogSettings};
