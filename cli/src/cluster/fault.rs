//! `forebay cluster fault …`: has something go wrong at one node on purpose.

use std::fmt::{self, Write};

use forebay_client::{Fault, FaultDirection, FaultKind, Faults, NodeId, OperateError};
use serde::Serialize;

use crate::{
    arguments::{self, Direction, FaultOf, Messages},
    client::connect,
    failure::Failure,
    output::{self, Report, Table},
    trouble,
};

#[derive(Debug, Serialize)]
struct Injected {
    fault: Line,
}

#[derive(Debug, Serialize)]
struct Listed {
    node: u32,
    faults: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Cleared {
    cleared: u32,
}

#[derive(Debug, Serialize)]
struct Line {
    id: u64,
    kind: &'static str,
    peer: Option<u32>,
    direction: Option<&'static str>,
    count: u32,
    left: u32,
    delay_ms: Option<u64>,
}

pub(super) async fn run(fault: arguments::Fault) -> Result<(), Failure> {
    match fault {
        arguments::Fault::Delay { messages, delay } => {
            let (peer, direction) = of(&messages);
            inject(FaultKind::Delay { peer, direction, by: delay }, &messages.fault).await
        }
        arguments::Fault::Pause(messages) => {
            let (peer, direction) = of(&messages);
            inject(FaultKind::Pause { peer, direction }, &messages.fault).await
        }
        arguments::Fault::Drop(messages) => {
            let (peer, direction) = of(&messages);
            inject(FaultKind::Drop { peer, direction }, &messages.fault).await
        }
        arguments::Fault::Fsync(fault) => inject(FaultKind::Fsync, &fault).await,
        arguments::Fault::List(asked) => {
            let (node, faults) = one(&asked.connect)?.list().await.map_err(|e| refused(&e))?;
            let faults = faults.into_iter().map(Line::from).collect();
            output::print(asked.print.format, &Listed { node: node.get(), faults })
        }
        arguments::Fault::Clear(asked) => {
            let cleared = one(&asked.connect)?.clear().await.map_err(|e| refused(&e))?;
            output::print(asked.print.format, &Cleared { cleared })
        }
    }
}

fn of(messages: &Messages) -> (NodeId, FaultDirection) {
    let direction = match messages.direction {
        Direction::In => FaultDirection::In,
        Direction::Out => FaultDirection::Out,
        Direction::Both => FaultDirection::Both,
    };
    (NodeId::new(messages.peer), direction)
}

async fn inject(kind: FaultKind, fault: &FaultOf) -> Result<(), Failure> {
    let faults = one(&fault.asked.connect)?;
    let injected = faults.inject(kind, fault.count).await.map_err(|error| refused(&error))?;
    output::print(fault.asked.print.format, &Injected { fault: injected.into() })
}

/// A fault is of one node, so that one must be named.
fn one(named: &arguments::Connect) -> Result<Faults, Failure> {
    if named.endpoint.len() != 1 {
        let message = format!("expected one endpoint, found {}", named.endpoint.len());
        return Err(
            Failure::usage(message).hint("A fault is of one node: name it with --endpoint.")
        );
    }
    Ok(connect(named)?.faults())
}

fn refused(error: &OperateError) -> Failure {
    match error {
        OperateError::Refused(refusal) if refusal.reason == "UNIMPLEMENTED" => {
            Failure::error("this node takes no faults").hint(
                "Only one that is started with faults.enabled does (FOREBAY_FAULTS__ENABLED=true). Never where \
                 records are to be kept.",
            )
        }
        error => trouble::operating(error),
    }
}

impl From<Fault> for Line {
    fn from(fault: Fault) -> Self {
        let word = |direction| match direction {
            FaultDirection::In => "in",
            FaultDirection::Out => "out",
            FaultDirection::Both => "both",
        };
        let (kind, of, delay) = match fault.kind {
            Some(FaultKind::Delay { peer, direction, by }) => {
                ("delay", Some((peer, direction)), Some(by))
            }
            Some(FaultKind::Pause { peer, direction }) => ("pause", Some((peer, direction)), None),
            Some(FaultKind::Drop { peer, direction }) => ("drop", Some((peer, direction)), None),
            Some(FaultKind::Fsync) => ("fsync", None, None),
            None => ("unknown", None, None),
        };
        Self {
            id: fault.id,
            kind,
            peer: of.map(|(peer, _)| peer.get()),
            direction: of.map(|(_, direction)| word(direction)),
            count: fault.count,
            left: fault.left,
            delay_ms: delay.map(|by| u64::try_from(by.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

impl Report for Injected {
    fn text(&self, _wide: bool, out: &mut String) -> fmt::Result {
        let Line { id, kind, count, .. } = &self.fault;
        let what = if *kind == "fsync" { "calls of fdatasync" } else { "messages" };
        writeln!(out, "fault {id}: {kind}, the next {count} {what}")
    }
}

impl Report for Listed {
    fn text(&self, _wide: bool, out: &mut String) -> fmt::Result {
        if self.faults.is_empty() {
            return writeln!(out, "node {}: no faults", self.node);
        }
        let mut table =
            Table::with_heading(["FAULT", "KIND", "PEER", "DIRECTION", "COUNT", "LEFT", "DELAY"]);
        for fault in &self.faults {
            table.row([
                fault.id.to_string(),
                fault.kind.to_owned(),
                fault.peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string()),
                fault.direction.unwrap_or("-").to_owned(),
                fault.count.to_string(),
                fault.left.to_string(),
                fault.delay_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms")),
            ]);
        }
        write!(out, "{table}")
    }
}

impl Report for Cleared {
    fn text(&self, _wide: bool, out: &mut String) -> fmt::Result {
        writeln!(out, "{} faults cleared", self.cleared)
    }
}
