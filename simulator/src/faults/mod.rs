//! What goes wrong: the kinds of faults, when and on whom they fall, and how they end.

mod combined;
mod coverage;
mod inject;
mod kind;

pub use coverage::Coverage;
pub(crate) use inject::{Armed, Relief};
pub use kind::{FaultKind, Role};
