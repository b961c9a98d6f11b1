//! Errors after which nobody knows what the disk holds.
//!
//! A write or an fsync that failed may have dropped what was written before, and the next fsync of
//! the same file succeeds all the same: the kernel reports such a loss once. So these are told apart
//! from a name that cannot be opened or a disk that is full, and end the process wherever they
//! come from.

use std::error::Error;
use std::fmt;
use std::io;

#[derive(Debug)]
struct LostWrites(io::Error);

impl fmt::Display for LostWrites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for LostWrites {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// Marks the failure of a write or an fsync.
pub(crate) fn lost(error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    io::Error::new(error.kind(), LostWrites(error))
}

/// Whether what was written may be gone.
pub(crate) fn is_lost(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(inner) if inner.is::<LostWrites>())
}

/// Whether there is no room, and nothing else is wrong.
pub(crate) fn is_full(error: &io::Error) -> bool {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    full && !is_lost(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_fsync_is_told_apart_from_a_full_disk_and_keeps_its_words() {
        let full = || io::Error::new(io::ErrorKind::StorageFull, "no room");
        assert!(is_full(&full()) && !is_lost(&full()));
        let failed = lost(full());
        assert!(is_lost(&failed) && !is_full(&failed));
        assert_eq!(failed.to_string(), "no room");
    }
}
