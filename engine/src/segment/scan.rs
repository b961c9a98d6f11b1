//! Walks the batches of a segment file from a known place, and says where and why the walk ended.
//!
//! The walk verifies everything there is to verify: header, payload and local checksums, the chain
//! of header checksums, offsets, epochs and append times. What its end means (a torn tail, or
//! corruption) is decided elsewhere, from what is reported here.

use std::io;

use forebay_format::batch::BatchError;
use forebay_format::limits::{CLIENT_HEADER_BYTES, HEADER_BYTES};
use forebay_format::{
    BatchHeader, BatchMeta, Epoch, FilePosition, LogState, Offset, PayloadCrc, Position,
    SegmentHeader, TimestampMs,
};
use memchr::memmem;

use crate::io::{DirectFile, READ_BYTES, block_ceil, block_floor};

/// What one batch hands on to the next: the next one must continue it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Offset of the next record.
    pub(crate) next_offset: Offset,
    /// Header CRC of the last batch; 0 before the first.
    pub(crate) header_crc: u32,
    /// Epoch of the last batch.
    pub(crate) epoch: Epoch,
    /// Append time of the last batch.
    pub(crate) append_time: TimestampMs,
}

impl Chain {
    /// What the first batch of a segment must continue.
    pub(crate) fn before(header: &SegmentHeader) -> Self {
        Self {
            next_offset: header.base_offset,
            header_crc: header.previous_header_crc,
            epoch: header.epochs.latest().map_or(Epoch::ZERO, |latest| latest.epoch),
            append_time: header.previous_append_time,
        }
    }

    /// The end of a log in this state.
    pub(crate) fn of(state: &LogState) -> Self {
        Self {
            next_offset: state.end,
            header_crc: state.last_header_crc,
            epoch: state.position().epoch,
            append_time: state.last_append_time,
        }
    }

    /// Where a log ends that ends here.
    pub(crate) fn position(&self) -> Position {
        Position::new(self.epoch, self.next_offset)
    }

    /// Moves past a batch.
    ///
    /// # Errors
    /// What does not continue the chain, in words.
    pub(crate) fn advance(&mut self, batch: &BatchMeta) -> Result<(), String> {
        let leader = &batch.leader;
        if leader.base_offset != self.next_offset {
            let (found, expected) = (leader.base_offset, self.next_offset);
            return Err(format!("base offset {found} where {expected} was expected"));
        }
        if leader.previous_header_crc != self.header_crc {
            let (found, expected) = (leader.previous_header_crc, self.header_crc);
            return Err(format!(
                "follows header {found:#010x}, the one before is {expected:#010x}"
            ));
        }
        if leader.epoch < self.epoch {
            return Err(format!("epoch {} after epoch {}", leader.epoch, self.epoch));
        }
        if leader.append_time < self.append_time {
            let (found, before) = (leader.append_time, self.append_time);
            return Err(format!("append time {found} after {before}"));
        }
        self.next_offset = batch.next_offset();
        self.header_crc = batch.header_crc;
        self.epoch = leader.epoch;
        self.append_time = leader.append_time;
        Ok(())
    }
}

/// Why a walk ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ScanStop {
    /// At the end of the file, or of the range asked for.
    End,
    /// At bytes that are not a batch written here in this life of the file.
    NotABatch {
        /// What was wrong with them.
        error: BatchError,
        /// Exclusive end of whatever batch written here in this life of the file reaches furthest,
        /// by the headers found anywhere behind; 0 when there is none.
        later_batches_end: FilePosition,
    },
    /// At a batch that was written here, and does not continue the one before.
    BrokenChain {
        /// What does not fit, in words.
        what: String,
    },
}

/// The result of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Exclusive end of the last good batch.
    pub(crate) end: FilePosition,
    /// What the next batch must continue.
    pub(crate) chain: Chain,
    /// Largest `durable_upto` of any valid batch, those behind the stop included: everything
    /// below it was synced once.
    pub(crate) durable_upto: FilePosition,
    /// Why the walk ended there.
    pub(crate) stop: ScanStop,
}

/// Walks from `from`, which is a batch boundary where `chain` ends, to the end of the file.
///
/// `visit` sees each good batch's header and position.
///
/// # Errors
/// Reading failed.
pub(crate) async fn scan(
    file: &DirectFile,
    header: &SegmentHeader,
    from: (FilePosition, Chain),
    mut visit: impl FnMut(&BatchHeader, FilePosition),
) -> io::Result<Scan> {
    let (mut position, mut chain) = from;
    let mut window = Window::open(file, position).await?;
    let mut durable_upto = FilePosition::ZERO;
    let stop = loop {
        if window.is_at_end(position) {
            break ScanStop::End;
        }
        let batch = match window.batch(header, position).await? {
            Ok(batch) => batch,
            Err(error) => {
                let later = window.search(header, position + 1).await?;
                durable_upto = durable_upto.max(later.durable_upto);
                break ScanStop::NotABatch { error, later_batches_end: later.end };
            }
        };
        if batch.local.durable_upto > position {
            let upto = batch.local.durable_upto;
            let what = format!("it says that byte {upto} was synced before it was written");
            break ScanStop::BrokenChain { what };
        }
        durable_upto = durable_upto.max(batch.local.durable_upto);
        if let Err(what) = chain.advance(&batch.meta()) {
            break ScanStop::BrokenChain { what };
        }
        visit(&batch, position);
        position += batch.batch_bytes() as u64;
    };
    Ok(Scan { end: position, chain, durable_upto, stop })
}

