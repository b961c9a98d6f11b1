//! The follower: R9 truncation, R6 the committed mark of a follower, and what it acknowledges.
//!
//! ```text
//!             Fence            Match: nothing to cut
//!  no leader ──────▶ fenced ───────────────────────────────────▶ matched ──┐ Append
//!      ▲               │  Match: cut, or Start: reset              ▲  ▲────┘
//!      │               └──────────────▶ rewriting ─────────────────┘
//!      └──────────────────────── Fence of a higher epoch, from any state
//! ```
//!
//! Once matched with the leader of an epoch, the log stays a prefix of that leader's for as long as the
//! epoch lasts, and is not cut again: late messages of the same epoch find nothing to do.

use forebay_format::{BatchMeta, Epoch, LogState, NodeId, Offset, Position};

use crate::action::{Action, Actions, Alarm};
use crate::claim::Claim;
use crate::local::Local;
use crate::message::Message;
use crate::metadata::UncleanElection;
use crate::mutation::Mutation;

/// A replica that does not lead, and perhaps follows somebody who does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Follower {
    session: Option<Session>,
    /// Whether to become a leader.
    pub(crate) claim: Claim,
}

/// What this replica has to do with the leader of one epoch.
#[derive(Debug, Clone, PartialEq)]
struct Session {
    leader: NodeId,
    /// Invariant: the promised epoch.
    epoch: Epoch,
    stage: Stage,
    /// The highest quorum end that the leader has told.
    told: Position,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Where the logs part is not known.
    Unmatched,
    /// The log is being cut, or reset, to end here.
    Rewriting(Position),
    /// The log is a prefix of the leader's.
    Matched,
}

/// A [`Message::Match`] without its epoch.
#[derive(Debug)]
pub(crate) struct Matching {
    pub(crate) asked: Position,
    pub(crate) common: Position,
    pub(crate) unclean: Vec<UncleanElection>,
}

/// A [`Message::Append`] without its epoch.
#[derive(Debug)]
pub(crate) struct Appending {
    pub(crate) after: Position,
    pub(crate) batches: Vec<BatchMeta>,
    pub(crate) committed: Position,
    pub(crate) log_start: Offset,
}

impl Follower {
    pub(crate) fn new(claim: Claim) -> Self {
        Self { session: None, claim }
    }

