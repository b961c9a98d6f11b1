//! DMA buffers, and the budget that bounds how many bytes of them a shard holds.
//!
//! A buffer is writable while one owner fills it, then frozen: what was submitted to the disk or
//! put into a cache is never modified again, because readers may hold it. A frozen buffer that
//! nobody holds any more returns to the pool, so that a steady stream of writes touches no fresh
//! page: the kernel zeroes those, at the price of another copy.
//!
//! Sizes are powers of two, and a buffer is written whole: what fills one only in part is moved
//! into smaller ones first. (A glommio buffer can be shortened but never grows back.)

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use glommio::io::DmaBuffer;
use send_wrapper::SendWrapper;

use super::BLOCK_BYTES;

/// The largest buffer: small enough to be in the core's own cache from being filled to being
/// submitted, large enough that the cost of a submission does not show.
pub(crate) const BUFFER_BYTES_MAX: usize = 256 << 10;

/// Sizes from a block to [`BUFFER_BYTES_MAX`].
const CLASSES: usize = (BUFFER_BYTES_MAX / BLOCK_BYTES).ilog2() as usize + 1;

/// Unused buffers are kept up to this share of the budget.
const FREE_SHARE: u64 = 8;

/// The shard's buffers. Clones share one budget.
#[derive(Clone)]
pub(crate) struct BufferPool(Rc<Pool>);

struct Pool {
    limit_bytes: u64,
    /// Bytes of buffers that are filled, written, cached or read, whole buffers counted, plus
    /// what is reserved for appends to come.
    used_bytes: Cell<u64>,
    /// By class.
    free: RefCell<[Vec<DmaBuffer>; CLASSES]>,
    free_bytes: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl BufferPool {
    /// A pool whose buffers in use are meant to stay below `limit_bytes`. Handing out never
    /// fails; whoever appends reserves first, and waits there.
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self(Rc::new(Pool {
            limit_bytes,
            used_bytes: Cell::new(0),
            free: RefCell::default(),
            free_bytes: Cell::new(0),
            waiting: RefCell::default(),
        }))
    }

