//! Opening a log by what the last clean stop said of it.

use forebay_format::index::Index;
use forebay_format::names::SegmentFile;
use forebay_format::{
    CleanEntry, FileError, LogState, ProducerTable, SegmentHeader, SnapshotPoint, decode_snapshot,
};

use super::open::{Found, OpenError, Recovered};
use super::partition::PartitionLog;
use crate::io::read_file;
use crate::segment::{ActiveIndex, ActiveSegment};

/// The place in the log where the producer table of a segment's start was taken.
pub(super) fn start_point(header: &SegmentHeader) -> SnapshotPoint {
    SnapshotPoint {
        base_offset: header.base_offset,
        previous_header_crc: header.previous_header_crc,
    }
}

impl PartitionLog {
    /// Takes the clean entry's word; `None` when the files that go with it are not usable.
    pub(super) async fn resume(
        &self,
        entry: &CleanEntry,
        found: &Found,
    ) -> Result<Option<Recovered>, OpenError> {
        let Found { file, header, file_bytes } = found;
        let index_path = self.path.file(SegmentFile::Index, header.base_offset);
        let Some(bytes) = read_file(index_path).await? else { return Ok(None) };
        let Ok(stored) = Index::decode(&bytes) else { return Ok(None) };
        let summary = stored.summary();
        if (summary.salt, summary.end_position) != (entry.salt, entry.end_position) {
            return Ok(None);
        }
        let mut index = ActiveIndex::new(header.base_offset, self.context.index_interval_bytes);
        for at in stored.entries().iter() {
            let time = summary.base_time.saturating_add(i64::from(at.time_delta));
            index.note(header.base_offset + u64::from(at.relative_offset), at.position(), time);
        }
        let mut epochs = header.epochs.clone();
        for &began in &entry.epochs {
            if !epochs.push(began) {
                return Ok(None);
            }
        }
        let point = if entry.end_offset == header.base_offset {
            start_point(header)
        } else {
            SnapshotPoint {
                base_offset: entry.end_offset,
                previous_header_crc: entry.last_header_crc,
            }
        };
        let Some(producers) = self.read_producers(point).await? else { return Ok(None) };
        let (before, last) = (header.previous_append_time, entry.last_append_time);
        if entry.end_offset == header.base_offset
            && ProducerTable::is_due_between(before, last)
            && !producers.is_empty()
        {
            // Control batches have had some of them forgotten, and only the walk knows which.
            return Ok(None);
        }
        let state = LogState {
            log_start: entry.log_start,
            end: entry.end_offset,
            epochs,
            last_header_crc: entry.last_header_crc,
            last_append_time: last,
            producers,
        };
        if state.position().epoch != entry.last_epoch {
            return Ok(None);
        }
        let end = entry.end_position;
        Ok(Some(Recovered {
            segment: ActiveSegment::reopened(header.clone(), file.clone(), *file_bytes, end, index),
            end,
            state,
            resumed: Some(entry.clone()),
        }))
    }

    /// The producer table as of `point`; `None` when it is missing or of no use. Where the log
    /// begins nobody is known, and no table is kept.
    pub(super) async fn read_producers(
        &self,
        point: SnapshotPoint,
    ) -> Result<Option<ProducerTable>, OpenError> {
        if point.base_offset == forebay_format::Offset::ZERO {
            return Ok(Some(ProducerTable::new()));
        }
        let path = self.path.file(SegmentFile::Producers, point.base_offset);
        let Some(bytes) = read_file(path.clone()).await? else { return Ok(None) };
        match decode_snapshot(&bytes) {
            Ok((found, table)) => Ok((found == point).then_some(table)),
            Err(error @ FileError::Version { .. }) => Err(OpenError::of_file(path, &error)),
            Err(_) => Ok(None),
        }
    }
}
