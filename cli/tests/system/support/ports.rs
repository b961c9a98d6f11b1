//! Ports that nobody else takes, not even between two starts of a node.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
};

/// Neighbouring ports for one node: gRPC, two shards, HTTP and one to spare.
const PORTS_PER_NODE: u16 = 5;

/// Below the range that the kernel takes ports for outgoing connections from.
const FIRST_PORT: u16 = 20_000;
const NODES_MAX: u16 = 2_000;

/// A claim on some ports. Other tests, in other processes, get others while it is held.
#[derive(Debug)]
pub(crate) struct Ports {
    first: u16,
    _claim: File,
}

impl Ports {
    pub(crate) fn claim() -> Self {
        // Ports are the machine's, whichever checkout the tests are of.
        let folder = std::env::temp_dir().join("forebay-test-ports");
        std::fs::create_dir_all(&folder).expect("a folder for claims");
        for slot in 0..NODES_MAX {
            let file = File::create(folder.join(format!("{slot}.lock"))).expect("a lock file");
            let first = FIRST_PORT + slot * PORTS_PER_NODE;
            if file.try_lock().is_ok() && (first..first + PORTS_PER_NODE).all(is_free) {
                return Self { first, _claim: file };
            }
        }
        panic!("{NODES_MAX} nodes at once");
    }

    pub(crate) fn grpc(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.first))
    }

    pub(crate) fn http(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.first + PORTS_PER_NODE - 1))
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
