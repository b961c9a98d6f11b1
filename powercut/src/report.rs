//! What a campaign found: for programs as JSON, for people as a few lines.

use std::fmt;

use serde::Serialize;

use crate::recording::Recording;
use crate::trial::Outcome;

/// How much one recording has to cut into.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RecordingSummary {
    pub(crate) seed: u64,
    pub(crate) writes: usize,
    pub(crate) flushes: usize,
    pub(crate) written_bytes: u64,
    pub(crate) facts: usize,
}

impl RecordingSummary {
    pub(crate) fn of<F>(recording: &Recording<F>) -> Self {
        Self {
            seed: recording.seed,
            writes: recording.log.writes().len(),
            flushes: recording.log.flush_count(),
            written_bytes: recording.log.bytes(),
            facts: recording.facts.len(),
        }
    }
}

impl fmt::Display for RecordingSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, writes, flushes, written_bytes, facts } = self;
        let mib = written_bytes >> 20;
        write!(f, "recording {seed:016x}: {writes} writes ({mib} MiB), {flushes} flushes, ")?;
        write!(f, "{facts} facts")
    }
}

/// The whole campaign.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    seed: u64,
    cuts: usize,
    cuts_with_loss: usize,
    promises_checked: u64,
    recordings: Vec<RecordingSummary>,
    /// Those in which something was lost.
    losses: Vec<Outcome>,
}

impl Report {
    pub(crate) fn new(seed: u64) -> Self {
        let (recordings, losses) = (Vec::new(), Vec::new());
        Self { seed, cuts: 0, cuts_with_loss: 0, promises_checked: 0, recordings, losses }
    }

    pub(crate) fn add_recording(&mut self, summary: RecordingSummary) {
        self.recordings.push(summary);
    }

    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.cuts += 1;
        self.promises_checked += outcome.verdict.promises_checked;
        if !outcome.verdict.losses.is_empty() {
            self.cuts_with_loss += 1;
            self.losses.push(outcome);
        }
    }

    pub(crate) fn cuts(&self) -> usize {
        self.cuts
    }

    pub(crate) fn has_losses(&self) -> bool {
        self.cuts_with_loss > 0
    }

    pub(crate) fn promises_checked(&self) -> u64 {
        self.promises_checked
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, cuts, cuts_with_loss, promises_checked, .. } = self;
        write!(f, "{cuts} power cuts (seed {seed}): {promises_checked} promises checked, ")?;
        match cuts_with_loss {
            0 => write!(f, "nothing lost"),
            some => write!(f, "LOSS in {some}"),
        }
    }
}

/// Losses of one cut that are shown to people; JSON has them all.
const LOSSES_SHOWN_MAX: usize = 10;

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { recording_seed, seed, cut, log_end, leniency, verdict, kept } = self;
        write!(f, "cut {seed:016x} of recording {recording_seed:016x} at {cut}/{log_end}, ")?;
        write!(f, "{leniency}: {} promises checked", verdict.promises_checked)?;
        for loss in verdict.losses.iter().take(LOSSES_SHOWN_MAX) {
            write!(f, "\n  {loss}")?;
        }
        if let Some(more) = verdict.losses.len().checked_sub(LOSSES_SHOWN_MAX + 1) {
            write!(f, "\n  and {} more", more + 1)?;
        }
        if let Some(kept) = kept {
            write!(f, "\n  kept in {}", kept.display())?;
        }
        Ok(())
    }
}
