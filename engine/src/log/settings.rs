//! What a topic sets for its logs, and what the node sets for all.

use std::time::Duration;

use forebay_format::limits::BATCH_BYTES_DEFAULT;

/// When appended bytes are forced to stable storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FsyncPolicy {
    /// Before any answer that promises durability.
    #[default]
    Batch,
    /// At most this long after the write. Answers that wait for one replica's write leave
    /// earlier, marked as not durable; commit and reads still count synced bytes only.
    Interval(Duration),
}

/// Settings of one partition's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Largest batch, header included, in bytes.
    pub batch_bytes_max: usize,
    /// A segment rolls before it would pass this length in bytes, which it gets on the disk from the
    /// start or by doubling. One that was begun under another setting keeps that.
    pub segment_bytes: u64,
    /// A segment rolls when its first batch is older than this.
    pub segment_age: Duration,
    /// The oldest segment is removed as long as what remains has at least this length in bytes.
    pub retention_bytes: Option<u64>,
    /// Segments are removed when their last batch is older than this.
    pub retention_age: Option<Duration>,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            batch_bytes_max: BATCH_BYTES_DEFAULT,
            segment_bytes: 1 << 30,
            segment_age: Duration::from_hours(7 * 24),
            retention_bytes: None,
            retention_age: Some(Duration::from_hours(7 * 24)),
        }
    }
}
