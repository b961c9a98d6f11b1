//! Where the shards of other nodes are.

use std::net::SocketAddr;

use forebay_format::{NodeId, PartitionId};

use crate::bridge::{ControlLink, ControlRequest};
use crate::leadership::ClusterWatch;

/// See the module. What it says is as old as the last that was heard of the cluster.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    cluster: ClusterWatch,
    control: ControlLink,
}

impl Directory {
    pub(super) const fn new(cluster: ClusterWatch, control: ControlLink) -> Self {
        Self { cluster, control }
    }

    /// The shard of that node that a partition belongs to; `None` while the node is not there.
    pub(super) fn shard_of(&self, node: NodeId, partition: PartitionId) -> Option<u32> {
        let view = self.cluster.borrow();
        let shards = u32::try_from(view.nodes.get(&node)?.shard_addresses.len()).ok()?;
        (shards > 0).then(|| forebay_engine::shard_of(partition, shards).get())
    }

    /// The address of a shard, as its name resolves now.
    pub(super) async fn address(&self, node: NodeId, shard: u32) -> Option<SocketAddr> {
        let address = {
            let view = self.cluster.borrow();
            view.nodes.get(&node)?.shard_addresses.get(shard as usize)?.clone()
        };
        if let Ok(address) = address.parse() {
            return Some(address);
        }
        // Names are looked up where that may block.
        let asked = self.control.ask(|reply| ControlRequest::Resolve { address, reply }).await;
        asked.ok().flatten()
    }
}
