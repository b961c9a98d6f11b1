//! What a partition's directory holds, and what to make of its names alone.

use std::io;

use forebay_format::names::{META_FILE, SegmentFile, parse_segment_file_name};
use forebay_format::{EpochTable, Offset, PartitionMeta};

use super::open::OpenError;
use super::partition::PartitionLog;
use super::retention::is_given_up;
use crate::io::{file_names, read_file, remove_file};

/// What a partition's directory holds.
pub(super) struct Listing {
    /// Base offsets and file lengths in bytes, in order.
    pub(super) logs: Vec<(Offset, u64)>,
    pub(super) indexes: Vec<Offset>,
    pub(super) producers: Vec<Offset>,
    pub(super) has_meta: bool,
}

impl PartitionLog {
    pub(super) async fn list(&self) -> io::Result<Listing> {
        let names = file_names(self.path.directory().to_owned()).await?.unwrap_or_default();
        let (logs, indexes, producers) = Default::default();
        let mut listing = Listing { logs, indexes, producers, has_meta: false };
        for (name, bytes) in names {
            match parse_segment_file_name(&name) {
                Some((offset, SegmentFile::Log)) => listing.logs.push((offset, bytes)),
                Some((offset, SegmentFile::Producers)) => listing.producers.push(offset),
                Some((offset, SegmentFile::Index)) => listing.indexes.push(offset),
                None => listing.has_meta |= name == META_FILE,
            }
        }
        listing.logs.sort_unstable();
        Ok(listing)
    }

    pub(super) async fn read_meta(&self, listing: &Listing) -> Result<PartitionMeta, OpenError> {
        let path = self.path.meta();
        let Some(bytes) = read_file(path.clone()).await? else {
            let first = listing.logs.first().map_or(Offset::ZERO, |(base, _)| *base);
            let what = "meta is missing, so this replica cannot know what it promised";
            return Err(OpenError::corrupt(path, first, what));
        };
        PartitionMeta::decode(&bytes).map_err(|error| OpenError::of_file(path, &error))
    }

    /// Removes segments that lie below the log start: retention recorded it, and then died. `epochs` are those
    /// that began before the last segment.
    pub(super) async fn finish_retention(
        &self,
        logs: &mut Vec<(Offset, u64)>,
        log_start: Offset,
        epochs: &EpochTable,
    ) -> Result<(), OpenError> {
        while let [(base, bytes), (next, _), ..] = logs[..]
            && is_given_up(next, log_start, epochs)
        {
            self.remove_segment_files(base, bytes).await?;
            logs.remove(0);
        }
        match logs.first() {
            Some(&(base, _)) if base > log_start => {
                let path = self.path.file(SegmentFile::Log, base);
                let what = format!("the log starts at {log_start}, its first segment is missing");
                Err(OpenError::corrupt(path, log_start, &what))
            }
            _ => Ok(()),
        }
    }

    /// Removes producer tables that an earlier close left between segment starts, but for the one
    /// at the end of the log, which may be good once more. Not durable on return: one that comes
    /// back is removed by the next start.
    pub(super) async fn drop_stale_producers(
        &self,
        producers: &[Offset],
        logs: &[(Offset, u64)],
        end: Offset,
    ) -> io::Result<()> {
        for &offset in producers {
            if offset != end && !logs.iter().any(|&(base, _)| base == offset) {
                remove_file(self.path.file(SegmentFile::Producers, offset)).await?;
            }
        }
        Ok(())
    }
}
