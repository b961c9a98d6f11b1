//! Where the server's time comes from, besides what the engine takes from its own clock.

use std::time::{Duration, Instant, SystemTime};

use forebay_format::TimestampMs;

/// For spans and deadlines within the process.
#[expect(clippy::disallowed_methods, reason = "this is where the server's time comes from")]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}

/// Wall-clock time, for records whose producer gave none.
#[expect(clippy::disallowed_methods, reason = "this is where the server's time comes from")]
pub(crate) fn now() -> TimestampMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    TimestampMs::new(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
