//! The ports of a node: bound before anything else starts, and what others are told of them.

use std::net::SocketAddr;

use forebay_format::NodeId;

use crate::config::{Address, Config};
use crate::leadership::NodeRegistration;
use crate::net::BoundSocket;
use crate::node::RunError;
use crate::telemetry::HttpPort;

/// Where a node is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// gRPC, any shard.
    pub grpc: SocketAddr,
    /// gRPC of each shard alone.
    pub shards: Vec<SocketAddr>,
    /// HTTP.
    pub http: SocketAddr,
}

/// Sockets that have their ports.
pub(crate) struct Ports {
    pub(crate) shared: Vec<BoundSocket>,
    pub(crate) own: Vec<BoundSocket>,
    pub(crate) http: HttpPort,
    pub(crate) addresses: Addresses,
}

impl Ports {
    pub(crate) fn bind(config: &Config, shards: u32) -> Result<Self, RunError> {
        let listen = &config.network.listen;
        let count = shards as usize;
        let shared = BoundSocket::bind(listen, count, "network.listen (--listen)")?;
        let mut own = Vec::with_capacity(count);
        for index in 0..shards {
            let address = shard_address(listen, index);
            own.extend(BoundSocket::bind(&address, 1, "network.listen (--listen)")?);
        }
        let http = BoundSocket::bind(&config.network.http, 1, "network.http (--http)")?;
        let http = http.into_iter().next().expect("one was asked for");
        let addresses = Addresses {
            grpc: shared[0].address(),
            shards: own.iter().map(BoundSocket::address).collect(),
            http: http.address(),
        };
        let http = HttpPort::new(http.listen()?)
            .map_err(|source| RunError::Control { what: "serve HTTP", source })?;
        Ok(Self { shared, own, http, addresses })
    }
}

/// The address of a shard's own port. With port 0 the system chooses each; that the numbers suffice was
/// checked with the configuration.
fn shard_address(listen: &Address, index: u32) -> Address {
    let own = u16::try_from(u32::from(listen.port()) + 1 + index).expect("checked at the start");
    listen.with_port(if listen.port() == 0 { 0 } else { own })
}

/// What others are told. On a wildcard address nobody can be told where it is: "0.0.0.0" is each
/// client's own machine, and there may be a node there. Without an address, clients stay where they are.
/// Other nodes cannot: among several, a node on a wildcard address is known by the name of its machine.
pub(crate) fn registration(config: &Config, addresses: &Addresses) -> NodeRegistration {
    let (address, shard_addresses) = match &config.network.advertise.0 {
        None if config.network.listen.is_wildcard() && config.cluster.is_alone() => {
            (None, Vec::new())
        }
        None => {
            let machine = rustix::system::uname();
            let host = match machine.nodename().to_str() {
                Ok(name) if config.network.listen.is_wildcard() => name,
                _ => config.network.listen.host(),
            };
            let own = addresses.shards.iter().map(|own| Address::new(host, own.port()));
            (Some(Address::new(host, addresses.grpc.port())), own.collect())
        }
        Some(address) => {
            let shards = 0..u32::try_from(addresses.shards.len()).unwrap_or(u32::MAX);
            let own = shards.map(|index| shard_address(address, index));
            (Some(address.clone()), own.collect())
        }
    };
    NodeRegistration {
        id: NodeId::new(config.node.id),
        address: address.as_ref().map(Address::to_string).unwrap_or_default(),
        shard_addresses: shard_addresses.iter().map(Address::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flag;

    fn told(settings: &[(&str, &str)]) -> NodeRegistration {
        let flags: Vec<Flag> = settings
            .iter()
            .map(|(setting, value)| Flag {
                flag: format!("--{setting}"),
                setting: (*setting).to_owned(),
                value: (*value).to_owned(),
            })
            .collect();
        let config = Config::load(None, [], &flags).expect("a right configuration");
        let at = |port| SocketAddr::from(([0, 0, 0, 0], port));
        let addresses =
            Addresses { grpc: at(7400), shards: vec![at(7401), at(7402)], http: at(7480) };
        registration(&config, &addresses)
    }

    #[test]
    fn clients_are_told_what_leads_to_this_node_and_nothing_else() {
        let named = told(&[("network.listen", "node-1:7400")]);
        assert_eq!(named.address, "node-1:7400");
        assert_eq!(named.shard_addresses, ["node-1:7401", "node-1:7402"]);
        for wildcard in ["0.0.0.0:7400", "[::]:7400"] {
            let silent = told(&[("network.listen", wildcard)]);
            assert_eq!((silent.address.as_str(), silent.shard_addresses.len()), ("", 0));
            let listen = ("network.listen", wildcard);
            let said = told(&[listen, ("network.advertise", "log.example:80")]);
            assert_eq!(said.address, "log.example:80");
            assert_eq!(said.shard_addresses, ["log.example:81", "log.example:82"]);
        }
    }
}
