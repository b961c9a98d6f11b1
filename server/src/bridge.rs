//! How the shards and the control thread talk: typed messages over bounded channels, and nothing else.
//!
//! The only file that knows both executors. A shard asks the control thread for what has to be agreed
//! on, and is told what was; neither ever waits for the other on the data path.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use forebay_engine::ShardMetrics;
use forebay_format::{CleanEntry, PartitionId, TopicName};
use futures_util::future::join_all;
use tokio::runtime::Handle;

use crate::leadership::{CreateTopicError, DeleteTopicError, Leadership, Topic, TopicDraft};
use crate::operations::{Order, OrderError, ReplicaReport};

/// Requests of all shards that wait for the control thread.
const CONTROL_REQUESTS_MAX: usize = 1024;

/// Commands that wait for one shard.
const SHARD_COMMANDS_MAX: usize = 64;

/// Where one answer goes. Whoever asked may have gone away.
#[derive(Debug)]
pub(crate) struct Reply<T>(Sender<T>);

impl<T> Reply<T> {
    /// A reply, and where it arrives.
    pub(crate) fn new() -> (Self, Receiver<T>) {
        let (sender, receiver) = async_channel::bounded(1);
        (Self(sender), receiver)
    }

    /// Answers.
    pub(crate) fn send(self, answer: T) {
        // The channel has room for the one answer, so this fails only when nobody waits.
        self.0.try_send(answer).ok();
    }

    /// Whether anybody waits for it.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.0.is_closed()
    }
}

/// What a shard asks of the control thread.
#[derive(Debug)]
pub(crate) enum ControlRequest {
    /// Make a topic. All shards serve it when the answer comes.
    CreateTopic { draft: TopicDraft, reply: Reply<Result<Arc<Topic>, CreateTopicError>> },
    /// Delete a topic. No shard serves it any more when the answer comes.
    DeleteTopic { name: TopicName, reply: Reply<Result<Arc<Topic>, DeleteTopicError>> },
    /// Look up the `HOST:PORT` of another node, which may block.
    Resolve { address: String, reply: Reply<Option<SocketAddr>> },
    /// Ask every shard of its replicas, for people.
    Report { reply: Reply<NodeReport> },
    /// Have the shard that owns a partition carry out an operator's order.
    Order { partition: PartitionId, order: Order, reply: Reply<Result<(), OrderError>> },
}

/// What the control thread tells a shard.
pub(crate) enum ShardCommand {
    /// Answer the connections of a socket that listens.
    Serve { socket: TcpListener },
    /// Serve a topic.
    AddTopic { topic: Arc<Topic>, leaderships: Arc<[Leadership]>, done: Reply<()> },
    /// Stop serving a topic.
    RemoveTopic { topic: Arc<Topic>, forgotten: Reply<()> },
    /// Remove the files of those partitions of a deleted topic that are the shard's.
    RemoveFiles { partitions: Arc<[PartitionId]>, removed: Reply<Result<(), String>> },
    /// Say how the replicas are.
    Report { reply: Reply<Vec<ReplicaReport>> },
    /// Carry out an operator's order. The partition is this shard's.
    Order { partition: PartitionId, order: Order, reply: Reply<Result<(), OrderError>> },
    /// Make everything durable, and end. The drain is over, on all shards.
    Stop,
}

/// What a shard tells the control thread by itself.
pub(crate) enum ShardEvent {
    /// It can serve. Its engine counts here.
    Ready(Arc<ShardMetrics>),
    /// After the drain began: it has no stream left, or has run out of patience.
    Drained,
    /// It has come to its end; everything acknowledged is durable.
    Stopped(Vec<CleanEntry>),
    /// It cannot go on, and neither can the process.
    Failed(String),
}

/// A shard's way to the control thread.
#[derive(Debug, Clone)]
pub(crate) struct ControlLink(Sender<ControlRequest>);

/// The control thread's side of all those.
pub(crate) type ControlRequests = Receiver<ControlRequest>;

/// The control thread is gone; the node is stopping.
#[derive(Debug, thiserror::Error)]
#[error("the node is stopping")]
pub(crate) struct ControlGone;

impl ControlLink {
    /// Both sides.
    pub(crate) fn new() -> (Self, ControlRequests) {
        let (sender, receiver) = async_channel::bounded(CONTROL_REQUESTS_MAX);
        (Self(sender), receiver)
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask<T>(
        &self,
        request: impl FnOnce(Reply<T>) -> ControlRequest,
    ) -> Result<T, ControlGone> {
        let (reply, answer) = Reply::new();
        self.0.send(request(reply)).await.map_err(|_closed| ControlGone)?;
        answer.recv().await.map_err(|_closed| ControlGone)
    }
}

/// What all shards of a node say of their replicas.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeReport {
    pub(crate) replicas: Vec<ReplicaReport>,
    /// Shards that did not answer in time.
    pub(crate) silent_shards: u32,
}

/// How long a shard may take to say how its replicas are.
const REPORT_PATIENCE: Duration = Duration::from_secs(1);

/// Asks every shard of its replicas. On the control thread.
pub(crate) async fn report(shards: &[ShardLink]) -> NodeReport {
    let asked = shards.iter().map(|shard| async {
        let (reply, answer) = Reply::new();
        let asked = async {
            shard.send(ShardCommand::Report { reply }).await;
            answer.recv().await.ok()
        };
        tokio::time::timeout(REPORT_PATIENCE, asked).await.ok().flatten()
    });
    let mut report = NodeReport::default();
    for of_shard in join_all(asked).await {
        match of_shard {
            Some(replicas) => report.replicas.extend(replicas),
            None => report.silent_shards += 1,
        }
    }
    report
}

/// The control thread's way to one shard. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct ShardLink(Sender<ShardCommand>);

/// The shard's side of that.
pub(crate) type ShardCommands = Receiver<ShardCommand>;

impl ShardLink {
    /// Both sides.
    pub(crate) fn new() -> (Self, ShardCommands) {
        let (sender, receiver) = async_channel::bounded(SHARD_COMMANDS_MAX);
        (Self(sender), receiver)
    }

    /// Sends a command. A shard that is gone has said why in an event.
    pub(crate) async fn send(&self, command: ShardCommand) {
        self.0.send(command).await.ok();
    }
}

/// A future that is polled on a shard and may start tasks on the control thread, as libraries do that
/// take tokio for granted.
pub(crate) struct WithControlRuntime<F> {
    runtime: Handle,
    future: Pin<Box<F>>,
}

impl<F> WithControlRuntime<F> {
    pub(crate) fn new(runtime: Handle, future: F) -> Self {
        Self { runtime, future: Box::pin(future) }
    }
}

impl<F: Future> Future for WithControlRuntime<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let _entered = this.runtime.enter();
        this.future.as_mut().poll(cx)
    }
}
