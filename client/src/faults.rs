//! Faults on purpose, at a node that was started with `faults.enabled`. A fault belongs to the node that is
//! asked, so a client for this is given that one endpoint alone.

use std::time::Duration;

use forebay_format::NodeId;
use forebay_proto::v1::{self, fault_service_client::FaultServiceClient};
use tonic::transport::Channel;

use crate::{
    asking::{Changes, ask},
    client::Client,
    operator::OperateError,
};

/// How long the node may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Which messages a fault is for, as its node sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultDirection {
    /// Those that come.
    In,
    /// Those that are sent.
    Out,
    /// All of them.
    Both,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// Messages between the node and a peer are late, and what is behind them waits too.
    Delay {
        /// The peer.
        peer: NodeId,
        /// Which of them.
        direction: FaultDirection,
        /// How late, up to a minute.
        by: Duration,
    },
    /// They are kept back until the last of them is there, or the fault is cleared.
    Pause {
        /// The peer.
        peer: NodeId,
        /// Which of them.
        direction: FaultDirection,
    },
    /// They are swallowed.
    Drop {
        /// The peer.
        peer: NodeId,
        /// Which of them.
        direction: FaultDirection,
    },
    /// The next fdatasync of a segment fails, and the node ends.
    Fsync,
}

/// A fault of a node.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Of this life of the node.
    pub id: u64,
    /// What goes wrong; `None` when this client is too old to know.
    pub kind: Option<FaultKind>,
    /// For how many messages, or calls of fdatasync.
    pub count: u32,
    /// How many of them are still to come.
    pub left: u32,
}

/// The calls, made with the connections of a [`Client`].
#[derive(Debug, Clone)]
pub struct Faults {
    client: Client,
}

impl Faults {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// From now on, this goes wrong so many times.
    ///
    /// # Errors
    /// When nobody answers, or the node refuses: `Unimplemented` where faults are not enabled.
    pub async fn inject(&self, kind: FaultKind, count: u32) -> Result<Fault, OperateError> {
        let request = v1::InjectFaultRequest { fault: Some(to_wire(kind, count)) };
        let call = |channel: Channel, request| async move {
            FaultServiceClient::new(channel).inject_fault(request).await
        };
        let answer = ask(&self.client, (Changes::Something, TIMEOUT), request, call).await?;
        Ok(answer.fault.unwrap_or_default().into())
    }

    /// The node that has answered, and its faults, oldest first.
    ///
    /// # Errors
    /// As of [`Faults::inject`].
    pub async fn list(&self) -> Result<(NodeId, Vec<Fault>), OperateError> {
        let call = |channel: Channel, request| async move {
            FaultServiceClient::new(channel).list_faults(request).await
        };
        let request = v1::ListFaultsRequest {};
        let answer = ask(&self.client, (Changes::Nothing, TIMEOUT), request, call).await?;
        let faults = answer.faults.into_iter().map(Into::into).collect();
        Ok((NodeId::new(answer.node_id), faults))
    }

    /// Nothing goes wrong any more; what is kept back goes on. Says how many faults there were.
    ///
    /// # Errors
    /// As of [`Faults::inject`].
    pub async fn clear(&self) -> Result<u32, OperateError> {
        let call = |channel: Channel, request| async move {
            FaultServiceClient::new(channel).clear_faults(request).await
        };
        let request = v1::ClearFaultsRequest {};
        let answer = ask(&self.client, (Changes::Something, TIMEOUT), request, call).await?;
        Ok(answer.cleared)
    }
}

fn to_wire(kind: FaultKind, count: u32) -> v1::Fault {
    use v1::FaultKind as Wire;
    let of = |wire: Wire, peer: NodeId, direction| {
        let direction = match direction {
            FaultDirection::In => v1::FaultDirection::In,
            FaultDirection::Out => v1::FaultDirection::Out,
            FaultDirection::Both => v1::FaultDirection::Both,
        };
        v1::Fault {
            kind: wire.into(),
            peer_node: Some(peer.get()),
            direction: direction.into(),
            count,
            ..v1::Fault::default()
        }
    };
    match kind {
        FaultKind::Delay { peer, direction, by } => {
            let delay_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            v1::Fault { delay_ms, ..of(Wire::Delay, peer, direction) }
        }
        FaultKind::Pause { peer, direction } => of(Wire::Pause, peer, direction),
        FaultKind::Drop { peer, direction } => of(Wire::Drop, peer, direction),
        FaultKind::Fsync => v1::Fault { kind: Wire::Fsync.into(), count, ..v1::Fault::default() },
    }
}

impl From<v1::Fault> for Fault {
    fn from(wire: v1::Fault) -> Self {
        use v1::FaultKind as Wire;
        let peer = NodeId::new(wire.peer_node.unwrap_or_default());
        let direction = match wire.direction() {
            v1::FaultDirection::In => FaultDirection::In,
            v1::FaultDirection::Out => FaultDirection::Out,
            v1::FaultDirection::Both | v1::FaultDirection::Unspecified => FaultDirection::Both,
        };
        let kind = match wire.kind() {
            Wire::Delay => {
                let by = Duration::from_millis(wire.delay_ms);
                Some(FaultKind::Delay { peer, direction, by })
            }
            Wire::Pause => Some(FaultKind::Pause { peer, direction }),
            Wire::Drop => Some(FaultKind::Drop { peer, direction }),
            Wire::Fsync => Some(FaultKind::Fsync),
            Wire::Unspecified => None,
        };
        Self { id: wire.fault_id, kind, count: wire.count, left: wire.left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_comes_back_as_it_was_sent() {
        let (peer, direction) = (NodeId::new(3), FaultDirection::Out);
        for kind in [
            FaultKind::Delay { peer, direction: FaultDirection::In, by: Duration::from_millis(7) },
            FaultKind::Pause { peer, direction },
            FaultKind::Drop { peer, direction: FaultDirection::Both },
            FaultKind::Fsync,
        ] {
            let back = Fault::from(to_wire(kind, 9));
            assert_eq!((back.kind, back.count), (Some(kind), 9));
        }
    }
}
