//! The times and limits of the protocol. Every node of a cluster should have the same.

use crate::mutation::Mutation;

/// Times in milliseconds. None of them carries safety: they decide how soon, never whether.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// R8: fewer live replicas than this make the partition read-only. Never counts below Q.
    pub min_replicas: usize,
    /// R8: a voter whose stream has not answered for this long is not live.
    pub live_timeout_ms: u64,
    /// R7: a member of the in-sync set that has not caught up for this long is removed.
    pub isr_lag_timeout_ms: u64,
    /// A leader with nothing to send pushes its marks this often (R13), and asks again what was not
    /// answered for as long.
    pub heartbeat_ms: u64,
    /// A follower reads the metadata this often, whatever a watch says.
    pub metadata_poll_ms: u64,
    /// Candidates try one after the other, this far apart: fewer transactions that conflict.
    pub candidate_stagger_ms: u64,
    /// R2: how long the others wait when a leader has named its successor.
    pub successor_head_start_ms: u64,
    /// R2: a planned transfer that is not done by then is given up, and writes are admitted again.
    pub transfer_timeout_ms: u64,
    /// A leader that has had no live quorum for this long lets somebody else try.
    pub resign_after_ms: u64,
    /// Committed marks are copied to the partition's meta when they moved, at most this often (R6).
    pub mark_copy_ms: u64,
    /// Writes that wait for their answer. Beyond, they are refused before they are appended.
    pub waiting_writes_max: usize,
    /// Batches in one message to a follower.
    pub batches_per_message_max: usize,
    /// The rule that a test has switched off.
    #[cfg(feature = "mutations")]
    #[cfg_attr(feature = "serde", serde(skip))]
    pub mutation: Option<Mutation>,
}

impl Config {
    /// Whether a test has switched this rule off. Always `false` in a release.
    #[cfg(feature = "mutations")]
    #[inline]
    pub fn broken(&self, rule: Mutation) -> bool {
        self.mutation == Some(rule)
    }

    /// Whether a test has switched this rule off. Always `false` in a release.
    #[cfg(not(feature = "mutations"))]
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "nothing may be left of it")]
    pub const fn broken(&self, _: Mutation) -> bool {
        false
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min_replicas: 0,
            live_timeout_ms: 10_000,
            isr_lag_timeout_ms: 10_000,
            heartbeat_ms: 500,
            metadata_poll_ms: 5_000,
            candidate_stagger_ms: 100,
            successor_head_start_ms: 1_000,
            transfer_timeout_ms: 5_000,
            resign_after_ms: 30_000,
            mark_copy_ms: 5_000,
            waiting_writes_max: 10_000,
            batches_per_message_max: 64,
            #[cfg(feature = "mutations")]
            mutation: None,
        }
    }
}
