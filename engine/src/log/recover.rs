//! Opening a log by walking its active segment, as the decision table says.

use forebay_format::names::SegmentFile;
use forebay_format::partition_meta::PendingCut;
use forebay_format::segment::FIRST_BATCH_POSITION;
use forebay_format::{CleanEntry, PartitionMeta};

use super::Corruption;
use super::open::{Found, OpenError, Recovered, state_before};
use super::partition::PartitionLog;
use super::recovery::{TailDecision, Vouched, decide_tail};
use super::resume::start_point;
use crate::io::sync_directory;
use crate::segment::{ActiveIndex, ActiveSegment, Chain, scan};

impl PartitionLog {
    /// Walks the active segment and does what the decision table says. `vouching` is what the last
    /// clean stop said of this replica, when it left an entry.
    pub(super) async fn recover(
        &self,
        found: &Found,
        vouching: Option<&CleanEntry>,
        meta: &mut PartitionMeta,
    ) -> Result<Recovered, OpenError> {
        let Found { file, header, file_bytes } = found;
        let producers = self.read_producers(start_point(header)).await?;
        let Some(mut state) = state_before(header, producers) else {
            let path = self.path.file(SegmentFile::Producers, header.base_offset);
            let what = "the producer table at the segment's start is missing or damaged";
            return Err(OpenError::corrupt(path, header.base_offset, what));
        };
        let mut index = ActiveIndex::new(header.base_offset, self.context.index_interval_bytes);
        let mut vouched = vouching.map(|entry| Vouched {
            end: entry.end_position,
            fits: entry.end_position == FIRST_BATCH_POSITION
                && entry.last_header_crc == header.previous_header_crc,
        });
        let from = (FIRST_BATCH_POSITION, Chain::before(header));
        let walk = scan(file, header, from, |batch, position| {
            state.append(&batch.meta());
            if !batch.client.control {
                index.note(batch.leader.base_offset, position, batch.leader.append_time);
            }
            if let (Some(vouched), Some(entry)) = (&mut vouched, vouching) {
                let end = position + batch.batch_bytes() as u64;
                vouched.fits |= end == vouched.end && batch.header_crc == entry.last_header_crc;
            }
        })
        .await?;
        match decide_tail(&walk, vouched) {
            TailDecision::Keep => {}
            TailDecision::Cut { at, wipe_end } => {
                tracing::info!(partition = %self.id, position = %at, offset = %walk.chain.next_offset, "log ends here");
                if wipe_end > at {
                    let offset = walk.chain.next_offset;
                    let cut = PendingCut { segment: header.base_offset, position: at, offset };
                    self.cut(file, (&cut, wipe_end), meta).await?;
                }
            }
            TailDecision::Corrupt { position, offset, what } => {
                let file = file.path().to_owned();
                return Err(OpenError::Corrupt(Corruption { file, position, offset, what }));
            }
        }
        // What survived a crash of the process may still be in the drive's cache only, and the
        // segment's name in the journal's.
        file.sync().await?;
        sync_directory(self.path.directory().to_owned()).await?;
        let segment =
            ActiveSegment::reopened(header.clone(), file.clone(), *file_bytes, walk.end, index);
        Ok(Recovered { segment, end: walk.end, state, resumed: None })
    }
}
