//! Several nodes and the etcd that they agree through, all in processes of their own.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{Forebay, Node, Ports, fresh_folder};

/// How long tests wait for a lease to run out. As short as etcd has them, a busy machine loses some.
const LEASE_TTL: &str = "4s";

/// Nodes `1` to `n`. All of it is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    etcd: Etcd,
    settings: Vec<(&'static str, String)>,
}

/// An etcd that runs. It is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Etcd {
    child: Child,
    ports: Ports,
    _folder: TempDir,
}

impl Cluster {
    /// So many nodes that answer. `None` where etcd is not installed, which is said; not in CI.
    pub(crate) fn start(nodes: u32) -> Option<Self> {
        Self::start_with(nodes, &[])
    }

    /// The same with settings in the environment of every node.
    pub(crate) fn start_with(nodes: u32, settings: &[(&'static str, &str)]) -> Option<Self> {
        let settings = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let mut cluster = Self { nodes: Vec::new(), etcd: Etcd::start()?, settings };
        (0..nodes).for_each(|_| cluster.join());
        Some(cluster)
    }

    /// One more node, which answers.
    pub(crate) fn join(&mut self) {
        let number = (self.nodes.len() + 1).to_string();
        let endpoint = self.etcd.endpoint();
        let own = [
            ("FOREBAY_NODE__ID", number.as_str()),
            ("FOREBAY_CLUSTER__ETCD__ENDPOINTS", endpoint.as_str()),
            ("FOREBAY_CLUSTER__ETCD__LEASE_TTL", LEASE_TTL),
        ];
        let common = self.settings.iter().map(|(name, value)| (*name, value.as_str()));
        let settings: Vec<_> = own.into_iter().chain(common).collect();
        self.nodes.push(Node::start_with(&settings));
    }

    /// What `topic describe` says, as JSON.
    pub(crate) fn describe(&self, topic: &str) -> serde_json::Value {
        let described = self.forebay(["topic", "describe", topic, "--format", "json"]).run();
        serde_json::from_slice(&described.success()).expect("JSON")
    }

    /// A client command that may talk to any node.
    pub(crate) fn forebay<const N: usize>(&self, arguments: [&str; N]) -> Forebay {
        let endpoints: Vec<_> = self.nodes.iter().map(Node::endpoint).collect();
        Forebay::new(arguments).env("FOREBAY_ENDPOINT", endpoints.join(","))
    }

    /// The place of the node that leads partition 0 of a topic, once one does.
    pub(crate) fn leader(&self, topic: &str) -> usize {
        self.leader_but(topic, usize::MAX)
    }

    /// The same, as every node but one knows it.
    pub(crate) fn leader_but(&self, topic: &str, not_asked: usize) -> usize {
        let asked = (0..self.nodes.len()).filter(|place| *place != not_asked);
        let endpoints: Vec<_> = asked.map(|place| self.nodes[place].endpoint()).collect();
        loop {
            let described = Forebay::new(["topic", "describe", topic, "--format", "json"])
                .env("FOREBAY_ENDPOINT", endpoints.join(","))
                .run();
            let described: serde_json::Value =
                serde_json::from_slice(&described.success()).expect("JSON");
            if let Some(leader) = described["partitions"][0]["leader"].as_u64() {
                return usize::try_from(leader).expect("a small number") - 1;
            }
        }
    }
}

impl Etcd {
    /// `None` where etcd is not installed, which is said; not in CI.
    pub(crate) fn start() -> Option<Self> {
        let (ports, folder) = (Ports::claim(), fresh_folder());
        let url = |port| format!("http://127.0.0.1:{port}");
        let (client, peer) = (url(ports.grpc().port()), url(ports.grpc().port() + 1));
        let child = Command::new("etcd")
            .args(["--name", "one", "--initial-cluster", &format!("one={peer}")])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .arg("--data-dir")
            .arg(folder.path().join("etcd"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match child {
            Ok(child) => Some(Self { child, ports, _folder: folder }),
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "etcd cannot be started: {error}");
                // Nobody is there to be told when that fails.
                let _told = writeln!(std::io::stderr(), "NOT RUN: etcd cannot be started: {error}");
                None
            }
        }
    }

    /// Where nodes find it.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.ports.grpc())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
