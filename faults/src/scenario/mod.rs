//! Scenarios: what happens to a cluster while clients work, as rows of a table, and how each step is done.

mod flip;
mod perform;
mod step;
mod table;

pub(crate) use perform::Performer;
pub(crate) use step::{Needs, Role, Scenario, Step};
pub(crate) use table::SCENARIOS;
