//! What ends a node: a signal, or whoever runs it within a program of their own.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::net::StopSignal;

/// Signals that ask a process to end, if this process is ours alone.
pub(crate) struct EndSignals(Option<[Signal; 2]>);

impl EndSignals {
    /// SIGTERM and SIGINT.
    pub(crate) fn of_process() -> io::Result<Self> {
        Ok(Self(Some([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?])))
    }

    /// Somebody else's program handles its signals itself.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Returns at the next one.
    pub(crate) async fn next(&mut self) {
        let Some([terminate, interrupt]) = &mut self.0 else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }

    /// Returns at the next one, or when `asked` says so.
    pub(crate) async fn next_or(&mut self, asked: &StopSignal) {
        tokio::select! {
            () = self.next() => {}
            () = asked.stopped() => {}
        }
    }
}
