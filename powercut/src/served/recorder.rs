//! Stamps facts as they happen, and collects them from wherever they do.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::fact::Fact;
use crate::disk::DiskClock;
use crate::subject::Stamped;

/// Takes facts. Clones write to the same history.
#[derive(Debug, Clone)]
pub(super) struct Recorder {
    clock: DiskClock,
    // Unbounded: a workload has an end, and whoever hears of an ack must not wait.
    facts: Sender<Stamped<Fact>>,
}

/// What recorders took.
#[derive(Debug)]
pub(super) struct History {
    facts: Receiver<Stamped<Fact>>,
}

impl Recorder {
    pub(super) fn new(clock: DiskClock) -> (Self, History) {
        let (sender, facts) = channel();
        (Self { clock, facts: sender }, History { facts })
    }

    /// Notes that this happens now: an answer that has just come, or a request about to be sent.
    pub(super) fn note(&self, fact: Fact) {
        let at = self.clock.now();
        self.facts.send(Stamped { at, fact }).expect("the history outlives its recorders");
    }
}

impl History {
    /// Everything so far, in order.
    pub(super) fn into_facts(self) -> Vec<Stamped<Fact>> {
        self.facts.try_iter().collect()
    }
}
