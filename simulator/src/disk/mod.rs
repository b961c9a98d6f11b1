//! The disk of one node: a log with one appender, and the meta beside it.
//!
//! Both take orders at once and carry them out, in order, some time later. What a process sees of its log has all that
//! it ordered. What is on stable storage lags behind, and a crash keeps any part of the lag that is a
//! prefix: recovery would cut a log at its first hole.

mod device;
mod stored_log;

pub(crate) use device::{Disk, LogOrder};
pub(crate) use stored_log::StoredLog;
