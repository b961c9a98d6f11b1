//! `forebay cluster confirm-metadata`.

use std::fmt::{self, Write};

use forebay_client::NodeId;
use serde::Serialize;

use crate::{
    arguments::ConfirmMetadata,
    client::connect,
    failure::Failure,
    output::{self, Report},
    trouble,
};

#[derive(Debug, Serialize)]
struct Confirmed {
    topic: String,
    partition: u32,
    /// Whose memory is right.
    node: u32,
    state_version: u64,
}

pub(super) async fn run(confirm: ConfirmMetadata) -> Result<(), Failure> {
    let operator = connect(&confirm.connect)?.operator();
    let (place, node) = (confirm.place, confirm.node.map(NodeId::new));
    let done = operator.confirm_metadata(&place.topic, place.partition, node).await;
    let done = done.map_err(|error| trouble::operating(&error))?;
    let confirmed = Confirmed {
        topic: place.topic,
        partition: place.partition,
        node: done.node.get(),
        state_version: done.state_version,
    };
    output::print(confirm.print.format, &confirmed)
}

impl Report for Confirmed {
    fn text(&self, _wide: bool, out: &mut String) -> fmt::Result {
        let Self { topic, partition, node, state_version } = self;
        writeln!(
            out,
            "{topic}/{partition}: the state is as node {node} remembers it, now version {state_version}"
        )
    }
}