    /// The leader that this replica follows.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.session.as_ref().map(|session| session.leader)
    }

    /// R4 ★: a higher epoch was promised. Nothing of the old leader's is taken or acknowledged any more.
    pub(crate) fn on_promised(&mut self, local: &Local) {
        let keeps = local.broken(Mutation::R4OldAppendsAccepted)
            || local.broken(Mutation::R4FenceDoesNotWait) && !local.log.is_quiet();
        if !keeps {
            self.session = None;
        }
    }

    fn session(&mut self, leader: NodeId, epoch: Epoch) -> &mut Session {
        let same = self.session.take().filter(|session| session.epoch == epoch);
        let anew = Session { leader, epoch, stage: Stage::Unmatched, told: Position::ZERO };
        self.session.insert(same.unwrap_or(anew))
    }

    /// R9: cuts at the last common position. The answer is about one end of this log; of any other it
    /// says nothing, and a log that is matched already is never cut.
    pub(crate) fn on_match(
        &mut self,
        local: &mut Local,
        (leader, epoch): (NodeId, Epoch),
        found: &Matching,
        actions: &mut Actions,
    ) {
        let &Matching { asked, common, ref unclean } = found;
        let session = self.session(leader, epoch);
        if session.stage == Stage::Unmatched {
            if asked != local.log.appended() || !local.log.is_quiet() {
                return;
            }
            if common < asked {
                if !local.may_lose_beyond(common.end, unclean) {
                    let committed = local.committed_known();
                    local.halt(Alarm::CutBelowCommitted { cut: common, committed }, actions);
                    return;
                }
                // Below the log's own start there is nothing to cut back to. Only an unclean election
                // leads there.
                let from_nothing = common.end < local.log.state().log_start;
                let to = if from_nothing { Position::ZERO } else { common };
                if !local.lower_marks(to.end, actions) {
                    // The leader asks again.
                    return;
                }
                session.stage = Stage::Rewriting(to);
                if from_nothing {
                    local.log.reset(Box::default(), actions);
                } else {
                    local.log.cut(to, actions);
                }
                return;
            }
            session.stage = Stage::Matched;
        }
        self.acknowledge(local, actions);
    }

    /// Log start: begins anew where the leader's log begins. Not an R9 cut, because this log is matched, and
    /// ends below what the leader still has, which is a matter of positions: see `Candidate::on_start`.
    pub(crate) fn on_start(
        &mut self,
        local: &mut Local,
        (leader, epoch): (NodeId, Epoch),
        (asked, at): (Position, Box<LogState>),
        actions: &mut Actions,
    ) {
        let session = self.session(leader, epoch);
        let expected = session.stage == Stage::Matched && asked == local.log.appended();
        if !expected || !local.log.is_quiet() || at.position() <= asked {
            return;
        }
        session.stage = Stage::Rewriting(at.position());
        local.log.reset(at, actions);
    }

    /// The cut or reset that was asked for is done.
    pub(crate) fn on_rewritten(&mut self, local: &mut Local, actions: &mut Actions) {
        if let Some(session) = &mut self.session
            && let Stage::Rewriting(to) = session.stage
        {
            let matched = local.log.appended() == to;
            session.stage = if matched { Stage::Matched } else { Stage::Unmatched };
            self.acknowledge(local, actions);
        }
    }

    /// Takes batches and marks of a leader whose epoch is promised.
    pub(crate) fn on_append(
        &mut self,
        local: &mut Local,
        (leader, epoch): (NodeId, Epoch),
        append: Appending,
        actions: &mut Actions,
    ) {
        let matched = self
            .session
            .as_mut()
            .filter(|session| session.epoch == epoch && session.stage == Stage::Matched);
        let Some(session) = matched else {
            if local.broken(Mutation::R6UnmatchedMark) {
                local.raise_committed(append.committed.end.min(local.log.durable().end));
            }
            if !local.log.is_rewriting() {
                actions.send(leader, Message::NotMatched { epoch });
            }
            return;
        };
        session.told = session.told.max(append.committed);
        let before = local.log.appended();
        if append.after <= before {
            append_new(local, append.batches, actions);
        }
        self.update_mark(local);
        local.advance_log_start(append.log_start, actions);
        if local.log.appended() == before {
            // Nothing new: marks, a repetition, or a gap, which the answer shows.
            self.acknowledge(local, actions);
        }
    }

    /// More of the log is on stable storage.
    pub(crate) fn on_durable(&mut self, local: &mut Local, actions: &mut Actions) {
        self.update_mark(local);
        self.acknowledge(local, actions);
    }

    /// R6: the quorum's end, as far as this replica is matched and has it durable.
    fn update_mark(&self, local: &mut Local) {
        if let Some(session) = &self.session
            && session.stage == Stage::Matched
        {
            // Matched means that the whole log is a prefix of the leader's, so its positions compare.
            let durable = local.log.durable();
            local.raise_committed(session.told.min(durable).end.min(durable.end));
        }
    }

    fn acknowledge(&self, local: &Local, actions: &mut Actions) {
        if let Some(Session { leader, epoch, stage: Stage::Matched, .. }) = self.session {
            actions.send(
                leader,
                Message::Appended {
                    epoch,
                    replica: local.meta.replica(),
                    appended: local.log.appended(),
                    durable: local.log.durable(),
                },
            );
        }
    }
}

/// Appends those batches that the log does not have. R9: each must begin where the one before ends, and
/// repeat its CRC.
pub(crate) fn append_new(local: &mut Local, mut batches: Vec<BatchMeta>, actions: &mut Actions) {
    let end = local.log.appended();
    batches.retain(|batch| batch.position() > end);
    if batches.is_empty() {
        return;
    }
    let state = local.log.state();
    let mut before = (state.end, state.last_header_crc);
    let follows = |batch: &BatchMeta| {
        let at = (batch.leader.base_offset, batch.leader.previous_header_crc);
        at == std::mem::replace(&mut before, (batch.next_offset(), batch.header_crc))
    };
    if !batches.iter().all(follows) && !local.broken(Mutation::R9CutByOffset) {
        local.halt(Alarm::ChainBroken { at: end }, actions);
        return;
    }
    local.log.append(batches, &local.config, false, actions);
}

/// R5: sends a candidate whom this replica has promised its epoch what the candidate lacks.
pub(crate) fn serve_fetch(
    local: &Local,
    (candidate, epoch): (NodeId, Epoch),
    after: Position,
    actions: &mut Actions,
) {
    // What follows may be stored all the same, as whole segments go. The candidate takes what comes first
    // and leads on. At the log start itself, a log that has begun anew there may lack the first batch of an epoch.
    let log_start = local.log.state().log_start;
    if after.end <= log_start && log_start > Offset::ZERO {
        actions.push(Action::SendStart { to: candidate, epoch, asked: after });
    }
    actions.push(Action::SendBatches {
        to: candidate,
        after,
        batches_max: local.config.batches_per_message_max,
        catching_up: true,
        envelope: Message::Fetched {
            epoch,
            replica: local.meta.replica(),
            after,
            batches: Vec::new(),
        },
    });
}
