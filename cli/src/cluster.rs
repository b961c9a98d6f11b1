//! `forebay cluster …`: one file per verb.

mod confirm_metadata;
mod events;
mod fault;
mod force_leader;
mod health;
mod info;
mod looking;
mod members;
mod transfer_leader;

use crate::{
    arguments::Cluster,
    client::{block_on, unless_interrupted},
    failure::Failure,
};

/// Carries out one verb. Ctrl-C ends any of them.
pub(crate) fn run(cluster: Cluster) -> Result<(), Failure> {
    block_on(unless_interrupted(Box::pin(dispatch(cluster))))
}

async fn dispatch(cluster: Cluster) -> Result<(), Failure> {
    match cluster {
        Cluster::Health(look) => health::run(look).await,
        Cluster::Info(look) => info::run(look).await,
        Cluster::Members(look) => members::run(look).await,
        Cluster::Events(events) => events::run(events).await,
        Cluster::TransferLeader(transfer) => transfer_leader::run(transfer).await,
        Cluster::ForceLeader(force) => force_leader::run(force).await,
        Cluster::Fault(fault) => fault::run(fault).await,
        Cluster::ConfirmMetadata(confirm) => confirm_metadata::run(confirm).await,
    }
}

/// Nodes for people: `node 2`, `nodes 2, 3`.
fn nodes(numbers: &[u32]) -> String {
    let list = numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if numbers.len() == 1 { format!("node {list}") } else { format!("nodes {list}") }
}
