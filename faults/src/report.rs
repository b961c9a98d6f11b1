//! What a run tells: a table of scenarios.

use std::fmt;

use crate::run::Verdict;
use crate::scenario::Scenario;

/// A row per scenario.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<(Scenario, Verdict)>,
}

impl Table {
    pub(crate) fn add(&mut self, scenario: &Scenario, verdict: Verdict) {
        self.rows.push((*scenario, verdict));
    }

    /// Whether a scenario showed something wrong.
    pub(crate) fn has_failures(&self) -> bool {
        self.rows.iter().any(|(_, verdict)| !is_well(verdict))
    }

    /// Whether a scenario could not run here.
    pub(crate) fn has_gaps(&self) -> bool {
        self.rows.iter().any(|(_, verdict)| matches!(verdict, Verdict::NotRun(_)))
    }
}

/// Whether it is as it should be, as far as it ran.
pub(crate) fn is_well(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Judged(outcome) => outcome.problems.is_empty(),
        Verdict::Broken(_) => false,
        Verdict::NotRun(_) => true,
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<28} {:>7} {:>7} {:>7} {:>7} {:>6} {:>9} {:>7} {:>10}  ",
            "scenario",
            "acked",
            "read",
            "refused",
            "unknown",
            "faults",
            "elections",
            "seconds",
            "violations"
        )?;
        for (scenario, verdict) in &self.rows {
            match verdict {
                Verdict::Judged(outcome) => {
                    let word = if is_well(verdict) { "ok" } else { "FAILED" };
                    writeln!(
                        f,
                        "{:<28} {:>7} {:>7} {:>7} {:>7} {:>6} {:>9} {:>7.1} {:>10}  {word}",
                        scenario.name,
                        outcome.acknowledged,
                        outcome.read,
                        outcome.refused,
                        outcome.indeterminate + outcome.unknown,
                        outcome.faults.values().sum::<u64>(),
                        outcome.elections,
                        outcome.seconds,
                        outcome.violations,
                    )?;
                }
                Verdict::Broken(_) => writeln!(f, "{:<28} FAILED", scenario.name)?,
                Verdict::NotRun(missing) => {
                    writeln!(f, "{:<28} not run: needs {missing}", scenario.name)?;
                }
            }
        }
        Ok(())
    }
}
