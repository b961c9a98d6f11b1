//! The leader: an elected replica that starts its epoch, replicates, commits and answers.
//!
//! ```text
//!  elected ─▶ starting ─────────────────────────▶ serving ──▶ handing over ─▶ follower
//!                │   the epoch-start batch          │  ▲          │
//!                │   is committed (R5 ★, R6)        │  └──────────┘ given up
//!                └──────────────────────────────────┴─▶ follower
//!                  fenced (R4), lease over (R3), leader key gone (R2), no quorum for long
//! ```
//!
//! `lead` is the state and what time does to it; `replicate` speaks with the other replicas, each with
//! its `progress`; `propose` admits writes, `commit` moves the mark, `writes` answers; `isr`, `membership`
//! and `transfer` are the leader's transactions, one at a time.

mod commit;
mod isr;
mod lead;
mod membership;
mod progress;
mod propose;
mod replicate;
mod transfer;
mod writes;

pub(crate) use lead::{Leader, Verdict};
