//! Waiting for the kernel to let go of something, where it offers nothing to wait on: an
//! `io_uring` of a process that ended keeps its files open for a moment, and with them the mount.

use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(10);
/// Together about ten seconds.
const ATTEMPTS_MAX: u32 = 1_000;

/// Tries until it works; gives up with the last error.
pub(super) fn retry<T, E>(mut attempt: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    for _ in 1..ATTEMPTS_MAX {
        if let Ok(done) = attempt() {
            return Ok(done);
        }
        pause();
    }
    attempt()
}

#[expect(clippy::disallowed_methods, reason = "no event to wait for, and no shard to block")]
fn pause() {
    std::thread::sleep(PAUSE);
}
