//! What is said of a history that breaks an invariant.

use std::fmt;

use crate::history::{Event, FinalReplica, History};

/// One of the ten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// No acknowledged record is lost.
    I1,
    /// One value per committed offset.
    I2,
    /// No duplicate from an idempotent producer.
    I3,
    /// No gap in offsets.
    I4,
    /// A consumer's offsets only grow, and nothing is skipped.
    I5,
    /// Nothing refused is ever visible.
    I6,
    /// Every committed log is a prefix of one history.
    I7,
    /// Epoch, promise and mark never go back.
    I8,
    /// One committing leader per epoch.
    I9,
    /// Everything is caught up in bounded time.
    I10,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An event that shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Its place in the history.
    pub index: usize,
    /// Its time.
    pub at_ms: u64,
    /// What it was, for people.
    pub event: String,
}

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What is wrong, and where.
    pub what: String,
    /// The two events that cannot both be, in the order of the history.
    pub witnesses: [Witness; 2],
}

impl Violation {
    /// What is wrong, shown by the events at two places of `history`.
    pub(crate) fn new(
        invariant: Invariant,
        what: String,
        history: &History,
        witnesses: [usize; 2],
    ) -> Self {
        let mut witnesses = witnesses;
        witnesses.sort_unstable();
        Self { invariant, what, witnesses: witnesses.map(|index| Witness::of(history, index)) }
    }
}

impl Witness {
    fn of(history: &History, index: usize) -> Self {
        let (at_ms, event) = history.get(index).expect("a place in this history");
        Self { index, at_ms: *at_ms, event: describe(event) }
    }
}

/// An event in one line. Logs are told by their ends: in full they hide what matters.
fn describe(event: &Event) -> String {
    match event {
        Event::LogSeen { node, log } => {
            format!("log of node {node}: {} to {}", log.log_start, log.committed)
        }
        Event::Ended { replicas, .. } => {
            let ends = replicas.iter().map(|replica| {
                let FinalReplica { node, end, log } = replica;
                format!("node {node}: {} to {} of {end}", log.log_start, log.committed)
            });
            format!("the end: {}", ends.collect::<Vec<_>>().join(", "))
        }
        other => format!("{other:?}"),
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)?;
        for witness in &self.witnesses {
            write!(f, "\n  {:>8} ms  {}", witness.at_ms, witness.event)?;
        }
        Ok(())
    }
}
