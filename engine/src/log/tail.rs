//! The bytes behind the last flush: DMA buffers that cover one contiguous stretch of the active
//! segment's file.
//!
//! ```text
//!  start (block boundary)                      end
//!  ├──── buffer ────┼──── buffer ────┼──── buff┈┈┈
//!  └ last partial block of the group before, copied
//! ```
//!
//! Batches lie back to back and may straddle buffers. A group that is taken for writing leaves its
//! last partial block behind as a *copy*, because what was submitted is never modified.

use crate::io::{BLOCK_BYTES, BUFFER_BYTES_MAX, Buffer, BufferPool, WritableBuffer, block_floor};

/// Part of a group: what one write puts on disk.
#[derive(Debug)]
pub(super) struct GroupBuffer {
    /// Where it goes in the file; a multiple of the block.
    pub(super) position: u64,
    /// Exclusive end in the file of the bytes that mean something.
    pub(super) end: u64,
    pub(super) buffer: Buffer,
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct TailBuffers {
    pool: BufferPool,
    /// In order; each begins where the one before ends. Invariant: `end` lies in the last one, or
    /// there is none and `end` is a block boundary.
    buffers: Vec<WritableBuffer>,
    start: u64,
    capacity_end: u64,
    end: u64,
    /// Exclusive end of what was taken for writing.
    taken_end: u64,
    /// Size of the last group, in bytes: the best guess for the next.
    group_bytes: usize,
}

impl TailBuffers {
    /// A tail whose next byte goes to `end`. `partial` is what the file holds from the block
    /// boundary below on.
    pub(super) fn new(pool: BufferPool, end: u64, partial: &[u8]) -> Self {
        let start = block_floor(end);
        debug_assert_eq!(partial.len() as u64, end - start);
        let mut tail = Self {
            pool,
            buffers: Vec::new(),
            start,
            capacity_end: start,
            end: start,
            taken_end: end,
            group_bytes: 0,
        };
        tail.write(partial);
        tail
    }

    /// Position in the file of the next byte.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Whether there are bytes that no group has taken.
    pub(super) fn is_dirty(&self) -> bool {
        self.end > self.taken_end
    }

