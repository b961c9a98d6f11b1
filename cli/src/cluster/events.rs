//! `forebay cluster events`.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

use forebay_client::{ClusterEvent, EventKind, NodeId, Operator};
use serde::Serialize;

use super::{
    looking::{EVERY, Trouble},
    nodes,
};
use crate::{
    arguments::{Events, Look},
    client::connect,
    failure::Failure,
    output::{self, Format, Report, Stdout},
    trouble,
};

/// Nodes have clocks of their own: what is told of late may have happened so long before what was told.
const LATE_MS: i64 = 60_000;

#[derive(Debug, Serialize)]
struct Happened {
    events: Vec<Line>,
    /// Nodes that were asked and did not answer.
    silent_nodes: Vec<u32>,
}

#[derive(Debug, Serialize)]
struct Line {
    /// The same for one event wherever it was seen.
    id: String,
    time_ms: i64,
    kind: &'static str,
    seen_by: u32,
    node: Option<u32>,
    topic: Option<String>,
    partition: Option<u32>,
    message: String,
}

pub(super) async fn run(arguments: Events) -> Result<(), Failure> {
    let Events { count, look } = arguments;
    let operator = connect(&look.connect)?.operator();
    if look.watch {
        return follow(&operator, &look, count).await;
    }
    let mut found = ask(&operator, 0).await?;
    found.events.drain(..skipped(&found.events, count));
    output::print(look.print.format, &found)
}

/// What is known since then.
async fn ask(operator: &Operator, since_ms: i64) -> Result<Happened, Failure> {
    let found = operator.events(since_ms).await.map_err(|error| trouble::operating(&error))?;
    let events = found.events.into_iter().map(Line::from).collect();
    let silent_nodes = found.silent.iter().map(|node| node.get()).collect();
    Ok(Happened { events, silent_nodes })
}

/// How many are left out when only the last `count` are wanted.
fn skipped(events: &[Line], count: Option<usize>) -> usize {
    count.map_or(0, |count| events.len().saturating_sub(count))
}

/// Prints each event once, as it is heard of; JSON in a line each.
async fn follow(operator: &Operator, look: &Look, count: Option<usize>) -> Result<(), Failure> {
    let (mut trouble, mut first) = (Trouble::default(), true);
    // By id, with their times: those that may be told of again, also when they were left out.
    let mut printed: BTreeMap<String, i64> = BTreeMap::new();
    loop {
        let newest = printed.values().copied().max().unwrap_or_default();
        let since_ms = newest.saturating_sub(LATE_MS).max(0);
        if let Some(found) = trouble.unless(ask(operator, since_ms).await) {
            let new = found.events.into_iter().filter(|event| !printed.contains_key(&event.id));
            let new: Vec<Line> = new.collect();
            let told = skipped(&new, count.filter(|_| first));
            first = false;
            print(look.print.format, &new[told..])?;
            printed.retain(|_, time_ms| *time_ms >= since_ms);
            printed.extend(new.into_iter().map(|event| (event.id, event.time_ms)));
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn print(format: Format, events: &[Line]) -> Result<(), Failure> {
    let mut stdout = Stdout::new()?;
    for event in events {
        let text = match format {
            Format::Text | Format::Wide => event.to_string() + "\n",
            Format::Json => {
                serde_json::to_string(event).expect("events hold nothing that JSON cannot say")
                    + "\n"
            }
            Format::Yaml => "---\n".to_owned() + &output::yaml(event),
        };
        stdout.buffer().extend_from_slice(text.as_bytes());
    }
    stdout.flush()
}

const fn word(kind: EventKind) -> &'static str {
    match kind {
        EventKind::NodeJoined => "node_joined",
        EventKind::NodeLeft => "node_left",
        EventKind::NodeHealth => "node_health",
        EventKind::LeaderChanged => "leader_changed",
        EventKind::LeaderLost => "leader_lost",
        EventKind::LeaderTransferred => "leader_transferred",
        EventKind::UncleanElection => "unclean_election",
        EventKind::InSyncChanged => "in_sync_changed",
        EventKind::Alarm => "alarm",
        EventKind::Unknown => "unknown",
    }
}

impl From<ClusterEvent> for Line {
    fn from(event: ClusterEvent) -> Self {
        let (topic, partition) = event.partition.unzip();
        Self {
            id: event.id,
            time_ms: event.time_ms,
            kind: word(event.kind),
            seen_by: event.seen_by.get(),
            node: event.node.map(NodeId::get),
            topic,
            partition,
            message: event.message,
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {:18}  ", utc(self.time_ms), self.kind)?;
        if let (Some(topic), Some(partition)) = (&self.topic, self.partition) {
            write!(f, "{topic}/{partition}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl Report for Happened {
    fn text(&self, _wide: bool, out: &mut String) -> fmt::Result {
        self.events.iter().try_for_each(|event| writeln!(out, "{event}"))?;
        if !self.silent_nodes.is_empty() {
            writeln!(out, "({} did not answer and may know of more)", nodes(&self.silent_nodes))?;
        }
        Ok(())
    }
}

/// `2026-11-21T22:08:13.042Z`.
fn utc(time_ms: i64) -> String {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    let (days, ms) = (time_ms.div_euclid(DAY_MS), time_ms.rem_euclid(DAY_MS));
    // Howard Hinnant's `civil_from_days`: years begin in March, so that the leap day is the last.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    let ms = ms % 1000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_write_them() {
        for (time_ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_299_293_042, "2026-11-21T22:14:53.042Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(utc(time_ms), expected);
        }
    }
}
