//! `forebay cluster info`.

use std::fmt::{self, Write};

use forebay_client::ClusterInfo;
use serde::Serialize;

use super::looking::look;
use crate::{arguments::Look, client::connect, failure::Failure, output::Report, trouble};

#[derive(Debug, Serialize)]
struct Info {
    cluster_id: String,
    /// The node that has answered.
    node: u32,
    version: String,
    clustered: bool,
    nodes: u32,
    topics: u32,
    partitions: u32,
    replicas: u32,
    lease_ttl_ms: Option<u64>,
}

pub(super) async fn run(arguments: Look) -> Result<(), Failure> {
    let operator = connect(&arguments.connect)?.operator();
    look(&arguments, async || {
        operator.info().await.map(Info::from).map_err(|error| trouble::operating(&error))
    })
    .await
    .map(drop)
}

impl From<ClusterInfo> for Info {
    fn from(info: ClusterInfo) -> Self {
        let millis =
            |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self {
            cluster_id: info.cluster_id,
            node: info.node.get(),
            version: info.version,
            clustered: info.clustered,
            nodes: info.nodes,
            topics: info.topics,
            partitions: info.partitions,
            replicas: info.replicas,
            lease_ttl_ms: info.lease_ttl.map(millis),
        }
    }
}

impl Report for Info {
    fn text(&self, _wide: bool, out: &mut String) -> fmt::Result {
        writeln!(out, "cluster     {}", self.cluster_id)?;
        writeln!(out, "answered    node {}, version {}", self.node, self.version)?;
        writeln!(out, "nodes       {}", self.nodes)?;
        writeln!(out, "topics      {}", self.topics)?;
        writeln!(out, "partitions  {}", self.partitions)?;
        writeln!(out, "replicas    {}", self.replicas)?;
        match self.lease_ttl_ms {
            Some(ttl) => writeln!(out, "lease       {ttl} ms"),
            None => writeln!(out, "lease       none: the node is alone"),
        }
    }
}
