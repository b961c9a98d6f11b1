//! What happened, line by line, for people; and one number that differs when anything differs.

use std::fmt::Write as _;

use forebay_format::NodeId;
use forebay_replication::{Action, Event, LogEvent, LogState, Message};

/// A transcript, kept only when somebody wants it: writing it takes longer than running the world.
#[derive(Debug, Default)]
pub struct Transcript {
    text: Option<String>,
}

impl Transcript {
    /// None is kept.
    pub const fn none() -> Self {
        Self { text: None }
    }

    /// One is kept.
    pub const fn kept() -> Self {
        Self { text: Some(String::new()) }
    }

    /// All of it; empty when none was kept.
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// A number (FNV-1a) that tells two transcripts apart.
    pub fn fingerprint(&self) -> u64 {
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        self.text().bytes().fold(0xcbf2_9ce4_8422_2325, step)
    }

    /// Something that happened to a node.
    pub(crate) fn note(&mut self, at_ms: u64, node: NodeId, what: impl FnOnce() -> String) {
        if let Some(text) = &mut self.text {
            // Writing to a string cannot fail.
            let _written = writeln!(text, "{at_ms:>7}  {node}     {}", what());
        }
    }

    /// Something that happened to the world.
    pub(crate) fn world(&mut self, at_ms: u64, what: impl FnOnce() -> String) {
        if let Some(text) = &mut self.text {
            let _written = writeln!(text, "{at_ms:>7}  -     {}", what());
        }
    }

    /// An event that a replica is handed.
    pub(crate) fn event(&mut self, at_ms: u64, node: NodeId, event: &Event) {
        self.note(at_ms, node, || match event {
            Event::Message(from, message) => format!("<- {from} {}", brief(message)),
            Event::Log(LogEvent::CutDone(log)) => format!("<- cut done, {}", ends_of(log)),
            Event::Log(LogEvent::ResetDone(log)) => format!("<- reset done, {}", ends_of(log)),
            other => format!("<- {other:?}"),
        });
    }

    /// What it wants done.
    pub(crate) fn action(&mut self, at_ms: u64, node: NodeId, action: &Action) {
        self.note(at_ms, node, || match action {
            Action::Send(to, message) => format!("   -> {to} {}", brief(message)),
            Action::SendBatches { to, after, envelope, .. } => {
                format!("   -> {to} batches after {after} in {}", brief(envelope))
            }
            Action::Append(batches) => format!("   append {}", batches_of(batches)),
            Action::Cut(at) => format!("   cut to {at}"),
            Action::Reset(log) => format!("   reset, {}", ends_of(log)),
            other => format!("   {other:?}"),
        });
    }
}

fn batches_of(batches: &[forebay_replication::BatchMeta]) -> String {
    let one = |batch: &forebay_replication::BatchMeta| {
        if batch.client.control {
            format!("start of {}", batch.position())
        } else {
            format!("{} (batch {})", batch.position(), crate::observer::batch_number(batch))
        }
    };
    format!("[{}]", batches.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// A log in brief. Its table of producers has no order that would be the same each time.
fn ends_of(log: &LogState) -> String {
    format!("the log is {} to {}", log.log_start, log.position())
}

/// A message without what only makes it long.
fn brief(message: &Message) -> String {
    match message {
        Message::Append { epoch, after, batches, committed, log_start, .. } => format!(
            "Append of {epoch} after {after}: {}, committed {committed}, log start {log_start}",
            batches_of(batches)
        ),
        Message::Fetched { epoch, after, batches, .. } => {
            format!("Fetched for {epoch} after {after}: {}", batches_of(batches))
        }
        Message::Fenced { epoch, report } => format!(
            "Fenced for {epoch}: {} at {}, from {}, committed {}",
            report.replica, report.position, report.log_start, report.committed
        ),
        Message::Start { epoch, asked, at } => {
            format!("Start of {epoch} at {}, asked {asked}", at.position())
        }
        other => format!("{other:?}"),
    }
}
