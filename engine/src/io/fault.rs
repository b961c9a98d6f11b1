//! Disks that fail on purpose.
//!
//! The two switches of the power-cut rig leave out fdatasync, or the directory fsync. They are compiled to
//! nothing unless the crate is built with the `fault-injection` feature, and even then off unless
//! `FOREBAY_FAULT` asks for one. Their only purpose is to show that the rig notices.
//!
//! An fdatasync that fails is in every build: it breaks no promise, as the log must treat it as the loss of the disk.
//! Who may order one is decided above. It costs one relaxed load for each fdatasync.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many of the next calls of fdatasync fail, on whatever shard.
static SYNCS_TO_FAIL: AtomicU32 = AtomicU32::new(0);

/// So many more calls of fdatasync on segments fail, of the whole process; 0: none any more.
pub fn fail_syncs(more: u32) {
    if more == 0 {
        SYNCS_TO_FAIL.store(0, Ordering::Relaxed);
    } else {
        SYNCS_TO_FAIL
            .update(Ordering::Relaxed, Ordering::Relaxed, |left| left.saturating_add(more));
    }
}

/// How many are still to fail.
pub fn syncs_to_fail() -> u32 {
    SYNCS_TO_FAIL.load(Ordering::Relaxed)
}

/// Fails if this call of fdatasync is to.
pub(crate) fn before_sync() -> io::Result<()> {
    if SYNCS_TO_FAIL.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    let one_less = |left: u32| left.checked_sub(1);
    match SYNCS_TO_FAIL.try_update(Ordering::Relaxed, Ordering::Relaxed, one_less) {
        Ok(_) => Err(io::Error::other("FAULT ON PURPOSE: fdatasync was told to fail")),
        Err(_) => Ok(()),
    }
}

/// Which promise to the disk is being broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skip {
    /// fdatasync of segment files returns without doing anything.
    Fdatasync,
    /// fsync of directories, after create, rename and unlink, likewise.
    DirectorySync,
}

/// Whether this fault is switched on.
#[cfg(feature = "fault-injection")]
pub(crate) fn skipped(what: Skip) -> bool {
    static FAULT: std::sync::OnceLock<Option<Skip>> = std::sync::OnceLock::new();
    let on = FAULT.get_or_init(|| match std::env::var("FOREBAY_FAULT").as_deref() {
        Ok("skip-fdatasync") => Some(Skip::Fdatasync),
        Ok("skip-directory-fsync") => Some(Skip::DirectorySync),
        _ => None,
    });
    *on == Some(what)
}

/// Whether this fault is switched on: never, in a build that can be shipped.
#[cfg(not(feature = "fault-injection"))]
pub(crate) const fn skipped(_: Skip) -> bool {
    false
}
