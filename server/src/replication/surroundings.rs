//! What the replicas of a shard share.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_channel::{Receiver, Sender, TrySendError};
use forebay_format::NodeId;
use forebay_replication::{CommandRefusal, Config, Token};

use super::links::Links;
use super::metrics::ReplicationMetrics;
use crate::bridge::Reply;
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
    commands: RefCell<Commands>,
}

/// Commands that wait for their answer.
#[derive(Default)]
struct Commands {
    last: u64,
    waiting: HashMap<Token, Reply<Result<(), CommandRefusal>>>,
}

impl Surroundings {
    pub(super) fn new(
        node: NodeId,
        (config, traces): (Config, Option<PathBuf>),
        links: Links,
        (leaders, operations, metrics): (Arc<Leaders>, Operations, Arc<ReplicationMetrics>),
        etcd: Sender<EtcdRequest>,
    ) -> Self {
        let commands = RefCell::default();
        Self { node, config, traces, links, leaders, operations, metrics, etcd, commands }
    }

    /// Asks the control thread for something of etcd.
    pub(super) fn ask(&self, request: EtcdRequest) {
        if let Err(TrySendError::Full(request)) = self.etcd.try_send(request) {
            let etcd = self.etcd.clone();
            // Without a control thread the node is about to end.
            net::spawn(async move { drop(etcd.send(request).await) });
        }
    }

    /// A token for a command, and where its answer arrives.
    pub(super) fn command(&self) -> (Token, Receiver<Result<(), CommandRefusal>>) {
        let (reply, answer) = Reply::new();
        let mut commands = self.commands.borrow_mut();
        commands.last += 1;
        let token = Token(commands.last);
        commands.waiting.insert(token, reply);
        (token, answer)
    }

    pub(super) fn answer_command(&self, token: Token, result: Result<(), CommandRefusal>) {
        if let Some(reply) = self.commands.borrow_mut().waiting.remove(&token) {
            reply.send(result);
        }
    }
}
