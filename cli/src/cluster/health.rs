//! `forebay cluster health`.

use std::fmt::{self, Write};

use forebay_client::{ClusterHealth, NodeId};
use serde::Serialize;

use super::looking::look;
use crate::{arguments::Look, client::connect, failure::Failure, output::Report, trouble};

#[derive(Debug, Serialize)]
struct Health {
    healthy: bool,
    nodes: u32,
    nodes_answering: u32,
    partitions: u32,
    partitions_without_leader: u32,
    partitions_under_replicated: u32,
    concerns: Vec<Concern>,
    /// Further ones, which were too many to be told.
    concerns_left_out: u32,
}

#[derive(Debug, Serialize)]
struct Concern {
    /// Stable, for scripts.
    reason: String,
    message: String,
    node: Option<u32>,
    topic: Option<String>,
    partition: Option<u32>,
}

/// Says how the cluster is; exit code 3 when it is not as it should be.
pub(super) async fn run(arguments: Look) -> Result<(), Failure> {
    let operator = connect(&arguments.connect)?.operator();
    let found = look(&arguments, async || {
        operator.health().await.map(Health::from).map_err(|error| trouble::operating(&error))
    })
    .await?;
    if found.healthy { Ok(()) } else { Err(Failure::condition()) }
}

impl From<ClusterHealth> for Health {
    fn from(health: ClusterHealth) -> Self {
        let concerns = health.concerns.into_iter().map(|concern| {
            let (topic, partition) = concern.partition.unzip();
            let node = concern.node.map(NodeId::get);
            Concern { reason: concern.reason, message: concern.message, node, topic, partition }
        });
        Self {
            healthy: health.healthy,
            nodes: health.nodes,
            nodes_answering: health.nodes_answering,
            partitions: health.partitions,
            partitions_without_leader: health.partitions_without_leader,
            partitions_under_replicated: health.partitions_under_replicated,
            concerns: concerns.collect(),
            concerns_left_out: health.concerns_left_out,
        }
    }
}

impl Report for Health {
    fn text(&self, wide: bool, out: &mut String) -> fmt::Result {
        let word = if self.healthy { "healthy" } else { "NOT HEALTHY" };
        writeln!(
            out,
            "{word}: {} of {} nodes answer; of {} partitions {} have no leader, {} lack a replica",
            self.nodes_answering,
            self.nodes,
            self.partitions,
            self.partitions_without_leader,
            self.partitions_under_replicated,
        )?;
        for concern in &self.concerns {
            if wide {
                writeln!(out, "  {}: {}", concern.reason, concern.message)?;
            } else {
                writeln!(out, "  {}", concern.message)?;
            }
        }
        if self.concerns_left_out > 0 {
            writeln!(out, "  and {} more", self.concerns_left_out)?;
        }
        Ok(())
    }
}
