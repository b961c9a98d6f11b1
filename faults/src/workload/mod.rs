//! Clients of every sort, and what they saw, as events of one history per partition.

mod addresses;
mod concern;
mod consumer;
mod idempotent;
mod load;
mod plain;
mod reader;
mod record;
mod recorder;
mod topics;

pub(crate) use load::Load;
pub(crate) use reader::{Marks, marks_of, records_of};
pub(crate) use recorder::{Counts, Recorder, Seen};
pub(crate) use topics::Topics;