    /// Appends bytes.
    pub(super) fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.end == self.capacity_end {
                self.grow(bytes.len());
            }
            let Some(last) = self.buffers.last_mut() else { return };
            let room = usize::try_from(self.capacity_end - self.end).unwrap_or(usize::MAX);
            let now = room.min(bytes.len());
            let at = last.capacity() - room;
            let (head, rest) = bytes.split_at(now);
            last.bytes_mut()[at..at + now].copy_from_slice(head);
            self.end += now as u64;
            bytes = rest;
        }
    }

    /// Makes room behind a full last buffer. While everything fits into one buffer it is in one,
    /// so that a small group is one write.
    fn grow(&mut self, wanted: usize) {
        let so_far = usize::try_from(self.end - self.start).unwrap_or(usize::MAX);
        // As much again, and not less than the last group: a busy tail goes straight to large ones.
        let wanted = wanted.max(so_far).max(self.group_bytes);
        let buffer = match self.buffers.as_slice() {
            [only] if only.capacity() < BUFFER_BYTES_MAX => {
                let mut larger = self.pool.take(so_far.saturating_add(wanted));
                larger.bytes_mut()[..so_far].copy_from_slice(&only.bytes()[..so_far]);
                self.buffers.clear();
                self.capacity_end = self.start;
                larger
            }
            _ => self.pool.take(wanted),
        };
        self.capacity_end += buffer.capacity() as u64;
        self.buffers.push(buffer);
    }

    /// Writes over bytes from `position` on, none of which a group has taken.
    pub(super) fn overwrite(&mut self, position: u64, mut bytes: &[u8]) {
        assert!(
            position >= self.taken_end && position + bytes.len() as u64 <= self.end,
            "only what was not taken for writing may change"
        );
        let mut at = position;
        let mut buffer_end = self.start;
        for buffer in &mut self.buffers {
            let buffer_start = buffer_end;
            buffer_end += buffer.capacity() as u64;
            if at >= buffer_end {
                continue;
            }
            let room = usize::try_from(buffer_end - at).unwrap_or(usize::MAX);
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            let from = usize::try_from(at - buffer_start).unwrap_or(usize::MAX);
            buffer.bytes_mut()[from..from + now.len()].copy_from_slice(now);
            at += now.len() as u64;
            bytes = rest;
            if bytes.is_empty() {
                return;
            }
        }
    }

    /// Forgets what was written from `end` on, which no group has taken.
    pub(super) fn cut(&mut self, end: u64) {
        debug_assert!(end >= self.taken_end && end <= self.end);
        self.end = end;
        while let Some(last) = self.buffers.last() {
            let last_start = self.capacity_end - last.capacity() as u64;
            if last_start < end {
                break;
            }
            self.capacity_end = last_start;
            self.buffers.pop();
        }
    }

    /// Takes everything for writing; the last partial block stays as a copy.
    pub(super) fn take_group(&mut self) -> Vec<GroupBuffer> {
        let floor = block_floor(self.end);
        let mut partial = [0; BLOCK_BYTES];
        let kept = usize::try_from(self.end - floor).unwrap_or(0);
        if kept > 0
            && let Some(last) = self.buffers.last()
        {
            // A block never straddles buffers: their ends are block boundaries.
            let at = last.capacity() - usize::try_from(self.capacity_end - floor).unwrap_or(0);
            partial[..kept].copy_from_slice(&last.bytes()[at..at + kept]);
        }
        let group = self.take_all();
        self.start = floor;
        self.capacity_end = floor;
        let end = std::mem::replace(&mut self.end, floor);
        self.group_bytes = usize::try_from(end - self.taken_end).unwrap_or(usize::MAX);
        self.taken_end = end;
        if kept > 0 {
            // The smallest class: thousands of quiet partitions each hold one of these.
            let buffer = self.pool.take(kept);
            self.capacity_end += buffer.capacity() as u64;
            self.buffers.push(buffer);
            self.write(&partial[..kept]);
        }
        group
    }

    /// Takes everything and starts again at `position`, a block boundary of the next segment.
    pub(super) fn take_and_restart(&mut self, position: u64) -> Vec<GroupBuffer> {
        let group = self.take_all();
        self.start = position;
        self.capacity_end = position;
        self.end = position;
        self.taken_end = position;
        group
    }

    fn take_all(&mut self) -> Vec<GroupBuffer> {
        let (mut position, end) = (self.start, self.end);
        let mut group = Vec::with_capacity(self.buffers.len());
        let mut add = |buffer: Buffer| {
            let buffer_end = (position + buffer.len() as u64).min(end);
            group.push(GroupBuffer { position, end: buffer_end, buffer });
            position = buffer_end;
        };
        let mut left = usize::try_from(end - self.start).unwrap_or(usize::MAX);
        for buffer in self.buffers.drain(..) {
            let used = left.min(buffer.capacity());
            left -= used;
            if used.next_multiple_of(BLOCK_BYTES) == buffer.capacity() {
                add(buffer.freeze(used));
            } else {
                self.pool.copies(&buffer.bytes()[..used]).for_each(&mut add);
            }
        }
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::on_executor;

    fn image(groups: &[GroupBuffer], bytes: u64) -> Vec<u8> {
        let mut image = vec![0xee; usize::try_from(bytes).expect("small")];
        for part in groups {
            let at = usize::try_from(part.position).expect("small");
            image[at..at + part.buffer.len()].copy_from_slice(part.buffer.as_bytes());
        }
        image
    }

    #[test]
    fn groups_written_in_turn_leave_what_was_appended() {
        on_executor(async {
            let pool = BufferPool::new(64 << 20);
            let mut tail = TailBuffers::new(pool, 4096, &[]);
            let mut expected = vec![0xee; 4096];
            let mut written = Vec::new();
            for round in 0..200_u32 {
                let length = (round * 7919) % 40_000 + 1;
                let bytes: Vec<u8> =
                    (0..length).map(|i| (i * 31 + round).to_le_bytes()[0]).collect();
                tail.write(&bytes);
                expected.extend(&bytes);
                if round % 3 == 0 {
                    written.extend(tail.take_group());
                    assert!(!tail.is_dirty());
                }
            }
            written.extend(tail.take_group());
            let image = image(&written, tail.end().next_multiple_of(4096));
            assert_eq!(image[..expected.len()], expected[..]);
            assert!(image[expected.len()..].iter().all(|&b| b == 0));
        });
    }

    #[test]
    fn a_cut_forgets_and_the_next_bytes_take_its_place() {
        on_executor(async {
            let mut tail = TailBuffers::new(BufferPool::new(64 << 20), 4096, &[]);
            tail.write(&[1; 5000]);
            let end = tail.end();
            tail.write(&vec![2; 3_000_000]);
            tail.cut(end);
            tail.write(&[3; 10]);
            let image = image(&tail.take_group(), 12288);
            assert_eq!(image[4096 + 4999..4096 + 5010], [&[1][..], &[3; 10]].concat());
            assert_eq!(image[4096 + 5010], 0);
        });
    }

    #[test]
    fn what_no_group_has_taken_can_be_written_over_across_buffers() {
        on_executor(async {
            let mut tail = TailBuffers::new(BufferPool::new(64 << 20), 4096, &[]);
            let bytes = 3 * BUFFER_BYTES_MAX;
            tail.write(&vec![1; bytes]);
            let seam = 4096 + BUFFER_BYTES_MAX as u64;
            tail.overwrite(seam - 50, &[2; 112]);
            tail.overwrite(4096, &[3; 5]);
            let image = image(&tail.take_group(), 4096 + bytes as u64);
            let at = usize::try_from(seam).expect("small");
            assert_eq!(image[4096..4102], [3, 3, 3, 3, 3, 1]);
            assert_eq!((image[at - 51], image[at + 62]), (1, 1));
            assert_eq!(image[at - 50..at + 62], [2; 112]);
        });
    }

    #[test]
    fn a_tail_reopened_in_the_middle_of_a_block_keeps_the_blocks_head() {
        on_executor(async {
            let mut tail = TailBuffers::new(BufferPool::new(1 << 20), 8192 + 3, &[7, 8, 9]);
            assert!(!tail.is_dirty());
            tail.write(&[1]);
            let group = tail.take_group();
            assert_eq!((group[0].position, group[0].end), (8192, 8196));
            assert_eq!(group[0].buffer.as_bytes()[..5], [7, 8, 9, 1, 0]);
        });
    }
}
