//! DMA buffers, and the budget that bounds how many bytes of them a shard holds.
//!
//! A buffer is writable while one owner fills it, then frozen: what was submitted to the disk or
//! put into a cache is never modified again, because readers may hold it. A frozen buffer that
//! nobody holds any more returns to the pool, so that a steady stream of writes touches no fresh
//! page. Buffers that were trimmed for a short last write are dropped instead; they cannot grow.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use glommio::io::DmaBuffer;
use send_wrapper::SendWrapper;

use super::BLOCK_BYTES;

/// Sizes in which buffers are handed out, in bytes. Small ones keep a thousand quiet partitions
/// cheap; at 1 MiB the cost of a submission no longer shows.
const CLASSES: [usize; 4] = [16 << 10, 64 << 10, 256 << 10, 1 << 20];

/// Unused buffers that are kept for each class.
const FREE_BUFFERS_PER_CLASS: usize = 64;

/// The shard's buffers. Clones share one budget.
#[derive(Clone)]
pub(crate) struct BufferPool(Rc<Pool>);

struct Pool {
    limit_bytes: u64,
    /// Bytes of buffers that are filled, written, cached or read, whole buffers counted, plus
    /// what is reserved for appends to come.
    used_bytes: Cell<u64>,
    free: RefCell<[Vec<DmaBuffer>; CLASSES.len()]>,
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
            waiting: RefCell::default(),
        }))
    }

    /// Bytes in use or reserved.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.0.used_bytes.get()
    }

    /// The largest class of buffer, in bytes.
    pub(crate) const fn largest_class() -> usize {
        CLASSES[CLASSES.len() - 1]
    }

    /// A buffer of the smallest class that holds `bytes`, or of the largest class there is. Its
    /// contents are whatever was in it before.
    pub(crate) fn take(&self, bytes: usize) -> WritableBuffer {
        let class = CLASSES.iter().position(|&c| c >= bytes).unwrap_or(CLASSES.len() - 1);
        let reused = self.0.free.borrow_mut()[class].pop();
        let buffer = reused.unwrap_or_else(|| glommio::allocate_dma_buffer(CLASSES[class]));
        self.0.charge(CLASSES[class]);
        WritableBuffer { buffer, charged: Charge { pool: self.clone(), bytes: CLASSES[class] } }
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

    fn recycle(&self, buffer: DmaBuffer) {
        if let Some(class) = CLASSES.iter().position(|&c| c == buffer.len()) {
            let free = &mut self.free.borrow_mut()[class];
            if free.len() < FREE_BUFFERS_PER_CLASS {
                free.push(buffer);
            }
        }
    }
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

/// A buffer with one owner, who may change it.
pub(crate) struct WritableBuffer {
    buffer: DmaBuffer,
    charged: Charge,
}

impl WritableBuffer {
    /// Capacity in bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.buffer.len()
    }

    /// The whole capacity.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.as_bytes()
    }

    /// The whole capacity, to be written to.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.as_bytes_mut()
    }

    /// Ends the writing. What a write of this buffer puts on disk is `used` bytes rounded up to
    /// a block, the rest of that block zeroed.
    pub(crate) fn freeze(mut self, used: usize) -> Buffer {
        let length = used.next_multiple_of(BLOCK_BYTES);
        self.buffer.as_bytes_mut()[used..length].fill(0);
        if length < self.buffer.len() {
            self.buffer.trim_to_size(length);
        }
        Buffer(Rc::new(Frozen { buffer: Some(Rc::new(self.buffer)), charged: self.charged }))
    }
}

impl fmt::Debug for WritableBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WritableBuffer({} bytes)", self.capacity())
    }
}

/// A buffer that nobody changes any more. Clones share it.
#[derive(Clone)]
pub(crate) struct Buffer(Rc<Frozen>);

struct Frozen {
    /// `None` only while dropping.
    buffer: Option<Rc<DmaBuffer>>,
    charged: Charge,
}

impl Buffer {
    /// Length of a write of this buffer, in bytes: a multiple of the block.
    pub(crate) fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// What it holds.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.buffer.as_ref().map_or(&[], |buffer| buffer.as_bytes())
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

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Some(Ok(buffer)) = self.buffer.take().map(Rc::try_unwrap) {
            self.charged.pool.0.recycle(buffer);
        }
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
    fn a_frozen_buffer_comes_back_whole_once_nobody_holds_it() {
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
    fn the_rest_of_the_last_block_is_zero() {
        on_executor(async {
            let pool = BufferPool::new(1 << 20);
            let mut buffer = pool.take(1);
            buffer.bytes_mut().fill(7);
            let frozen = buffer.freeze(4097);
            assert_eq!(frozen.len(), 8192);
            assert_eq!(frozen.as_bytes()[4096], 7);
            assert!(frozen.as_bytes()[4097..].iter().all(|&b| b == 0));
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
