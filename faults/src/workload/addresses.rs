//! A channel to one node, as stock clients have it.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A channel that connects when it is used. `address` is HOST:PORT of the rig's own making.
pub(crate) fn channel(address: &str) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .expect("the rig makes addresses that are some")
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .connect_lazy()
}
