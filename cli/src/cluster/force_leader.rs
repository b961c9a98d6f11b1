//! `forebay cluster force-leader`: says what may be lost, and does it only when told to.

use std::fmt::{self, Write};

use forebay_client::{Forced, NodeId};
use serde::Serialize;

use super::nodes;
use crate::{
    arguments::{ForceLeader, TopicPartition},
    client::connect,
    failure::Failure,
    output::{self, Report},
    trouble,
};

#[derive(Debug, Serialize)]
struct Election {
    topic: String,
    partition: u32,
    node: u32,
    /// Whether it was done.
    done: bool,
    /// The epoch that began with it, if it was done.
    epoch: Option<u64>,
    /// What is below is kept.
    kept_end: u64,
    /// Offsets from there up to here were acknowledged and may be lost, as far as is known.
    lost_upto: u64,
    /// Who leads and serves at present, if it was not done.
    leader: Option<u32>,
    /// Nodes with a replica that do not answer, and may hold more.
    silent_nodes: Vec<u32>,
}

/// Without `--yes` nothing is done, and the exit code is 3.
pub(super) async fn run(force: ForceLeader) -> Result<(), Failure> {
    let operator = connect(&force.connect)?.operator();
    let place = &force.place;
    let election = (NodeId::new(force.node), force.yes);
    let forced = operator.force_leader(&place.topic, place.partition, election).await;
    let forced = forced.map_err(|error| trouble::operating(&error))?;
    output::print(force.print.format, &Election::new(force.place, force.node, &forced))?;
    if forced.done { Ok(()) } else { Err(Failure::condition()) }
}

impl Election {
    fn new(place: TopicPartition, node: u32, forced: &Forced) -> Self {
        Self {
            topic: place.topic,
            partition: place.partition,
            node,
            done: forced.done,
            epoch: forced.done.then_some(forced.epoch.get()),
            kept_end: forced.kept_end.get(),
            lost_upto: forced.lost_upto.get(),
            leader: forced.leader.map(NodeId::get),
            silent_nodes: forced.silent.iter().map(|node| node.get()).collect(),
        }
    }
}

impl Report for Election {
    fn text(&self, _wide: bool, out: &mut String) -> fmt::Result {
        let Self { topic, partition, node, kept_end, lost_upto, .. } = self;
        let place = format!("{topic}/{partition}");
        if let Some(epoch) = self.epoch {
            writeln!(
                out,
                "{place}: node {node} leads in epoch {epoch}, with what it has below offset {kept_end}"
            )?;
        } else {
            writeln!(
                out,
                "{place}: node {node} would lead with what it has, below offset {kept_end}"
            )?;
        }
        if lost_upto > kept_end {
            let last = lost_upto - 1;
            writeln!(out, "  acknowledged records that may be lost: offsets {kept_end} to {last}")?;
        } else {
            writeln!(out, "  it holds every record that is known to have been committed")?;
        }
        if self.done {
            return writeln!(out, "  this is recorded in the partition's state");
        }
        if let Some(leader) = self.leader {
            writeln!(
                out,
                "  node {leader} leads now: `forebay cluster transfer-leader` loses nothing"
            )?;
        }
        if !self.silent_nodes.is_empty() {
            let silent = nodes(&self.silent_nodes);
            writeln!(
                out,
                "  not answering: {silent}; what only they hold from offset {kept_end} on is lost too"
            )?;
        }
        writeln!(out, "nothing was done; --yes does it")
    }
}
