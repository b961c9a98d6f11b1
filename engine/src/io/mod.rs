//! Everything that touches the disk: DMA buffers, direct-I/O files, directories, index maps.
//!
//! This folder is the only user of glommio's file types and the only place in the engine with
//! `unsafe`. It knows bytes and positions, and nothing of batches, segments or partitions.

mod blocking;
mod buffer;
mod directory;
mod fault;
mod file;
mod lost;
mod map;
mod probe;

pub(crate) use blocking::nothing_blocks;
pub(crate) use buffer::{BUFFER_BYTES_MAX, Buffer, BufferPool, MemoryReservation, WritableBuffer};
pub(crate) use directory::{
    create_directories, directory_names, file_names, free_bytes, move_directory, read_file,
    remove_empty_directory, remove_file, remove_tree, rename_durably, replace_directory,
    replace_file, sync_directory, sync_directory_now,
};
pub use fault::{fail_syncs, syncs_to_fail};
pub(crate) use file::{DirectFile, ReadChunk};
pub(crate) use lost::{is_full, is_lost, lost};
pub(crate) use map::IndexMap;
pub(crate) use probe::{PROBE_BYTES, PROBE_FILE};
pub use probe::{ProbeError, probe_direct_io};

/// Direct I/O happens in multiples of this, in bytes, at positions that are multiples of it. The
/// logical block of every drive we know divides it.
pub(crate) const BLOCK_BYTES: usize = 4096;

/// Bytes of one read, at most. Some kernels hang on direct reads above the device's largest request;
/// this is below that of most drives.
pub(crate) const READ_BYTES: u64 = 512 << 10;

/// `position` rounded down to a block.
pub(crate) const fn block_floor(position: u64) -> u64 {
    position - position % BLOCK_BYTES as u64
}

/// `position` rounded up to a block.
pub(crate) const fn block_ceil(position: u64) -> u64 {
    position.next_multiple_of(BLOCK_BYTES as u64)
}
