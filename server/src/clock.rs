//! Where the server's time comes from, besides what the engine takes from its own clock.

use std::time::{Duration, Instant, SystemTime};

use forebay_format::TimestampMs;
use forebay_replication::Instant as BootInstant;
use rustix::time::{ClockId, clock_gettime};

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

/// For the protocol: a clock that never goes back, and runs while the machine sleeps (R3).
pub(crate) fn boottime() -> BootInstant {
    let since_boot = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(since_boot.tv_sec).unwrap_or(0);
    let ms = u64::try_from(since_boot.tv_nsec).unwrap_or(0) / 1_000_000;
    BootInstant::from_ms(seconds * 1000 + ms)
}
