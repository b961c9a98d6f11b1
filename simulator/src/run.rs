//! One seed, from its profile to the judgement.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use forebay_checker::{Violation, check};
use forebay_replication::Mutation;

use crate::faults::Coverage;
use crate::profile::Profile;
use crate::random::Random;
use crate::transcript::Transcript;
use crate::world::World;

/// What is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Decides everything.
    pub seed: u64,
    /// A rule that is switched off.
    pub mutation: Option<Mutation>,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Broken invariants.
    pub violations: Vec<Violation>,
    /// What a replica said when it found that it cannot go on. Only seen where panics unwind.
    pub panic: Option<String>,
    /// Alarms of replicas that no fault explains.
    pub alarms: Vec<String>,
    /// Which fault met which role.
    pub coverage: Coverage,
    /// Events that replicas were handed.
    pub events: u64,
    /// Faults.
    pub faults: u64,
    /// Calls of clients.
    pub operations: u64,
    /// What happened, if that was wanted.
    pub transcript: Transcript,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.alarms.is_empty() && self.panic.is_none()
    }

    /// What shows that something is wrong, in a word: an assertion, an alarm, or the first invariant.
    pub fn caught_by(&self) -> Option<String> {
        if self.panic.is_some() {
            return Some("assertion".to_owned());
        }
        if !self.alarms.is_empty() {
            return Some("alarm".to_owned());
        }
        self.violations.first().map(|violation| violation.invariant.to_string())
    }

    /// What is wrong, for people, the most telling first.
    pub fn complaints(&self) -> Vec<String> {
        let panic = self.panic.iter().map(|panic| format!("panic: {panic}"));
        let alarms = self.alarms.iter().map(|alarm| format!("alarm: {alarm}"));
        panic.chain(alarms).chain(self.violations.iter().map(ToString::to_string)).collect()
    }
}

impl Run {
    /// A seed with every rule in force.
    pub const fn seed(seed: u64) -> Self {
        Self { seed, mutation: None }
    }

    /// Runs it.
    pub fn run(self) -> Report {
        self.run_with(Transcript::none())
    }

    /// Runs it and keeps a transcript, which takes longer. All else is the same.
    pub fn replay(self) -> Report {
        self.run_with(Transcript::kept())
    }

    fn run_with(self, transcript: Transcript) -> Report {
        let mut profile = Profile::draw(&mut Random::new(self.seed));
        profile.config.mutation = self.mutation;
        let mut world = World::new(self.seed, profile, transcript);
        let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
        Report {
            seed: self.seed,
            violations: if world.sabotaged { Vec::new() } else { check(world.history()) },
            panic: ran.err().map(|payload| said_by(payload.as_ref())),
            alarms: world.alarms,
            coverage: world.coverage,
            events: world.events,
            faults: world.faults,
            operations: world.clients.operations(),
            transcript: world.transcript,
        }
    }
}

fn said_by(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default()
}
