//! The network of a cluster: a namespace per node, joined by a bridge, whose links can be cut one way. Where the
//! rig is not root, loopback addresses that cannot be cut.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::error::RigError;
use crate::host::{CommandError, run};

/// Clients and etcd.
const CENTRE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const BRIDGE: &str = "faults0";

/// Port of etcd, by which cutting etcd off is told from cutting clients off.
pub(crate) const ETCD_PORT: u16 = 2379;

/// One end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Node(u32),
    Etcd,
}

/// See the module.
#[derive(Debug)]
pub(crate) enum Network {
    Loopback,
    Namespaces { nodes: u32 },
}

impl Network {
    /// Namespaces for nodes 1 to `nodes`, joined by a bridge. The rig must be in namespaces of its own.
    pub(crate) fn of_namespaces(nodes: u32) -> Result<Self, RigError> {
        let network = Self::Namespaces { nodes };
        network.build().map_err(RigError::at("cannot make the network"))?;
        Ok(network)
    }

    fn build(&self) -> Result<(), CommandError> {
        run("ip", &["link", "add", BRIDGE, "type", "bridge"])?;
        run("ip", &["addr", "add", &format!("{CENTRE}/24"), "dev", BRIDGE])?;
        run("ip", &["link", "set", BRIDGE, "up"])?;
        let Self::Namespaces { nodes } = self else { return Ok(()) };
        for node in 1..=*nodes {
            let (name, outer) = (format!("node{node}"), format!("veth{node}"));
            let address = format!("{}/24", self.host(node));
            run("ip", &["netns", "add", &name])?;
            run(
                "ip",
                &["link", "add", &outer, "type", "veth", "peer", "name", "eth0", "netns", &name],
            )?;
            run("ip", &["link", "set", &outer, "master", BRIDGE, "up"])?;
            run("ip", &["-n", &name, "addr", "add", &address, "dev", "eth0"])?;
            run("ip", &["-n", &name, "link", "set", "eth0", "up"])?;
            run("ip", &["-n", &name, "link", "set", "lo", "up"])?;
            nft(node, "add table ip rig")?;
            for hook in ["input", "output"] {
                let chain = "{ type filter hook HOOK priority 0; policy accept; }";
                let chain = chain.replace("HOOK", hook);
                nft(node, &format!("add chain ip rig {hook} {chain}"))?;
            }
        }
        Ok(())
    }

    /// The address of a node.
    pub(crate) fn host(&self, node: u32) -> Ipv4Addr {
        let last = u8::try_from(10 + node).unwrap_or(u8::MAX);
        match self {
            Self::Loopback => own_loopback(last),
            Self::Namespaces { .. } => Ipv4Addr::new(10, 77, 0, last),
        }
    }

    /// The address of etcd.
    pub(crate) fn centre(&self) -> Ipv4Addr {
        match self {
            Self::Loopback => own_loopback(1),
            Self::Namespaces { .. } => CENTRE,
        }
    }

    /// The file of a node's namespace.
    pub(crate) fn namespace(&self, node: u32) -> Option<PathBuf> {
        match self {
            Self::Loopback => None,
            Self::Namespaces { .. } => Some(PathBuf::from(format!("/run/netns/node{node}"))),
        }
    }

    /// Nothing that `from` sends reaches `to` any more.
    pub(crate) fn cut(&self, from: End, to: End) -> Result<(), RigError> {
        let done = match (from, to) {
            (End::Node(from), End::Node(to)) => {
                nft(to, &format!("add rule ip rig input ip saddr {} drop", self.host(from)))
            }
            (End::Node(from), End::Etcd) => {
                nft(from, &format!("add rule ip rig output tcp dport {ETCD_PORT} drop"))
            }
            (End::Etcd, End::Node(to)) => {
                nft(to, &format!("add rule ip rig input tcp sport {ETCD_PORT} drop"))
            }
            (End::Etcd, End::Etcd) => Ok(()),
        };
        done.map_err(RigError::at("cannot cut a link"))
    }

    /// Every link is whole.
    pub(crate) fn mend(&self) -> Result<(), RigError> {
        let Self::Namespaces { nodes } = self else { return Ok(()) };
        for node in 1..=*nodes {
            nft(node, "flush table ip rig").map_err(RigError::at("cannot mend links"))?;
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let Self::Namespaces { nodes } = self else { return };
        // What is left goes with the rig's own namespace.
        for node in 1..=*nodes {
            // At once, and not whenever the namespace is gone: the next network has the same names.
            drop(run("ip", &["link", "del", &format!("veth{node}")]));
            drop(run("ip", &["netns", "del", &format!("node{node}")]));
        }
        drop(run("ip", &["link", "del", BRIDGE]));
    }
}

/// Changes the rules of a node's namespace.
fn nft(node: u32, rule: &str) -> Result<(), CommandError> {
    let name = format!("node{node}");
    run("ip", &["netns", "exec", &name, "nft", rule]).map(drop)
}

/// A loopback address that no other running rig has.
fn own_loopback(last: u8) -> Ipv4Addr {
    let part = |number: u32| u8::try_from(number % 250).unwrap_or_default();
    let pid = std::process::id();
    Ipv4Addr::new(127, 1 + part(pid / 250), 1 + part(pid), last)
}
