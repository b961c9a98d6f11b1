//! Cutting the end of a log: what was written there and never known to be synced goes for good.

use std::io;

use forebay_format::names::SegmentFile;
use forebay_format::partition_meta::PendingCut;
use forebay_format::segment::FIRST_BATCH_POSITION;
use forebay_format::{FilePosition, PartitionMeta, SegmentIdentity};

use super::open::OpenError;
use super::partition::PartitionLog;
use crate::io::{
    BLOCK_BYTES, DirectFile, block_ceil, block_floor, lost, remove_file, replace_file,
    sync_directory,
};
use crate::segment::{read_header, write_zeros};

impl PartitionLog {
    /// Records a cut, zeroes what lies behind it up to `wipe_end`, and forgets the record; each
    /// step is on stable storage before the next.
    pub(super) async fn cut(
        &self,
        file: &DirectFile,
        (cut, wipe_end): (&PendingCut, FilePosition),
        meta: &mut PartitionMeta,
    ) -> Result<(), OpenError> {
        meta.pending_cut = Some(*cut);
        replace_file(self.path.meta(), meta.encode().to_vec()).await?;
        self.wipe(file, cut.position.get(), wipe_end.get()).await?;
        meta.pending_cut = None;
        replace_file(self.path.meta(), meta.encode().to_vec()).await?;
        Ok(())
    }

    /// Carries out a cut that was recorded. How far there is something to zero is known to the process
    /// that has written the segment; otherwise all of the file is.
    pub(super) async fn finish_cut(
        &self,
        cut: &PendingCut,
        identity: &SegmentIdentity,
        meta: &mut PartitionMeta,
    ) -> Result<(), OpenError> {
        if cut.position < FIRST_BATCH_POSITION {
            let what = format!("a cut at byte {} would take a segment's header away", cut.position);
            return Err(OpenError::corrupt(self.path.meta(), cut.offset, &what));
        }
        let file = DirectFile::open(self.path.file(SegmentFile::Log, cut.segment)).await?;
        read_header(&file, identity, cut.segment).await?;
        let listing = self.list().await?;
        let behind = |base| base > cut.segment;
        // The index of the segment that is cut knows batches behind the cut.
        for base in listing.indexes.into_iter().filter(|base| *base >= cut.segment) {
            remove_file(self.path.file(SegmentFile::Index, base)).await?;
        }
        for base in listing.producers.into_iter().filter(|base| behind(*base)) {
            remove_file(self.path.file(SegmentFile::Producers, base)).await?;
        }
        for (base, _) in listing.logs.into_iter().filter(|(base, _)| behind(*base)) {
            remove_file(self.path.file(SegmentFile::Log, base)).await?;
        }
        sync_directory(self.path.directory().to_owned()).await?;
        let written = self.written_end.take().filter(|(base, _)| *base == cut.segment);
        let end = match written {
            Some((_, end)) => end.get(),
            None => file.len().await?,
        };
        self.wipe(&file, cut.position.get(), end).await?;
        meta.pending_cut = None;
        replace_file(self.path.meta(), meta.encode().to_vec()).await?;
        Ok(())
    }

    /// Zeroes the file from `from` to `end`, rounded up to a block. On stable storage on return.
    async fn wipe(&self, file: &DirectFile, from: u64, end: u64) -> Result<(), OpenError> {
        let first = block_floor(from);
        if from > first {
            let block = file.read(first..first + BLOCK_BYTES as u64).await?;
            let keep = usize::try_from(from - first).unwrap_or(0);
            let mut buffer = self.context.pool.take(BLOCK_BYTES);
            let Some(kept) = block.as_bytes().get(..keep) else {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            };
            buffer.bytes_mut()[..keep].copy_from_slice(kept);
            buffer.bytes_mut()[keep..BLOCK_BYTES].fill(0);
            file.write(&buffer.freeze(BLOCK_BYTES), first).await.map_err(lost)?;
        }
        let zeroed = write_zeros(file, block_ceil(from)..block_ceil(end), &self.context.pool).await;
        zeroed.map_err(lost)?;
        file.sync().await?;
        Ok(())
    }
}
