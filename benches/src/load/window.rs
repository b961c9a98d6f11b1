//! Which part of a run is measured, and what processes used meanwhile.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use crate::{
    clock,
    process::{Process, Servers},
};

/// From the end of the warm-up until the measurement ends.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// When the run began.
    pub start: Instant,
    /// When measuring begins.
    pub from: Instant,
    /// When measuring ends.
    pub to: Instant,
}

impl Window {
    /// A window that begins now with its warm-up.
    pub fn begin(warmup: Duration, duration: Duration) -> Self {
        let start = clock::now();
        let from = start + warmup;
        Self { start, from, to: from + duration }
    }

    /// Whether something that happened then counts.
    #[inline]
    pub fn contains(&self, moment: Instant) -> bool {
        moment >= self.from && moment < self.to
    }
}

/// How long was measured, and processor time meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// How long.
    pub time: Duration,
    /// Of this process.
    pub client_cpu: Duration,
    /// Of the servers together, when they are known.
    pub server_cpu: Option<Duration>,
}

/// Samples processor time at both ends of a window.
#[derive(Debug, Clone)]
pub(super) struct Sampler {
    servers: Servers,
    at: Instant,
    client_cpu: Duration,
    server_cpu: Option<Duration>,
}

impl Sampler {
    /// The first sample, now.
    pub(super) fn begin(servers: Servers) -> Self {
        let server_cpu = servers.cpu_time();
        Self {
            servers,
            at: clock::now(),
            client_cpu: Process::own().cpu_time().unwrap_or_default(),
            server_cpu,
        }
    }

    /// The second sample.
    pub(super) fn end(self) -> Measured {
        let client_cpu = Process::own().cpu_time().unwrap_or_default();
        let server_cpu = self.servers.cpu_time();
        Measured {
            time: self.at.elapsed(),
            client_cpu: client_cpu.saturating_sub(self.client_cpu),
            server_cpu: server_cpu
                .zip(self.server_cpu)
                .map(|(after, before)| after.saturating_sub(before)),
        }
    }
}

/// Waits for both ends of the window.
pub(super) async fn measure(window: Window, servers: Servers) -> Measured {
    sleep_until(window.from.into()).await;
    let sampler = Sampler::begin(servers);
    sleep_until(window.to.into()).await;
    sampler.end()
}