    /// Bytes in use or reserved.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.0.used_bytes.get()
    }

    /// Whether half of the budget is in use or reserved.
    pub(crate) fn is_half_used(&self) -> bool {
        self.used_bytes() >= self.0.limit_bytes / 2
    }

    /// A buffer of the smallest size that holds `bytes`, or of the largest size there is. Its
    /// contents are whatever was in it before.
    pub(crate) fn take(&self, bytes: usize) -> WritableBuffer {
        let bytes = bytes.clamp(BLOCK_BYTES, BUFFER_BYTES_MAX).next_power_of_two();
        let buffer =
            self.0.reuse(bytes).unwrap_or_else(|| glommio::allocate_dma_buffer_global(bytes));
        self.0.charge(bytes);
        WritableBuffer(Pooled {
            buffer: Some(Rc::new(buffer)),
            charge: Charge { pool: self.clone(), bytes },
        })
    }

    /// Frozen copies of `bytes`, in order, that cover whole blocks and no more than they have to:
    /// the rest of the last block is zero.
    pub(crate) fn copies<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = Buffer> + 'a {
        let mut left = bytes;
        std::iter::from_fn(move || {
            let blocks = left.len().div_ceil(BLOCK_BYTES).checked_ilog2()?;
            let mut buffer = self.take(BLOCK_BYTES << blocks);
            let used = left.len().min(buffer.capacity());
            let (now, later) = left.split_at(used);
            buffer.bytes_mut()[..used].copy_from_slice(now);
            left = later;
            Some(buffer.freeze(used))
        })
    }

    /// Sets `bytes` aside for an append, when they fit into the budget.
    pub(crate) fn try_reserve(&self, bytes: usize) -> Option<MemoryReservation> {
        // One append must always be possible, however small the budget.
        let fits = self.0.used_bytes.get() + bytes as u64 <= self.0.limit_bytes;
        (fits || self.0.used_bytes.get() == 0).then(|| {
            self.0.charge(bytes);
            MemoryReservation { charge: Charge { pool: self.clone(), bytes } }
        })
    }

    /// Wakes those who wait for room: some was given back, or could be taken from a cache now.
    pub(crate) fn wake_waiting(&self) {
        self.0.wake_waiting();
    }

    /// Waits until something was given back, or became evictable, since this was called.
    pub(crate) async fn released(&self) {
        let mut registered = false;
        std::future::poll_fn(|cx| {
            if registered {
                return Poll::Ready(());
            }
            registered = true;
            self.0.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool")
            .field("limit_bytes", &self.0.limit_bytes)
            .field("used_bytes", &self.0.used_bytes.get())
            .finish_non_exhaustive()
    }
}

impl Pool {
    fn charge(&self, bytes: usize) {
        self.used_bytes.set(self.used_bytes.get() + bytes as u64);
    }

    fn give_back(&self, bytes: usize) {
        self.used_bytes.set(self.used_bytes.get() - bytes as u64);
        self.wake_waiting();
    }

    fn wake_waiting(&self) {
        if !self.waiting.borrow().is_empty() {
            for waker in self.waiting.take() {
                waker.wake();
            }
        }
    }

    fn reuse(&self, bytes: usize) -> Option<DmaBuffer> {
        let buffer = self.free.borrow_mut()[class_of(bytes)].pop()?;
        self.free_bytes.set(self.free_bytes.get() - bytes as u64);
        Some(buffer)
    }

    fn recycle(&self, buffer: DmaBuffer) {
        let free_bytes = self.free_bytes.get() + buffer.len() as u64;
        if free_bytes <= self.limit_bytes / FREE_SHARE {
            self.free_bytes.set(free_bytes);
            self.free.borrow_mut()[class_of(buffer.len())].push(buffer);
        }
    }
}

fn class_of(bytes: usize) -> usize {
    debug_assert!(bytes.is_power_of_two());
    (bytes / BLOCK_BYTES).ilog2() as usize
}

/// Bytes of the budget, given back on drop.
struct Charge {
    pool: BufferPool,
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.pool.0.give_back(self.bytes);
    }
}

/// Room in the budget, held until the bytes it stands for are in a buffer.
pub(crate) struct MemoryReservation {
    charge: Charge,
}

impl fmt::Debug for MemoryReservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryReservation({} bytes)", self.charge.bytes)
    }
}

/// A buffer on its way through the pool's hands: it returns there on drop.
struct Pooled {
    /// `None` only while dropping.
    buffer: Option<Rc<DmaBuffer>>,
    charge: Charge,
}

impl Pooled {
    fn bytes(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| buffer.as_bytes())
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        // A write that was cancelled may still hold it; then it is given up.
        if let Some(Ok(buffer)) = self.buffer.take().map(Rc::try_unwrap) {
            self.charge.pool.0.recycle(buffer);
        }
    }
}

/// A buffer with one owner, who may change it.
pub(crate) struct WritableBuffer(Pooled);

impl WritableBuffer {
    /// Capacity in bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.0.charge.bytes
    }

    /// The whole capacity.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// The whole capacity, to be written to.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let buffer = self.0.buffer.as_mut().and_then(Rc::get_mut);
        buffer.map_or(&mut [], DmaBuffer::as_bytes_mut)
    }

    /// Ends the writing of a buffer that is full but for the last of its blocks, the rest of
    /// which is zeroed.
    pub(crate) fn freeze(mut self, used: usize) -> Buffer {
        debug_assert_eq!(used.next_multiple_of(BLOCK_BYTES), self.capacity());
        self.bytes_mut()[used..].fill(0);
        Buffer(Rc::new(self.0))
    }
}

impl fmt::Debug for WritableBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WritableBuffer({} bytes)", self.capacity())
    }
}

/// A buffer that nobody changes any more. Clones share it.
#[derive(Clone)]
pub(crate) struct Buffer(Rc<Pooled>);

