//! Three nodes and an etcd, started by the script that people use.

use std::{
    io::{self, BufRead, BufReader},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
};

use super::server::{PATIENCE, free_ports, pause, terminate};
use crate::{args::SuiteArgs, clock};

/// Nodes of the cluster.
const NODES: usize = 3;
/// Ports that the script gives to a node.
const PORTS_PER_NODE: u32 = 100;

/// A cluster that runs. It is killed when it is dropped; `stop` stops it as it should be.
#[derive(Debug)]
pub(super) struct Cluster {
    script: Child,
    /// Where it says more; closed, it would end.
    says: BufReader<ChildStderr>,
    endpoints: Vec<String>,
    pids: Vec<u32>,
    data: PathBuf,
}

impl Cluster {
    /// Starts it on free ports and waits until every node listens.
    pub(super) fn start(script: &Path, args: &SuiteArgs) -> io::Result<Self> {
        let data = args.data.join("cluster");
        let nodes = u32::try_from(NODES).unwrap_or(u32::MAX);
        let first_port = free_ports(nodes * PORTS_PER_NODE + 1)?;
        // The last two of them are for etcd.
        let etcd_port = u32::from(first_port) + nodes * PORTS_PER_NODE;
        let mut script = Command::new(script)
            .arg(NODES.to_string())
            .arg(&data)
            .env("FOREBAY", std::path::absolute(&args.server)?)
            .env("FIRST_PORT", first_port.to_string())
            .env("ETCD_PORT", etcd_port.to_string())
            .env("FOREBAY_NODE__SHARDS", args.shards.to_string())
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let says = script.stderr.take().ok_or_else(|| io::Error::other("no stderr"))?;
        let (endpoints, pids) = Default::default();
        let mut cluster = Self { script, says: BufReader::new(says), endpoints, pids, data };
        cluster.hear_of_nodes()?;
        cluster.wait_until_all_listen()?;
        Ok(cluster)
    }

    /// Lines such as `node 1: 127.0.0.1:7400, process 123, log …`.
    fn hear_of_nodes(&mut self) -> io::Result<()> {
        let mut line = String::new();
        while self.pids.len() < NODES {
            line.clear();
            if self.says.read_line(&mut line)? == 0 {
                return Err(io::Error::other("the cluster's script has ended"));
            }
            if let Some((endpoint, pid)) = node_of(&line) {
                self.endpoints.push(endpoint);
                self.pids.push(pid);
            }
        }
        Ok(())
    }

    fn wait_until_all_listen(&mut self) -> io::Result<()> {
        let start = clock::now();
        while start.elapsed() < PATIENCE {
            if self.endpoints.iter().all(|endpoint| TcpStream::connect(endpoint).is_ok()) {
                return Ok(());
            }
            if let Some(status) = self.script.try_wait()? {
                return Err(io::Error::other(format!("the cluster's script ended with {status}")));
            }
            pause();
        }
        Err(io::Error::other("not all nodes of the cluster listen"))
    }

    pub(super) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    pub(super) fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// Where all of them store.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// Asks it to stop, and waits until it has.
    pub(super) fn stop(mut self) -> io::Result<()> {
        terminate(&mut self.script)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It has ended already, or nothing more can be done.
        let _ended = terminate(&mut self.script);
        let _killed = self.script.kill();
        let _reaped = self.script.wait();
    }
}

fn node_of(line: &str) -> Option<(String, u32)> {
    let (_, rest) = line.strip_prefix("node ")?.split_once(": ")?;
    let (endpoint, rest) = rest.split_once(", process ")?;
    let (pid, _) = rest.split_once(',')?;
    Some((endpoint.to_owned(), pid.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_nodes_are_understood() {
        let line = "node 2: 127.0.0.1:7500, process 4711, log /data/node-2.log\n";
        assert_eq!(node_of(line), Some(("127.0.0.1:7500".to_owned(), 4711)));
        assert_eq!(node_of("building forebay\n"), None);
    }
}
