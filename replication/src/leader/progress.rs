//! R14: how far the leader has come with one other replica, from its first word to live.
//!
//! ```text
//!             Fenced: the logs part here          Appended              all sent
//!  silent ─────────────────────────────▶ matching ────────▶ catching up ────────▶ live
//!    ▲ ▲                                     │                 ▲    │              │
//!    │ └──── stream broke, NotMatched ◀──────┴─────────────────┼────┴──────────────┤
//!    │                                                         └── fell behind ◀───┘
//!    └ start
//! ```
//!
//! One reading of the log is under way at a time, and the next begins where it ended, so that a replica
//! which catches up turns live without a gap.

use forebay_format::{NodeId, Position, ReplicaId};

use crate::time::Instant;

/// Beyond so many records behind, batches are read from disk in large pieces (R14).
const LIVE_LAG_RECORDS_MAX: u64 = 100_000;

/// Another replica, as the leader sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Progress {
    pub(crate) node: NodeId,
    /// Who it said it is, in this epoch. Invariant: everything below is about this very replica (R11).
    pub(crate) replica: Option<ReplicaId>,
    pub(crate) stage: Stage,
    /// Durable there. Invariant: only grows, and is a position of this leader's log.
    pub(crate) durable: Position,
    /// Where the next batch that is sent begins. Invariant: a position of this leader's log.
    pub(crate) sent: Position,
    /// Where the reading of the log begins that is under way on its behalf. Its acknowledgement may come
    /// before word that all was sent, so `sent` may be further on.
    pub(crate) sending: Option<Position>,
    /// The last reading found nothing, although the log goes on: what follows is not stored any more.
    pub(crate) starved: bool,
    /// It has had everything once, and is fed as batches come.
    pub(crate) live: bool,
    /// When it answered last; `None`: not in this epoch.
    pub(crate) answered_at: Option<Instant>,
    /// When anything that shows progress came last, or was asked for anew.
    pub(crate) moved_at: Instant,
    /// It was at the end of the log as that was then (R7).
    pub(crate) caught_up_at: Instant,
    /// The end of the log at `target_at`: holding it means being caught up as of then.
    target: Position,
    target_at: Instant,
    /// Its stream broke since it was caught up.
    pub(crate) broken: bool,
}

/// See the diagram of the module; live or not is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Silent,
    Matching,
    Matched,
}

impl Progress {
    pub(crate) fn new(node: NodeId, now: Instant) -> Self {
        Self {
            node,
            replica: None,
            stage: Stage::Silent,
            durable: Position::ZERO,
            sent: Position::ZERO,
            sending: None,
            starved: false,
            live: false,
            answered_at: None,
            moved_at: now,
            caught_up_at: now,
            target: Position::ZERO,
            target_at: now,
            broken: false,
        }
    }

    /// It has said who it is. R11 ★: another replica in the place of the one before has nothing of what
    /// that one had acknowledged.
    pub(crate) fn identify(&mut self, replica: ReplicaId) {
        if self.replica != Some(replica) {
            self.replica = Some(replica);
            self.durable = Position::ZERO;
        }
    }

    /// Where its log and the leader's part is known; batches are sent from there on once it has cut.
    pub(crate) fn match_at(&mut self, common: Position, now: Instant) {
        self.stage = Stage::Matching;
        self.sent = common;
        self.sending = None;
        self.starved = false;
        self.live = false;
        self.moved_at = now;
    }

    /// The stream is gone, or was never there: it has to say again where it is.
    pub(crate) fn silence(&mut self) {
        self.stage = Stage::Silent;
        self.sending = None;
        self.live = false;
    }

    /// It has `durable` on stable storage, while the leader's log ends at `end`.
    pub(crate) fn acknowledge(&mut self, durable: Position, end: Position, now: Instant) {
        if self.stage == Stage::Matching {
            self.stage = Stage::Matched;
            self.sent = self.sent.max(durable);
        }
        self.answered_at = Some(now);
        if durable > self.durable || durable >= self.sent {
            self.moved_at = now;
        }
        self.durable = self.durable.max(durable);
        self.sent = self.sent.max(self.durable);
        if self.durable >= self.target {
            self.caught_up_at = self.target_at;
            self.target = end;
            self.target_at = now;
            self.broken = false;
        }
        if self.durable >= end {
            self.caught_up_at = now;
        }
    }

    /// Batches up to `upto` were sent. Returns whether there may be more to send.
    pub(crate) fn on_sent(&mut self, after: Position, upto: Position, end: Position) -> bool {
        if self.sending != Some(after) {
            return false;
        }
        self.sending = None;
        self.sent = self.sent.max(upto);
        self.live |= self.sent >= end;
        let found = upto > after || self.sent > upto;
        self.starved = !found && self.sent < end;
        found
    }

    /// Sends again what was sent and not acknowledged: it may be lost.
    pub(crate) fn rewind(&mut self, now: Instant) {
        self.sent = self.durable;
        self.sending = None;
        self.moved_at = now;
    }

    /// Whether it is to be fed from disk.
    pub(crate) fn is_catching_up(&self, end: Position) -> bool {
        let lag = end.end.checked_sub(self.sent.end).unwrap_or(0);
        !self.live || lag > LIVE_LAG_RECORDS_MAX
    }
}