impl Buffer {
    /// Length of a write of this buffer, in bytes: a multiple of the block.
    pub(crate) fn len(&self) -> usize {
        self.0.charge.bytes
    }

    /// What it holds.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    pub(super) fn dma(&self) -> Rc<DmaBuffer> {
        self.0.buffer.clone().expect("a buffer is there until it is dropped")
    }

    /// A part of it, without a copy. The result must be dropped on this executor; dropping it on
    /// another thread ends the process.
    pub(crate) fn slice(&self, range: Range<usize>) -> Bytes {
        thread_bound(self.clone()).slice(range)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}

/// `Bytes` over an owner that must stay on this thread.
pub(super) fn thread_bound<T: AsRef<[u8]> + 'static>(owner: T) -> Bytes {
    struct Owner<T>(SendWrapper<T>);
    impl<T: AsRef<[u8]>> AsRef<[u8]> for Owner<T> {
        fn as_ref(&self) -> &[u8] {
            (*self.0).as_ref()
        }
    }
    Bytes::from_owner(Owner(SendWrapper::new(owner)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::on_executor;

    #[test]
    fn a_frozen_buffer_comes_back_once_nobody_holds_it() {
        on_executor(async {
            let pool = BufferPool::new(1 << 20);
            let frozen = pool.take(10_000).freeze(16 << 10);
            let address = frozen.as_bytes().as_ptr();
            let slice = frozen.slice(0..10);
            drop(frozen);
            assert_eq!(pool.used_bytes(), 16 << 10);
            drop(slice);
            assert_eq!(pool.used_bytes(), 0);
            assert_eq!(pool.take(16 << 10).bytes().as_ptr(), address);
        });
    }

    #[test]
    fn a_buffer_that_was_not_frozen_comes_back_too() {
        on_executor(async {
            let pool = BufferPool::new(1 << 20);
            let buffer = pool.take(8192);
            let address = buffer.bytes().as_ptr();
            drop(buffer);
            assert_eq!(pool.take(8192).bytes().as_ptr(), address);
        });
    }

    #[test]
    fn unused_buffers_beyond_their_share_are_given_up() {
        on_executor(async {
            let pool = BufferPool::new(1 << 20);
            drop((0..64).map(|_| pool.take(16 << 10).freeze(16 << 10)).collect::<Vec<_>>());
            assert_eq!((pool.used_bytes(), pool.0.free_bytes.get()), (0, (1 << 20) / FREE_SHARE));
        });
    }

    #[test]
    fn copies_cover_the_blocks_of_what_was_copied_and_no_more() {
        on_executor(async {
            let pool = BufferPool::new(1 << 20);
            for bytes in [0_usize, 1, 4096, 4097, 100_000, 262_144, 262_145, 600_000] {
                let original: Vec<u8> =
                    (0..bytes).map(|i| (i % 251).to_le_bytes()[0] + 1).collect();
                let copies: Vec<Buffer> = pool.copies(&original).collect();
                let mut all: Vec<u8> =
                    copies.iter().flat_map(|copy| copy.as_bytes().to_vec()).collect();
                assert_eq!(all.len(), bytes.next_multiple_of(BLOCK_BYTES));
                assert!(all[bytes..].iter().all(|&byte| byte == 0));
                all.truncate(bytes);
                assert!(all == original, "{bytes}");
            }
        });
    }

    #[test]
    fn a_reservation_beyond_the_budget_is_refused_until_bytes_are_released() {
        on_executor(async {
            let pool = BufferPool::new(1000);
            let held = pool.try_reserve(900).expect("fits");
            assert!(pool.try_reserve(200).is_none());
            drop(held);
            assert!(pool.try_reserve(200).is_some());
        });
    }

    #[test]
    fn one_append_larger_than_the_budget_is_let_through_alone() {
        on_executor(async {
            let pool = BufferPool::new(1000);
            let held = pool.try_reserve(5000).expect("nothing else is in use");
            assert!(pool.try_reserve(1).is_none());
            drop(held);
        });
    }
}
