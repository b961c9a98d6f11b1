//! Listening sockets: bound on the control thread, so that whatever is wrong with an address is said
//! before anything starts; listened on once all shards are ready; accepted from on a shard.
#![expect(unsafe_code, reason = "glommio takes a bound socket as a raw descriptor only")]

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use glommio::net::{TcpListener, TcpStream};
use rustix::net::{self as socket, AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use crate::config::Address;

/// Connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 1024;

/// How often a port that is taken is tried again: for two seconds together. The kernel takes an
/// `io_uring` apart after its process is gone, and a killed node's sockets with it, so a node that is
/// started again at once would meet itself.
const LET_GO_ATTEMPTS_MAX: u32 = 100;
const LET_GO_PAUSE: Duration = Duration::from_millis(20);

/// Why a port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The host has no address.
    #[error("{address}: cannot find the address of this host: {source}")]
    Resolve {
        /// As it was configured.
        address: Address,
        /// What the resolver said.
        source: io::Error,
    },
    /// Somebody else serves it.
    #[error(
        "{address}: another process serves this port already; stop it, or choose another address \
         with {setting}"
    )]
    Taken {
        /// The address.
        address: SocketAddr,
        /// The setting that chooses it.
        setting: &'static str,
    },
    /// Something else.
    #[error("{address}: cannot listen: {source}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// A socket that has its port, and does not answer yet.
#[derive(Debug)]
pub(crate) struct BoundSocket {
    socket: OwnedFd,
    address: SocketAddr,
}

impl BoundSocket {
    /// Sockets for one port, one for each shard; the kernel spreads connections over them. Port 0
    /// chooses a free one.
    pub(crate) fn bind(
        address: &Address,
        count: usize,
        setting: &'static str,
    ) -> Result<Vec<Self>, BindError> {
        let wanted = resolve(address)?;
        refuse_taken(wanted, setting)?;
        let mut bound: Vec<Self> = Vec::with_capacity(count);
        for _ in 0..count {
            let port = bound.first().map_or(wanted, |first| first.address);
            bound.push(Self::bind_one(port, true).map_err(|source| other(port, source))?);
        }
        Ok(bound)
    }

    /// Its address, with the port that was chosen.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to take connections, which wait until they are accepted.
    pub(crate) fn listen(self) -> Result<std::net::TcpListener, BindError> {
        socket::listen(&self.socket, BACKLOG).map_err(|e| other(self.address, e.into()))?;
        Ok(self.socket.into())
    }

    fn bind_one(address: SocketAddr, shared: bool) -> io::Result<Self> {
        let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        // Connections of an earlier life that the kernel still remembers are no reason to refuse.
        sockopt::set_socket_reuseaddr(&fd, true)?;
        sockopt::set_socket_reuseport(&fd, shared)?;
        socket::bind(&fd, &address)?;
        let address = SocketAddr::try_from(socket::getsockname(&fd)?)?;
        Ok(Self { socket: fd, address })
    }
}

fn resolve(address: &Address) -> Result<SocketAddr, BindError> {
    let failed = |source| BindError::Resolve { address: address.clone(), source };
    let mut found = (address.host(), address.port()).to_socket_addrs().map_err(failed)?;
    found.next().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

/// Sockets that share a port never meet an error by themselves: a second node would silently take half
/// of the first one's connections. So the port is tried alone first.
fn refuse_taken(address: SocketAddr, setting: &'static str) -> Result<(), BindError> {
    if address.port() == 0 {
        return Ok(());
    }
    let is_taken = |tried: &io::Result<()>| {
        tried.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    };
    let mut tried = listen_alone(address);
    for _ in 0..LET_GO_ATTEMPTS_MAX {
        if !is_taken(&tried) {
            break;
        }
        pause();
        tried = listen_alone(address);
    }
    match tried {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(BindError::Taken { address, setting })
        }
        Err(error) => Err(other(address, error)),
        Ok(()) => Ok(()),
    }
}

fn listen_alone(address: SocketAddr) -> io::Result<()> {
    let alone = BoundSocket::bind_one(address, false)?;
    socket::listen(&alone.socket, 1).map_err(Into::into)
}

#[expect(clippy::disallowed_methods, reason = "at start, before there is a shard to block")]
fn pause() {
    std::thread::sleep(LET_GO_PAUSE);
}

fn other(address: SocketAddr, source: io::Error) -> BindError {
    BindError::Other { address, source }
}

/// A socket that accepts on this executor.
#[derive(Debug)]
pub(crate) struct Listener(TcpListener);

impl Listener {
    /// Takes over a socket that listens.
    pub(crate) fn new(listening: std::net::TcpListener) -> Self {
        // SAFETY: the descriptor is open, and from here on this listener alone owns it.
        Self(unsafe { TcpListener::from_raw_fd(listening.into_raw_fd()) })
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<TcpStream> {
        self.0.accept().await.map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(port: u16) -> Address {
        Address::new("127.0.0.1", port)
    }

    #[test]
    fn all_shards_get_the_same_port() {
        let bound = BoundSocket::bind(&on(0), 3, "network.listen").expect("three sockets");
        let ports: Vec<u16> = bound.iter().map(|b| b.address().port()).collect();
        assert_ne!(ports[0], 0);
        assert_eq!(ports, [ports[0]; 3]);
        for socket in bound {
            socket.listen().expect("listens");
        }
    }

    #[test]
    fn a_port_that_somebody_serves_is_refused_even_if_they_would_share_it() {
        let first = BoundSocket::bind(&on(0), 1, "network.listen").expect("a socket");
        let address = first[0].address();
        let first: Vec<_> = first.into_iter().map(BoundSocket::listen).collect();
        let error = BoundSocket::bind(&on(address.port()), 1, "network.listen");
        let message = error.expect_err("taken").to_string();
        drop(first);
        assert_eq!(
            message,
            format!(
                "{address}: another process serves this port already; stop it, or choose another \
                 address with network.listen"
            )
        );
    }
}
