//! The most recent bytes of a log, in the very buffers that were written to disk.

use std::collections::VecDeque;

use bytes::Bytes;
use forebay_format::{FilePosition, Offset};
use smallvec::SmallVec;

use super::tail::GroupBuffer;

/// One buffer of one segment.
#[derive(Debug)]
struct Cached {
    segment: Offset,
    part: GroupBuffer,
}

/// Buffers of one log, oldest first, without holes from the oldest to the readable end.
#[derive(Debug, Default)]
pub(super) struct TailCache {
    buffers: VecDeque<Cached>,
}

impl TailCache {
    /// Adds what was just made durable.
    pub(super) fn push(&mut self, segment: Offset, part: GroupBuffer) {
        self.buffers.push_back(Cached { segment, part });
    }

    /// Drops the oldest buffer. Returns whether there was one.
    pub(super) fn evict_oldest(&mut self) -> bool {
        self.buffers.pop_front().is_some()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    /// Whether the byte at `position` of a segment is here.
    pub(super) fn holds(&self, segment: Offset, position: FilePosition) -> bool {
        self.first_with(segment, position.get())
            .is_some_and(|at| self.buffers[at].part.position <= position.get())
    }

    /// The bytes of `from..to`, without a copy; `None` unless all of them are here.
    pub(super) fn slices(
        &self,
        segment: Offset,
        from: FilePosition,
        to: FilePosition,
    ) -> Option<SmallVec<[Bytes; 4]>> {
        let (mut position, to) = (from.get(), to.get());
        let mut slices = SmallVec::new();
        let mut at = self.first_with(segment, position)?;
        while position < to {
            let part = self.buffers.get(at).filter(|cached| cached.segment == segment)?;
            let part = &part.part;
            if part.position > position {
                return None;
            }
            let end = part.end.min(to);
            if end > position {
                let in_buffer = |p: u64| usize::try_from(p - part.position).unwrap_or(usize::MAX);
                slices.push(part.buffer.slice(in_buffer(position)..in_buffer(end)));
                position = end;
            }
            at += 1;
        }
        Some(slices)
    }

    /// Index of the first buffer of `segment` that ends beyond `position`.
    fn first_with(&self, segment: Offset, position: u64) -> Option<usize> {
        let at = self.buffers.partition_point(|c| (c.segment, c.part.end) <= (segment, position));
        self.buffers.get(at).filter(|cached| cached.segment == segment).map(|_| at)
    }
}
