//! SIGINT and SIGTERM become a flag that every longer step looks at, so that guards get to run.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Tells that the user wants out. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    raised: watch::Receiver<bool>,
}

impl Interrupt {
    /// Takes over the signals for the rest of the process.
    pub(crate) fn listen() -> io::Result<Self> {
        let (raise, raised) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let listener = {
            let _context = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let (mut interrupt, mut terminate) = listener;
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    raise.send_replace(true);
                }
            });
        })?;
        Ok(Self { raised })
    }

    /// Waits until it is raised.
    pub(crate) async fn raised(&self) {
        let mut raised = self.raised.clone();
        if raised.wait_for(|raised| *raised).await.is_err() {
            // The listener is gone: then nobody can raise it any more.
            std::future::pending::<()>().await;
        }
    }
}
