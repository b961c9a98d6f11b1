//! etcd, nodes and network, put together.

use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay_client::Client;

use super::etcd::Etcd;
use super::network::Network;
use super::node::Node;
use crate::error::{RigError, within};
use crate::host::{Disk, run};

/// From the start of the last node until all have heard of it.
const SEEN_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// The `forebay` binary.
    pub(crate) program: PathBuf,
    /// Where everything of it lies.
    pub(crate) folder: PathBuf,
    pub(crate) nodes: u32,
    /// Whether links can be cut.
    pub(crate) namespaces: bool,
    /// Whether each node has a small disk of its own.
    pub(crate) disks: bool,
}

/// See the module. Everything ends with it.
#[derive(Debug)]
pub(crate) struct Cluster {
    // In the order in which they go.
    pub(crate) nodes: Vec<Node>,
    pub(crate) etcd: Etcd,
    pub(crate) network: Network,
    program: PathBuf,
}

/// Small, and with everything that happens after a while happening soon.
const SETTINGS: [(&str, &str); 10] = [
    ("FOREBAY_NODE__SHARDS", "2"),
    ("FOREBAY_NODE__DRAIN_TIMEOUT", "3s"),
    ("FOREBAY_STORAGE__MEMORY_PER_SHARD", "64MiB"),
    ("FOREBAY_STORAGE__DISK_RESERVE", "16MiB"),
    ("FOREBAY_TOPICS__AUTO_CREATE", "false"),
    ("FOREBAY_TOPICS__SEGMENT_SIZE", "16MiB"),
    ("FOREBAY_CLUSTER__ETCD__LEASE_TTL", "3s"),
    ("FOREBAY_CLUSTER__ETCD__REQUEST_TIMEOUT", "1s"),
    ("FOREBAY_FAULTS__ENABLED", "true"),
    ("FOREBAY_LOG__FORMAT", "text"),
];

impl Cluster {
    /// Nodes that answer.
    pub(crate) async fn start(setup: &Setup) -> Result<Self, RigError> {
        std::fs::create_dir_all(&setup.folder)
            .map_err(RigError::at("cannot make the folder of a cluster"))?;
        let network =
            if setup.namespaces { Network::of_namespaces(setup.nodes)? } else { Network::Loopback };
        let etcd = Etcd::start(network.centre(), &setup.folder).await?;
        let mut environment: Vec<(&'static str, String)> =
            SETTINGS.map(|(name, value)| (name, value.to_owned())).to_vec();
        environment.push(("FOREBAY_CLUSTER__ETCD__ENDPOINTS", etcd.endpoint()));
        let log = std::env::var("RUST_LOG").unwrap_or_else(|_unset| "info".to_owned());
        environment.push(("RUST_LOG", log));
        let mut nodes = Vec::new();
        for id in 1..=setup.nodes {
            let disk = disk_of(setup, id)?;
            let node = Node::new(id, &setup.program, &network, &setup.folder, disk);
            nodes.push(node.with_environment(&environment));
        }
        let mut cluster = Self { nodes, etcd, network, program: setup.program.clone() };
        cluster.start_stopped().await?;
        cluster.all_see_all().await?;
        Ok(cluster)
    }

    /// Waits until each node has heard of every other: only then can topics be placed on all of them.
    async fn all_see_all(&self) -> Result<(), RigError> {
        for node in &self.nodes {
            let client = Client::without_connecting([node.address()])
                .map_err(RigError::at("no client of a node"))?;
            let sees_all = async {
                while client.admin().metadata(&[]).await.map_or(0, |found| found.nodes.len())
                    < self.nodes.len()
                {
                    tokio::time::sleep(POLL).await;
                }
            };
            within(SEEN_WITHIN, format!("node {} has heard of all others", node.id), sees_all)
                .await?;
        }
        Ok(())
    }

    /// Starts every node that does not run, and waits until they answer.
    pub(crate) async fn start_stopped(&mut self) -> Result<(), RigError> {
        let mut started: Vec<&mut Node> =
            self.nodes.iter_mut().filter(|node| !node.is_running()).collect();
        for node in &mut started {
            node.start()?;
        }
        for node in started {
            node.ready().await?;
        }
        Ok(())
    }

    pub(crate) fn node(&mut self, id: u32) -> Result<&mut Node, RigError> {
        let found = self.nodes.iter_mut().find(|node| node.id == id);
        found.ok_or_else(|| RigError::Unusable(format!("there is no node {id}")))
    }

    /// HOST:PORT of each node, with its id.
    pub(crate) fn addresses(&self) -> Vec<(u32, String)> {
        self.nodes.iter().map(|node| (node.id, node.address().to_owned())).collect()
    }

    /// Runs a command of `forebay cluster` as an operator does.
    pub(crate) fn operate(&self, arguments: &[&str]) -> Result<(), RigError> {
        let endpoints: Vec<&str> = self.nodes.iter().map(Node::address).collect();
        self.operate_at(&endpoints.join(","), arguments)
    }

    /// The same by way of certain nodes alone.
    pub(crate) fn operate_at(&self, endpoints: &str, arguments: &[&str]) -> Result<(), RigError> {
        let endpoint = format!("--endpoint={endpoints}");
        let line = [&["cluster"], arguments, &[&*endpoint]].concat();
        let done = run(&self.program.to_string_lossy(), &line);
        done.map(drop).map_err(RigError::at("an operator's command failed"))
    }

    /// Tells when a node that should run has ended by itself.
    pub(crate) fn all_still_run(&mut self) -> Result<(), RigError> {
        self.nodes.iter_mut().try_for_each(Node::still_runs)
    }
}

/// Whether the binary has this command of `forebay cluster`.
pub(crate) fn has_command(program: &Path, command: &str) -> bool {
    run(&program.to_string_lossy(), &["cluster", command, "--help"]).is_ok()
}

fn disk_of(setup: &Setup, id: u32) -> Result<Option<Disk>, RigError> {
    let folder: &Path = &setup.folder.join(format!("disk-{id}"));
    let disk = setup.disks.then(|| Disk::make(folder));
    disk.transpose().map_err(RigError::at("cannot make a disk"))
}
