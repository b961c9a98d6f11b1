//! The wall clock, for timestamps of records. Waiting and measuring use tokio's clock.

use forebay_format::TimestampMs;

/// Now, to a few milliseconds: the kernel's coarse clock, because this is asked for every record.
#[cfg(target_os = "linux")]
#[inline]
pub(crate) fn wall_time() -> TimestampMs {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    TimestampMs::new(now.tv_sec * 1000 + now.tv_nsec / 1_000_000)
}

/// Now.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::disallowed_methods, reason = "the one place where the client looks at the clock")]
pub(crate) fn wall_time() -> TimestampMs {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    TimestampMs::new(since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0)))
}
