//! `FaultService`: faults on purpose, where they are enabled.

use std::rc::Rc;
use std::time::Duration;

use forebay_format::NodeId;
use forebay_proto::v1;
use forebay_proto::v1::fault_service_server::FaultService;
use send_wrapper::SendWrapper;
use tonic::{Request, Response, Status};

use super::services::Services;
use super::status::{Failure, Refusal};
use crate::faults::{Directions, Fault, FaultKind, FaultSpec, Faults};

/// The longest that a message can be told to be late.
const DELAY_MAX: Duration = Duration::from_mins(1);

/// The service of one shard. Never leaves the shard, whatever the generated code asks for.
pub(super) struct FaultApi {
    services: SendWrapper<Rc<Services>>,
    faults: Faults,
}

impl FaultApi {
    pub(super) fn new(services: Rc<Services>, faults: Faults) -> Self {
        Self { services: SendWrapper::new(services), faults }
    }

    fn inject(&self, wanted: &v1::Fault) -> Result<Fault, Refusal> {
        let kind = self.kind(wanted)?;
        if wanted.count == 0 {
            return Err(wrong("fault.count", "expected at least 1, found 0"));
        }
        let injected = self.faults.inject(FaultSpec { kind, count: wanted.count });
        injected.map_err(|error| wrong("fault", &error.to_string()))
    }

    fn kind(&self, wanted: &v1::Fault) -> Result<FaultKind, Refusal> {
        use v1::FaultKind as Wire;
        Ok(match Wire::try_from(wanted.kind) {
            Ok(Wire::Delay) => {
                let (peer, directions) = (self.peer(wanted)?, directions(wanted)?);
                FaultKind::Delay { peer, directions, by: delay(wanted.delay_ms)? }
            }
            Ok(Wire::Pause) => {
                FaultKind::Pause { peer: self.peer(wanted)?, directions: directions(wanted)? }
            }
            Ok(Wire::Drop) => {
                FaultKind::Drop { peer: self.peer(wanted)?, directions: directions(wanted)? }
            }
            Ok(Wire::Fsync) => FaultKind::Fsync,
            Ok(Wire::Unspecified) | Err(_) => {
                return Err(wrong("fault.kind", "expected DELAY, PAUSE, DROP or FSYNC"));
            }
        })
    }

    /// The other node, which must be there: a fault that nobody meets helps nobody.
    fn peer(&self, wanted: &v1::Fault) -> Result<NodeId, Refusal> {
        if self.services.replicas.is_none() {
            return Err(Refusal::Alone);
        }
        let own = self.services.facts.node.id;
        let nodes: Vec<NodeId> = self.services.watch.borrow().nodes.keys().copied().collect();
        let peer = wanted.peer_node.map(NodeId::new);
        peer.filter(|peer| *peer != own && nodes.contains(peer)).ok_or_else(|| {
            let others = nodes.iter().filter(|node| **node != own).map(ToString::to_string);
            let others = others.collect::<Vec<_>>().join(", ");
            let found = peer.map_or_else(|| "none".to_owned(), |peer| peer.to_string());
            let message = format!("expected another node of the cluster ({others}), found {found}");
            Refusal::Request { field: "fault.peer_node", message }
        })
    }
}

fn wrong(field: &'static str, message: &str) -> Refusal {
    Refusal::Request { field, message: message.to_owned() }
}

fn delay(ms: u64) -> Result<Duration, Refusal> {
    let by = Duration::from_millis(ms);
    if by.is_zero() || by > DELAY_MAX {
        let message = format!("expected 1 to {} ms, found {ms}", DELAY_MAX.as_millis());
        return Err(wrong("fault.delay_ms", &message));
    }
    Ok(by)
}

fn directions(wanted: &v1::Fault) -> Result<Directions, Refusal> {
    use v1::FaultDirection as Wire;
    match Wire::try_from(wanted.direction) {
        Ok(Wire::In) => Ok(Directions::In),
        Ok(Wire::Out) => Ok(Directions::Out),
        Ok(Wire::Both) => Ok(Directions::Both),
        Ok(Wire::Unspecified) | Err(_) => Err(wrong("fault.direction", "expected IN, OUT or BOTH")),
    }
}

fn to_wire(fault: &Fault) -> v1::Fault {
    use v1::FaultKind as Wire;
    let of = |kind: Wire, peer: NodeId, directions: Directions, by: Duration| {
        let direction = match directions {
            Directions::In => v1::FaultDirection::In,
            Directions::Out => v1::FaultDirection::Out,
            Directions::Both => v1::FaultDirection::Both,
        };
        v1::Fault {
            kind: kind.into(),
            peer_node: Some(peer.get()),
            direction: direction.into(),
            delay_ms: u64::try_from(by.as_millis()).unwrap_or(u64::MAX),
            ..v1::Fault::default()
        }
    };
    let described = match fault.spec.kind {
        FaultKind::Delay { peer, directions, by } => of(Wire::Delay, peer, directions, by),
        FaultKind::Pause { peer, directions } => of(Wire::Pause, peer, directions, Duration::ZERO),
        FaultKind::Drop { peer, directions } => of(Wire::Drop, peer, directions, Duration::ZERO),
        FaultKind::Fsync => v1::Fault { kind: Wire::Fsync.into(), ..v1::Fault::default() },
    };
    v1::Fault { fault_id: fault.id, count: fault.spec.count, left: fault.left, ..described }
}

#[tonic::async_trait]
impl FaultService for FaultApi {
    async fn inject_fault(
        &self,
        request: Request<v1::InjectFaultRequest>,
    ) -> Result<Response<v1::InjectFaultResponse>, Status> {
        let wanted = request.into_inner().fault.unwrap_or_default();
        match self.inject(&wanted) {
            Ok(fault) => {
                Ok(Response::new(v1::InjectFaultResponse { fault: Some(to_wire(&fault)) }))
            }
            Err(refusal) => Err(Failure::from(refusal).into_status()),
        }
    }

    async fn list_faults(
        &self,
        _: Request<v1::ListFaultsRequest>,
    ) -> Result<Response<v1::ListFaultsResponse>, Status> {
        let faults = self.faults.list().iter().map(to_wire).collect();
        let node_id = self.services.facts.node.id.get();
        Ok(Response::new(v1::ListFaultsResponse { node_id, faults }))
    }

    async fn clear_faults(
        &self,
        _: Request<v1::ClearFaultsRequest>,
    ) -> Result<Response<v1::ClearFaultsResponse>, Status> {
        let cleared = u32::try_from(self.faults.clear()).unwrap_or(u32::MAX);
        Ok(Response::new(v1::ClearFaultsResponse { cleared }))
    }
}
