//! R14: how far the leader has come with one other replica, from its first word to live. R11 ★: another replica on
//! that node begins at nothing.
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
    /// R11: what was committed when the leader met it, or when the epoch began. What is committed after that
    /// is on Q without whomever it takes the place of, as that one's acknowledgements are void since.
    pub(crate) owes: Position,
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
            owes: Position::ZERO,
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

    /// It has said who it is, when everything up to `committed` was. R11 ★: another replica in the place of the
    /// one before has nothing of what that one had acknowledged.
    pub(crate) fn identify(&mut self, replica: ReplicaId, committed: Position) {
        if self.replica != Some(replica) {
            self.replica = Some(replica);
            self.durable = Position::ZERO;
            self.owes = committed;
        }
    }

    /// R11: the epoch has begun, and with it everything up to `committed` is. What a predecessor had committed was
    /// not known before.
    pub(crate) fn epoch_began(&mut self, committed: Position) {
        self.owes = self.owes.max(committed);
    }

    /// R11: whether it may take a voter's place. Under load it may never hold all that is committed by now.
    pub(crate) fn holds_what_it_owes(&self) -> bool {
        self.durable >= self.owes
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

#[cfg(test)]
mod tests {
    use forebay_format::{Epoch, Offset};

    use super::*;

    fn end(end: u64) -> Position {
        Position::new(Epoch::new(1), Offset::new(end))
    }

    fn at(ms: u64) -> Instant {
        Instant::from_ms(ms)
    }

    /// A replica that has nothing of a log, and has said so.
    fn matched() -> Progress {
        let mut peer = Progress::new(NodeId::new(2), at(0));
        peer.identify(ReplicaId::from_u128(2), Position::ZERO);
        peer.match_at(Position::ZERO, at(0));
        peer.acknowledge(Position::ZERO, end(100), at(0));
        peer
    }

    #[test]
    fn readings_follow_one_another_without_a_gap_until_the_replica_is_live() {
        let mut peer = matched();
        assert!(peer.is_catching_up(end(100)));
        peer.sending = Some(peer.sent);
        assert!(!peer.on_sent(end(40), end(90), end(100)), "no such reading is under way");
        assert!(peer.on_sent(Position::ZERO, end(60), end(100)));
        assert_eq!((peer.sent, peer.sending, peer.live), (end(60), None, false));
        // Its acknowledgement may overtake word that the reading was sent.
        peer.sending = Some(end(60));
        peer.acknowledge(end(80), end(100), at(1));
        assert!(peer.on_sent(end(60), end(80), end(100)));
        peer.sending = Some(end(80));
        assert!(peer.on_sent(end(80), end(100), end(100)));
        assert!(peer.live && !peer.is_catching_up(end(100)));
        let far = end(100 + LIVE_LAG_RECORDS_MAX);
        assert!(!peer.is_catching_up(far) && peer.is_catching_up(end(far.end.get() + 1)));
    }

    #[test]
    fn reading_that_finds_nothing_starves_and_what_is_lost_is_sent_again() {
        let mut peer = matched();
        peer.sending = Some(Position::ZERO);
        assert!(!peer.on_sent(Position::ZERO, Position::ZERO, end(100)));
        assert!(peer.starved, "the log goes on, and what follows is gone");
        let mut peer = matched();
        peer.sending = Some(Position::ZERO);
        assert!(peer.on_sent(Position::ZERO, end(60), end(100)));
        peer.acknowledge(end(20), end(100), at(5));
        peer.rewind(at(6));
        assert_eq!((peer.sent, peer.moved_at), (end(20), at(6)));
    }

    #[test]
    fn other_replica_on_the_node_has_nothing_of_what_was_acknowledged_before() {
        let mut peer = matched();
        peer.acknowledge(end(70), end(100), at(1));
        peer.identify(ReplicaId::from_u128(2), end(80));
        assert_eq!((peer.durable, peer.owes), (end(70), Position::ZERO));
        peer.identify(ReplicaId::from_u128(3), end(90));
        assert_eq!((peer.durable, peer.owes), (Position::ZERO, end(90)));
    }

    #[test]
    fn learner_owes_what_was_committed_when_it_was_met_or_when_the_epoch_began() {
        let mut peer = matched();
        peer.epoch_began(end(50));
        peer.acknowledge(end(49), end(100), at(1));
        assert!(!peer.holds_what_it_owes());
        peer.acknowledge(end(50), end(100), at(1));
        assert!(peer.holds_what_it_owes());
        peer.identify(ReplicaId::from_u128(3), end(70));
        peer.acknowledge(end(69), end(100), at(1));
        assert!(!peer.holds_what_it_owes());
        peer.acknowledge(end(70), end(100), at(1));
        assert!(peer.holds_what_it_owes());
    }

    /// R7: under steady load nobody is ever at the very end.
    #[test]
    fn whoever_has_what_there_was_when_it_answered_last_was_caught_up_then() {
        let mut peer = matched();
        peer.acknowledge(end(90), end(100), at(1_000));
        peer.acknowledge(end(190), end(200), at(2_000));
        assert_eq!(peer.caught_up_at, at(0), "it has the 100 that there were at 0");
        peer.acknowledge(end(290), end(300), at(3_000));
        assert_eq!(peer.caught_up_at, at(2_000));
        peer.broken = true;
        peer.acknowledge(end(299), end(310), at(4_000));
        assert!(peer.broken, "it lacks one of the 300");
        peer.acknowledge(end(310), end(310), at(5_000));
        assert!(!peer.broken);
        assert_eq!(peer.caught_up_at, at(5_000));
    }
}
