//! One file of a partition's log, with its index: names, creation, scanning, reading.
//!
//! A segment is *active* while batches are appended to it, then *sealed*: cut to its exact length,
//! its index written and mapped. This folder knows positions within one file; which segments make
//! up a log, and what is committed, is the business of `log`.

mod active;
mod active_index;
mod in_use;
mod name;
mod scan;
mod sealed;
mod spare;

pub(crate) use active::{ActiveSegment, write_zeros};
pub(crate) use active_index::{ActiveIndex, REBUILD_INTERVAL_BYTES};
pub(crate) use in_use::{SegmentUse, SegmentsInUse};
pub(crate) use name::SegmentPath;
pub(crate) use scan::{Chain, Scan, ScanStop, scan};
pub(crate) use sealed::{SealedSegment, SegmentError, SegmentReader, corrupt, read_header};
pub(crate) use spare::{Spare, SpareFiles};
