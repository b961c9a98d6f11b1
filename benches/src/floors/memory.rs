//! Copying and checksumming on one core.

use std::{hint::black_box, time::Duration};

use super::rate;
use crate::{clock, payload::random_bytes};

/// Larger than the caches of most machines.
const MEMORY_BYTES: usize = 256 * 1024 * 1024;
const COPY_BYTES: usize = 1024 * 1024;
const CHECKSUM_BYTES: usize = 256 * 1024;

/// Copies pieces from one large memory to another.
pub(super) fn memcpy(time: Duration) -> f64 {
    let from = vec![1_u8; MEMORY_BYTES];
    let mut to = vec![2_u8; MEMORY_BYTES];
    // The first touch of a page is the kernel's work.
    to.copy_from_slice(&from);
    let start = clock::now();
    let mut copied = 0;
    loop {
        for (from, to) in from.chunks(COPY_BYTES).zip(to.chunks_mut(COPY_BYTES)) {
            to.copy_from_slice(from);
            black_box(to);
            copied += COPY_BYTES as u64;
            if start.elapsed() >= time {
                return rate(copied, start.elapsed());
            }
        }
    }
}

/// CRC32C of the same piece, from the cache.
pub(super) fn crc32c(time: Duration) -> f64 {
    let bytes = random_bytes(CHECKSUM_BYTES, 7);
    let start = clock::now();
    let mut done = 0;
    while start.elapsed() < time {
        black_box(forebay_format::checksum::crc32c(black_box(&bytes)));
        done += CHECKSUM_BYTES as u64;
    }
    rate(done, start.elapsed())
}
