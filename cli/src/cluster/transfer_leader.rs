//! `forebay cluster transfer-leader`.

use std::fmt::{self, Write};

use forebay_client::NodeId;
use serde::Serialize;

use crate::{
    arguments::TransferLeader,
    client::connect,
    failure::{Failure, Kind},
    output::{self, Report},
    trouble,
};

#[derive(Debug, Serialize)]
struct Transferred {
    topic: String,
    partition: u32,
    from: u32,
    leader: u32,
    epoch: u64,
}

pub(super) async fn run(transfer: TransferLeader) -> Result<(), Failure> {
    let operator = connect(&transfer.connect)?.operator();
    let (place, to) = (transfer.place, transfer.to.map(NodeId::new));
    let done = operator.transfer_leader(&place.topic, place.partition, to).await;
    let done = done.map_err(|error| trouble::operating(&error))?;
    let from = done.from.get();
    let Some(leader) = done.leader else {
        let message =
            format!("node {from} has handed over, and nobody has taken over in time: look again");
        return Err(Failure::new(Kind::Unreachable, message)
            .hint("`forebay cluster health` shows whether somebody leads."));
    };
    let (topic, partition, epoch) = (place.topic, place.partition, done.epoch.get());
    let leader = leader.get();
    output::print(transfer.print.format, &Transferred { topic, partition, from, leader, epoch })
}

impl Report for Transferred {
    fn text(&self, _wide: bool, out: &mut String) -> fmt::Result {
        let Self { topic, partition, from, leader, epoch } = self;
        writeln!(out, "{topic}/{partition}: from node {from} to node {leader}, epoch {epoch}")
    }
}
