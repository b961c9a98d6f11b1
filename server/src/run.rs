//! The composition root: puts configuration, storage, gRPC and the control thread together.

use crate::config::Config;

/// Why a node could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {}

/// Runs a node until it is told to stop by SIGTERM or SIGINT. Everything that was acknowledged as
/// durable is on stable storage when this returns, whatever it returns.
///
/// # Errors
/// Whatever kept the node from starting, or ended it.
pub fn run(config: Config) -> Result<(), RunError> {
    drop(config);
    Ok(())
}
