//! All ways of a shard to other nodes, and what keeps each of them open (R14).

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use forebay_format::{ClusterId, NodeId};
use forebay_proto::v1;
use forebay_replication::health::reconnect_delay_ms;
use http_body::Body;
use hyper::body::Incoming;

use super::directory::Directory;
use super::link::{Batches, Destination, Link};
use super::metrics::ReplicationMetrics;
use super::passage::Passage;
use crate::faults::{Faults, Way};
use crate::net::{self, CallError, PeerConnection, ResponseBody};
use crate::operations::HealthWatch;

const REPLICATE: &str = "/forebay.v1.ReplicationService/Replicate";

/// See the module. Clones are the same.
#[derive(Clone)]
pub(super) struct Links(Rc<Inner>);

struct Inner {
    cluster: ClusterId,
    node: NodeId,
    directory: Directory,
    /// How other nodes seem (R15).
    health: HealthWatch,
    links: RefCell<HashMap<Destination, Rc<Link>>>,
    /// Where faults are enabled.
    faults: Option<(Faults, Arc<ReplicationMetrics>)>,
    passages: RefCell<HashMap<Destination, Rc<Passage<Outgoing>>>>,
    /// Is told when a way to a node broke.
    lost: Box<dyn Fn(NodeId)>,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("nobody has said where node {0} is")]
    Unknown(NodeId),
    #[error("{0}")]
    Call(#[from] CallError),
    #[error("the node refuses: {0}")]
    Refused(String),
    #[error("the node has ended the stream")]
    Ended,
}

/// What is sent to another node, where faults may lie on the way.
type Outgoing = (v1::PeerMessage, Batches);

impl Links {
    /// None yet. `lost` is told of each that breaks.
    pub(super) fn new(
        (cluster, node): (ClusterId, NodeId),
        directory: Directory,
        health: HealthWatch,
        faults: Option<(Faults, Arc<ReplicationMetrics>)>,
        lost: impl Fn(NodeId) + 'static,
    ) -> Self {
        let (links, passages, lost) = (RefCell::default(), RefCell::default(), Box::new(lost));
        Self(Rc::new(Inner { cluster, node, directory, health, links, faults, passages, lost }))
    }

    /// The way there. It is made on first use, and kept open from then on.
    pub(super) fn to(&self, destination: Destination) -> Rc<Link> {
        if let Some(link) = self.0.links.borrow().get(&destination) {
            return Rc::clone(link);
        }
        let link = Rc::new(Link::new(destination));
        self.0.links.borrow_mut().insert(destination, Rc::clone(&link));
        net::spawn(keep_open(Rc::clone(&self.0), Rc::clone(&link)));
        link
    }

    /// Sends a message and the batches that go with it.
    pub(super) fn send(&self, to: Destination, message: v1::PeerMessage, batches: Batches) {
        let link = self.to(to);
        match self.passage(to, &link) {
            None => link.send(&message, batches),
            Some(passage) => passage.pass((message, batches)),
        }
    }

    fn passage(&self, to: Destination, link: &Rc<Link>) -> Option<Rc<Passage<Outgoing>>> {
        let faults = self.0.faults.as_ref()?;
        let mut passages = self.0.passages.borrow_mut();
        let passage = passages.entry(to).or_insert_with(|| {
            let link = Rc::clone(link);
            Passage::new(faults.clone(), to.node, Way::Out, move |(message, batches)| {
                link.send(&message, batches);
            })
        });
        Some(Rc::clone(passage))
    }

    /// Where nodes are.
    pub(super) fn directory(&self) -> &Directory {
        &self.0.directory
    }
}

/// Opens a way again whenever it breaks, after a while.
async fn keep_open(inner: Rc<Inner>, link: Rc<Link>) {
    let mut failed = 0;
    loop {
        let mut began = false;
        let Err(error) = run(&inner, &link, &mut began).await;
        link.close();
        if let Some(passage) = inner.passages.borrow().get(&link.to) {
            passage.clear();
        }
        (inner.lost)(link.to.node);
        failed = if began { 0 } else { failed + 1 };
        if failed == 1 || began {
            tracing::info!(node = %link.to.node, shard = link.to.shard, %error, "the way to a node is down");
        }
        let delay = reconnect_delay_ms(failed, inner.health.health(link.to.node), jitter());
        // R15: one that answers again is not kept waiting.
        net::timeout(Duration::from_millis(delay), inner.health.recovered(link.to.node)).await;
        link.open();
    }
}

/// Sends what queues until that is over.
async fn run(inner: &Inner, link: &Rc<Link>, began: &mut bool) -> Result<Infallible, LinkError> {
    let Destination { node, shard, .. } = link.to;
    let address = inner.directory.address(node, shard).await.ok_or(LinkError::Unknown(node))?;
    let mut connection = PeerConnection::open(address).await?;
    let hello = v1::PeerHello {
        cluster_id: bytes::Bytes::copy_from_slice(&inner.cluster.to_bytes()),
        from_node: inner.node.get(),
        to_node: node.get(),
    };
    let hello = v1::ReplicateRequest { hello: Some(hello), ..Default::default() };
    let body = ResponseBody::stream(link.stream(&hello));
    let response = connection.call(REPLICATE, body).await?;
    if let Some(status) = tonic::Status::from_header_map(response.headers()) {
        return Err(LinkError::Refused(status.message().to_owned()));
    }
    *began = true;
    Err(ended(response.into_body()).await)
}

/// Returns when the other side has ended its response, which it does when it takes no more.
async fn ended(mut response: Incoming) -> LinkError {
    loop {
        let frame = poll_fn(|cx| Pin::new(&mut response).poll_frame(cx)).await;
        let Some(Ok(frame)) = frame else { return LinkError::Ended };
        let status = frame.trailers_ref().and_then(tonic::Status::from_header_map);
        if let Some(status) = status.filter(|status| status.code() != tonic::Code::Ok) {
            return LinkError::Refused(status.message().to_owned());
        }
    }
}

/// Random, so that nodes do not come back in step.
fn jitter() -> u16 {
    let [first, second, ..] = forebay_format::ProducerId::random().to_bytes();
    u16::from_le_bytes([first, second])
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("links", &self.0.links.borrow().len()).finish_non_exhaustive()
    }
}
