//! The two switches of the power-cut rig: leave out fdatasync, or the directory fsync.
//!
//! Compiled to nothing unless the crate is built with the `fault-injection` feature, and even then
//! off unless `FOREBAY_FAULT` asks for one. Its only purpose is to show that the rig notices.

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
