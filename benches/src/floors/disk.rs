//! Direct I/O on files whose extents were written before, because a file system that has to turn
//! unwritten extents into written ones answers an fdatasync up to sixteen times slower.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use rustix::fs::OFlags;

use super::rate;
use crate::{
    clock,
    latency::{Percentiles, Recorder},
    payload::random_bytes,
};

const BLOCK_BYTES: usize = 4096;
const PIECE_BYTES: usize = 1 << 20;
const FILE_BYTES: u64 = 512 << 20;
const SMALL_FILE_BYTES: u64 = 16 << 20;
/// Pieces in flight.
const THREADS: u64 = 4;

pub(super) struct Disk {
    pub(super) write_bytes_per_second: f64,
    pub(super) read_bytes_per_second: f64,
    pub(super) write_fdatasync: Percentiles,
}

/// Memory at an address that direct I/O accepts.
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn new(len: usize) -> Self {
        let bytes = random_bytes(len + BLOCK_BYTES, 11);
        let start = bytes.as_ptr().align_offset(BLOCK_BYTES);
        Self { bytes, start, len }
    }

    fn get(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    fn get_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

/// A file that is deleted when it is dropped.
struct Scratch {
    path: PathBuf,
    file: File,
}

impl Scratch {
    fn new(path: PathBuf, bytes: u64) -> io::Result<Self> {
        let direct = i32::try_from(OFlags::DIRECT.bits()).expect("a flag of open(2)");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(direct)
            .open(&path)?;
        let scratch = Self { path, file };
        let piece = Aligned::new(PIECE_BYTES);
        for at in (0..bytes).step_by(PIECE_BYTES) {
            scratch.file.write_all_at(piece.get(), at)?;
        }
        scratch.file.sync_all()?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nobody can do anything about it.
        let _left_behind = std::fs::remove_file(&self.path);
    }
}

pub(super) fn measure(directory: &Path, time: Duration) -> io::Result<Disk> {
    let name = |what: &str| directory.join(format!(".forebay-floor-{what}-{}", std::process::id()));
    let large = Scratch::new(name("large"), FILE_BYTES)?;
    let write_bytes_per_second =
        pieces(time, |at, piece| large.file.write_all_at(piece.get(), at))?;
    let read_bytes_per_second =
        pieces(time, |at, piece| large.file.read_exact_at(piece.get_mut(), at))?;
    drop(large);
    let small = Scratch::new(name("small"), SMALL_FILE_BYTES)?;
    let write_fdatasync = write_fdatasync(&small.file, time)?;
    Ok(Disk { write_bytes_per_second, read_bytes_per_second, write_fdatasync })
}

/// Goes over the file in pieces, a few at a time, again and again.
fn pieces(
    time: Duration,
    transfer: impl Fn(u64, &mut Aligned) -> io::Result<()> + Sync,
) -> io::Result<f64> {
    let next = AtomicU64::new(0);
    let start = clock::now();
    let work = || -> io::Result<u64> {
        let mut piece = Aligned::new(PIECE_BYTES);
        let mut done = 0;
        while start.elapsed() < time {
            let at = next.fetch_add(PIECE_BYTES as u64, Ordering::Relaxed) % FILE_BYTES;
            transfer(at, &mut piece)?;
            done += PIECE_BYTES as u64;
        }
        Ok(done)
    };
    let done: io::Result<u64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let panicked = |_panic| Err(io::Error::other("a thread panicked"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).sum()
    });
    Ok(rate(done?, start.elapsed()))
}

fn write_fdatasync(file: &File, time: Duration) -> io::Result<Percentiles> {
    let block = Aligned::new(BLOCK_BYTES);
    let mut latencies = Recorder::new();
    let begun = clock::now();
    let mut at = 0;
    while begun.elapsed() < time {
        let start = clock::now();
        file.write_all_at(block.get(), at)?;
        file.sync_data()?;
        latencies.record(start.elapsed());
        at = (at + BLOCK_BYTES as u64) % SMALL_FILE_BYTES;
    }
    Ok(latencies.percentiles())
}
