//! A cluster under test: etcd, nodes, and the network between them. Each node has an address of its own and
//! the usual ports.

mod etcd;
mod members;
mod network;
mod node;

pub(crate) use etcd::Etcd;
pub(crate) use members::{Cluster, Setup, has_command};
pub(crate) use network::End;
pub(crate) use node::Node;
