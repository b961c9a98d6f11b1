//! `forebay cluster members`.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use forebay_client::{ClusterMember, NodeHealth};
use serde::Serialize;

use super::looking::look;
use crate::{
    arguments::Look,
    client::connect,
    failure::Failure,
    output::{Report, Table},
    trouble,
};

#[derive(Debug, Serialize)]
struct Members {
    members: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    node: u32,
    address: String,
    health: &'static str,
    registered: bool,
    answers: bool,
    silent_ms: Option<u64>,
    version: String,
    shards: u32,
    replicas: u32,
    leads: u32,
    lease_margin_ms: Option<u64>,
    lag_records: u64,
}

pub(super) async fn run(arguments: Look) -> Result<(), Failure> {
    let operator = connect(&arguments.connect)?.operator();
    look(&arguments, async || {
        let members = operator.members().await.map_err(|error| trouble::operating(&error))?;
        Ok(Members { members: members.into_iter().map(Line::from).collect() })
    })
    .await
    .map(drop)
}

const fn word(health: NodeHealth) -> &'static str {
    match health {
        NodeHealth::Healthy => "healthy",
        NodeHealth::Suspected => "suspected",
        NodeHealth::Unhealthy => "unhealthy",
        NodeHealth::Unknown => "unknown",
    }
}

impl From<ClusterMember> for Line {
    fn from(member: ClusterMember) -> Self {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self {
            node: member.id.get(),
            address: member.address,
            health: word(member.health),
            registered: member.registered,
            answers: member.answers,
            silent_ms: member.silent.map(millis),
            version: member.version,
            shards: member.shards,
            replicas: member.replicas,
            leads: member.leads,
            lease_margin_ms: member.lease_margin.map(millis),
            lag_records: member.lag_records,
        }
    }
}

impl Report for Members {
    fn text(&self, wide: bool, out: &mut String) -> fmt::Result {
        let mut table = Table::with_heading([
            "NODE", "ADDRESS", "HEALTH", "ANSWERS", "LEADS", "REPLICAS", "LAG", "LEASE", "SILENT",
            "VERSION", "SHARDS",
        ]);
        let span = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
        for member in &self.members {
            let told =
                |number: u64| if member.answers { number.to_string() } else { "-".to_owned() };
            let lease =
                if member.registered { span(member.lease_margin_ms) } else { "none".into() };
            table.row([
                member.node.to_string(),
                member.address.clone(),
                member.health.to_owned(),
                if member.answers { "yes" } else { "no" }.to_owned(),
                told(member.leads.into()),
                told(member.replicas.into()),
                told(member.lag_records),
                lease,
                span(member.silent_ms),
                if member.answers { member.version.clone() } else { "-".to_owned() },
                told(member.shards.into()),
            ]);
        }
        if !wide {
            for column in ["LEASE", "SILENT", "VERSION", "SHARDS"] {
                table.drop_column(column);
            }
        }
        write!(out, "{table}")
    }
}
