//! What the tests of the whole system share: nodes, commands, ports, and made-up data.

mod cluster;
mod command;
mod corpus;
mod node;
mod ports;
mod riding;
mod server;

pub(crate) use cluster::{Cluster, Etcd};
pub(crate) use command::{Forebay, Outcome, Running};
pub(crate) use corpus::{Random, corpus};
pub(crate) use node::{Node, fresh_folder};
pub(crate) use ports::Ports;
pub(crate) use riding::produce_in_parts;
pub(crate) use server::Server;
