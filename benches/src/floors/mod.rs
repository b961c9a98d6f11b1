//! What this machine can do at all, in this minute: every result is reported as a share of it. No
//! code of the project takes part.

mod disk;
mod loopback;
mod memory;

use std::{io, path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use crate::latency::Percentiles;

/// The figures. Bytes per second unless the name says otherwise.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Floors {
    /// Copying 1 MiB pieces of memory that do not fit into the cache.
    pub memcpy_bytes_per_second: f64,
    /// CRC32C of pieces of 256 KiB.
    pub crc32c_bytes_per_second: f64,
    /// One TCP stream over loopback between two threads: the best of several sizes of writes.
    pub tcp_loopback_bytes_per_second: f64,
    /// The size of the writes that were best.
    pub tcp_loopback_best_write_bytes: usize,
    /// Direct writes of 1 MiB, four at a time, over extents that were written before.
    pub direct_write_bytes_per_second: f64,
    /// Direct reads of the same; of the server's own log, where there is as much of it.
    pub direct_read_bytes_per_second: f64,
    /// 4 KiB direct write and fdatasync, over extents that were written before.
    pub write_fdatasync: Percentiles,
    /// A message of 64 bytes over loopback and back, between two threads.
    pub tcp_round_trip: Percentiles,
}

impl Floors {
    /// Measures all of them. The disk's in `directory`, which should be where the server's data is;
    /// the files are deleted afterwards.
    ///
    /// # Errors
    /// When sockets or files cannot be used.
    pub fn measure(directory: &Path, each: Duration) -> io::Result<Self> {
        let loopback = loopback::throughput(each)?;
        let disk = disk::measure(directory, each)?;
        Ok(Self {
            memcpy_bytes_per_second: memory::memcpy(each),
            crc32c_bytes_per_second: memory::crc32c(each),
            tcp_loopback_bytes_per_second: loopback.bytes_per_second,
            tcp_loopback_best_write_bytes: loopback.write_bytes,
            direct_write_bytes_per_second: disk.write_bytes_per_second,
            direct_read_bytes_per_second: disk.read_bytes_per_second,
            write_fdatasync: disk.write_fdatasync,
            tcp_round_trip: loopback::round_trip(each)?,
        })
    }

    /// What a synchronous acknowledgement cannot be faster than, at the median, in microseconds.
    pub fn acknowledgement_us(&self) -> f64 {
        self.write_fdatasync.p50_us + self.tcp_round_trip.p50_us
    }
}

/// Bytes per second.
#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
pub fn rate(amount: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { amount as f64 / time.as_secs_f64() }
}
