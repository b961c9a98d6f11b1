//! A call that came to a node which cannot answer it is carried to the node that can, so that a client
//! works through whichever node it reaches. One hop, and never in a circle: who carries says so, and is then told
//! where the leader is instead.
//!
//! ```text
//! client ── stream ──▶ this node ─┬─ what is here ──▶ log
//!                                 └─ the rest ── a stream to each shard that leads ──▶ leader
//! ```

mod ask;
mod call;
mod way;

pub(super) use ask::ask;
#[cfg(test)]
pub(super) use call::testing::Other;
pub(super) use call::{Call, CallEnd, Lost};
pub(crate) use way::Carrying;
pub(super) use way::{Destination, hint};
