//! Waiting until a record is due. Tokio's own timers are exact to a millisecond, in which a fast
//! server answers ten times; this one uses a timer of the kernel.

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::clock;

/// Shorter waits cost more than they are worth.
const SHORTEST_WAIT: Duration = Duration::from_micros(20);

/// A timer.
#[derive(Debug)]
pub(super) struct Pacer {
    timer: AsyncFd<OwnedFd>,
}

impl Pacer {
    #[expect(
        deprecated,
        reason = "its replacement is unsafe, for owners that change their descriptor; OwnedFd cannot"
    )]
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { timer: AsyncFd::with_interest(timer, Interest::READABLE)? })
    }

    /// Returns when this moment has come, or at once when it is past.
    pub(super) async fn wait_until(&mut self, moment: Instant) -> io::Result<()> {
        let wait = moment.saturating_duration_since(clock::now());
        if wait < SHORTEST_WAIT {
            return Ok(());
        }
        let value = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut ready = self.timer.readable().await?;
            let mut expirations = [0; 8];
            let read =
                ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut expirations[..])?));
            match read {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                // Not ready after all.
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_never_returns_early() {
        let mut pacer = Pacer::new().unwrap();
        for microseconds in [0, 50, 300, 2000] {
            let moment = clock::now() + Duration::from_micros(microseconds);
            pacer.wait_until(moment).await.unwrap();
            assert!(clock::now() + SHORTEST_WAIT >= moment, "{microseconds} µs");
        }
    }
}