/// What a search behind the end of the walk found.
struct Later {
    durable_upto: FilePosition,
    end: FilePosition,
}

/// A stretch of the file in memory that moves forward.
struct Window<'a> {
    file: &'a DirectFile,
    file_bytes: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    async fn open(file: &'a DirectFile, at: FilePosition) -> io::Result<Self> {
        let file_bytes = file.len().await?;
        Ok(Self { file, file_bytes, start: block_floor(at.get()), bytes: Vec::new() })
    }

    fn is_at_end(&self, position: FilePosition) -> bool {
        position.get() >= self.file_bytes
    }

    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// The bytes from `position` on, at least `wanted` of them unless the file ends before.
    async fn at(&mut self, position: u64, wanted: usize) -> io::Result<&[u8]> {
        let wanted_end = (position + wanted as u64).min(self.file_bytes);
        if wanted_end > self.end() {
            let keep_from = block_floor(position);
            let drained = usize::try_from(keep_from - self.start).unwrap_or(usize::MAX);
            self.bytes.drain(..drained.min(self.bytes.len()));
            self.start = keep_from;
            while self.end() < wanted_end {
                let end = block_ceil(wanted_end.max(self.end() + READ_BYTES).min(self.file_bytes));
                let end = end.min(self.end() + READ_BYTES);
                let chunk = self.file.read(self.end()..end).await?;
                if chunk.as_bytes().is_empty() {
                    break;
                }
                self.bytes.extend_from_slice(chunk.as_bytes());
            }
        }
        let from = usize::try_from(position.saturating_sub(self.start)).unwrap_or(usize::MAX);
        Ok(self.bytes.get(from..).unwrap_or_default())
    }

    /// The batch at `position`, all its checksums verified.
    async fn batch(
        &mut self,
        header: &SegmentHeader,
        position: FilePosition,
    ) -> io::Result<Result<BatchHeader, BatchError>> {
        let bytes = self.at(position.get(), HEADER_BYTES).await?;
        let batch = match written_here(bytes, header, position) {
            Ok(batch) => batch,
            Err(error) => return Ok(Err(error)),
        };
        let expected = batch.batch_bytes();
        let bytes = self.at(position.get(), expected).await?;
        let (Some(client), Some(payload)) =
            (bytes.first_chunk::<CLIENT_HEADER_BYTES>(), bytes.get(HEADER_BYTES..expected))
        else {
            return Ok(Err(BatchError::Length { found: bytes.len(), expected }));
        };
        let mut crc = PayloadCrc::start(client);
        crc.update(payload);
        let (found, expected) = (crc.finish(), batch.client.payload_crc);
        if found != expected {
            return Ok(Err(BatchError::PayloadCrc { found, expected }));
        }
        Ok(Ok(batch))
    }

    /// Looks for headers of batches that were written here, at any byte from `from` on.
    async fn search(&mut self, header: &SegmentHeader, from: FilePosition) -> io::Result<Later> {
        let mut later = Later { durable_upto: FilePosition::ZERO, end: FilePosition::ZERO };
        let magic = forebay_format::batch::MAGIC.to_le_bytes();
        let mut position = from.get();
        while position + HEADER_BYTES as u64 <= self.file_bytes {
            let bytes =
                self.at(position, usize::try_from(READ_BYTES).unwrap_or(usize::MAX)).await?;
            if bytes.len() < HEADER_BYTES {
                break;
            }
            for at in memmem::find_iter(bytes, &magic) {
                let place = FilePosition::new(position + at as u64);
                if let Ok(batch) = written_here(&bytes[at..], header, place)
                    && batch.local.durable_upto <= place
                {
                    later.durable_upto = later.durable_upto.max(batch.local.durable_upto);
                    later.end = later.end.max(place + batch.batch_bytes() as u64);
                }
            }
            // A header may begin in the last bytes of this stretch and end in the next.
            position += (bytes.len() - (HEADER_BYTES - 1)) as u64;
        }
        Ok(later)
    }
}

/// The header at the start of `bytes`, if it was written to this place in this life of the file.
fn written_here(
    bytes: &[u8],
    header: &SegmentHeader,
    position: FilePosition,
) -> Result<BatchHeader, BatchError> {
    let Some(first) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(BatchError::Length { found: bytes.len(), expected: HEADER_BYTES });
    };
    let batch = BatchHeader::decode(first)?;
    batch.verify_local(header.salt, position)?;
    Ok(batch)
}
