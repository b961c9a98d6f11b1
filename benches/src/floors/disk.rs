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
/// Too much for a virtual machine's host to keep at hand, as it does with half a gigabyte.
const FILE_BYTES: u64 = 2 << 30;
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
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(direct())
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
        pieces(time, FILE_BYTES, |at, piece| large.file.write_all_at(piece.get(), at))?;
    let read_bytes_per_second = match LogFiles::find(directory)? {
        logs if logs.bytes() >= FILE_BYTES => {
            pieces(time, logs.bytes(), |at, piece| logs.read_exact_at(piece.get_mut(), at))?
        }
        _ => pieces(time, FILE_BYTES, |at, piece| large.file.read_exact_at(piece.get_mut(), at))?,
    };
    drop(large);
    let small = Scratch::new(name("small"), SMALL_FILE_BYTES)?;
    let write_fdatasync = write_fdatasync(&small.file, time)?;
    Ok(Disk { write_bytes_per_second, read_bytes_per_second, write_fdatasync })
}

/// What the server has written: the same bytes, at the same places of the disk, that it reads.
struct LogFiles(Vec<(File, u64)>);

impl LogFiles {
    /// All below `directory`, oldest first within a partition, each without what is no whole piece. The
    /// server may be deleting some meanwhile.
    fn find(directory: &Path) -> io::Result<Self> {
        let mut folders = vec![directory.to_owned()];
        let mut paths = Vec::new();
        while let Some(folder) = folders.pop() {
            let Some(entries) = unless_gone(std::fs::read_dir(folder))? else { continue };
            for entry in entries {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "log") {
                    paths.push(path);
                }
            }
        }
        paths.sort();
        let mut files = Vec::new();
        for path in paths {
            let file = OpenOptions::new().read(true).custom_flags(direct()).open(path);
            let Some(file) = unless_gone(file)? else { continue };
            let bytes = file.metadata()?.len();
            files.push((file, bytes - bytes % PIECE_BYTES as u64));
        }
        Ok(Self(files))
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|(_, bytes)| bytes).sum()
    }

    fn read_exact_at(&self, piece: &mut [u8], mut at: u64) -> io::Result<()> {
        for (file, bytes) in &self.0 {
            if at < *bytes {
                return file.read_exact_at(piece, at);
            }
            at -= bytes;
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

fn direct() -> i32 {
    i32::try_from(OFlags::DIRECT.bits()).expect("a flag of open(2)")
}

/// Goes over so many bytes in pieces, a few at a time, again and again.
fn pieces(
    time: Duration,
    bytes: u64,
    transfer: impl Fn(u64, &mut Aligned) -> io::Result<()> + Sync,
) -> io::Result<f64> {
    let next = AtomicU64::new(0);
    let start = clock::now();
    let work = || -> io::Result<u64> {
        let mut piece = Aligned::new(PIECE_BYTES);
        let mut done = 0;
        while start.elapsed() < time {
            let at = next.fetch_add(PIECE_BYTES as u64, Ordering::Relaxed) % bytes;
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
