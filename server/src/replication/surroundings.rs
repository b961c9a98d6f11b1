//! What the replicas of a shard share.

use std::path::PathBuf;
use std::sync::Arc;

use async_channel::{Sender, TrySendError};
use forebay_format::NodeId;
use forebay_replication::Config;

use super::links::Links;
use super::metrics::ReplicationMetrics;
use crate::leadership::{EtcdRequest, Leaders};
use crate::net;
use crate::operations::Operations;

/// See the module.
pub(super) struct Surroundings {
    pub(super) node: NodeId,
    pub(super) config: Config,
    /// Where traces of the replicas are written, if anywhere.
    pub(super) traces: Option<PathBuf>,
    pub(super) links: Links,
    /// Who leads what, for all shards of the node to see.
    pub(super) leaders: Arc<Leaders>,
    pub(super) operations: Operations,
    pub(super) metrics: Arc<ReplicationMetrics>,
    /// To the control thread.
    etcd: Sender<EtcdRequest>,
}

impl Surroundings {
    pub(super) fn new(
        node: NodeId,
        (config, traces): (Config, Option<PathBuf>),
        links: Links,
        (leaders, operations, metrics): (Arc<Leaders>, Operations, Arc<ReplicationMetrics>),
        etcd: Sender<EtcdRequest>,
    ) -> Self {
        Self { node, config, traces, links, leaders, operations, metrics, etcd }
    }

    /// Asks the control thread for something of etcd.
    pub(super) fn ask(&self, request: EtcdRequest) {
        if let Err(TrySendError::Full(request)) = self.etcd.try_send(request) {
            let etcd = self.etcd.clone();
            // Without a control thread the node is about to end.
            net::spawn(async move { drop(etcd.send(request).await) });
        }
    }
}
