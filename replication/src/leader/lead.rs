//! The state of a leader, and what time and the metadata do to it. R5 ★: its epoch begins with a batch of its
//! own.

use forebay_format::{BatchMeta, Epoch, LeaderFields, NodeId, Offset, Position, TimestampMs};

use super::progress::Progress;
use super::transfer::Transfer;
use super::writes::Writes;
use crate::action::{Action, Actions, CommandRefusal, Part};
use crate::batch::epoch_start;
use crate::coordination::Resolved;
use crate::event::Token;
use crate::local::Local;
use crate::message::LogReport;
use crate::metadata::TransactionKind;
use crate::mutation::Mutation;
use crate::time::Instant;

/// A replica that leads.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Leader {
    pub(super) epoch: Epoch,
    /// The other replicas, voters or not. Invariant: those that the state names, each once.
    pub(super) peers: Vec<Progress>,
    /// The quorum's end (R6). Invariant: of this epoch, or zero before the epoch-start batch is
    /// committed; only grows.
    pub(super) committed: Position,
    pub(super) writes: Writes,
    pub(super) transfer: Option<Transfer>,
    /// A command that is answered when the transaction under way is.
    pub(super) command: Option<Token>,
    /// Since when the nodes of fewer than Q voters answer.
    pub(super) lonely_since: Option<Instant>,
    pub(super) next_tick: Instant,
    /// It serves: reported once.
    serves: bool,
    /// The highest log start that a leader before this one has decided, as far as a replica has said so.
    pub(super) log_start_reported: Offset,
}

/// Whether a leader goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a leader that is over must step down"]
pub(crate) enum Verdict {
    Leads,
    /// It has laid leadership down by itself.
    Over,
}

impl Leader {
    /// R5 ★: begins the epoch with a batch of its own that takes no offset.
    pub(crate) fn begin(
        local: &mut Local,
        epoch: Epoch,
        answers: Vec<(NodeId, LogReport)>,
        actions: &mut Actions,
    ) -> Self {
        let mut leader = Self {
            epoch,
            peers: Vec::new(),
            committed: Position::ZERO,
            writes: Writes::default(),
            transfer: None,
            command: None,
            lonely_since: None,
            next_tick: local.now.plus_ms(local.config.heartbeat_ms),
            serves: false,
            log_start_reported: Offset::ZERO,
        };
        if local.broken(Mutation::R5ServesBeforeEpochStart) {
            local.raise_committed(local.log.durable().end);
        }
        leader.update_peers(local);
        let state = local.log.state();
        // No wall clock here: the time of the batch before is as late as is known.
        let append_time = state.last_append_time.max(TimestampMs::ZERO);
        let fields = LeaderFields {
            base_offset: state.end,
            epoch,
            append_time,
            previous_header_crc: state.last_header_crc,
        };
        let batch = BatchMeta::stamp(epoch_start(append_time), fields);
        local.log.append(vec![batch], &local.config, true, actions);
        for (node, report) in answers {
            leader.on_fenced(local, node, &report, actions);
        }
        leader.greet(local, actions);
        leader.update_commit(local, actions);
        leader
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether the epoch-start batch is committed, so that clients are served.
    pub(crate) fn is_serving(&self) -> bool {
        self.committed.epoch == self.epoch
    }

    /// When it wants to be woken.
    pub(crate) fn deadline(&self, local: &Local) -> Instant {
        let lease = local.lease.map_or(Instant::ZERO, |lease| lease.until);
        let writes = self.writes.next_deadline().unwrap_or(self.next_tick);
        self.next_tick.min(lease).min(writes)
    }

    /// Time has passed.
    pub(crate) fn on_tick(&mut self, local: &mut Local, actions: &mut Actions) -> Verdict {
        // R3: the lease is over by this node's own clock.
        if local.valid_lease().is_none() {
            return Verdict::Over;
        }
        self.writes.expire(local.now, actions);
        if local.now >= self.next_tick {
            self.next_tick = local.now.plus_ms(local.config.heartbeat_ms);
            self.greet(local, actions);
            self.give_up_transfer(local, actions);
            self.resign_when_lonely(local, actions);
            self.maintain(local, actions);
        }
        Verdict::Leads
    }

    /// Sends whichever transaction is due next, if none is under way.
    pub(super) fn maintain(&mut self, local: &mut Local, actions: &mut Actions) {
        if local.coordination.is_busy() || local.is_rolled_back() || local.is_halted() {
            return;
        }
        if self.is_serving() {
            let _sent = self.hand_over_if_drained(local, actions)
                || self.enter_learner(local, actions)
                || self.change_membership(local, actions)
                || self.change_isr(local, actions);
        }
    }

    /// R8 does not wait for ever: a leader that cannot reach a quorum, while others perhaps can, lays
    /// leadership down.
    fn resign_when_lonely(&mut self, local: &mut Local, actions: &mut Actions) {
        let lonely = !self.reaches_quorum(local);
        self.lonely_since = lonely.then(|| self.lonely_since.unwrap_or(local.now));
        let long = self
            .lonely_since
            .is_some_and(|since| local.now.ms_since(since) >= local.config.resign_after_ms);
        if long && !local.coordination.is_busy() {
            Self::hand_over(local, None, actions);
        }
    }

    /// The metadata were read. R2: without the leader key, or with another epoch, this is over.
    pub(crate) fn on_metadata(&mut self, local: &mut Local, actions: &mut Actions) -> Verdict {
        let epoch = local.coordination.state().map(|state| state.epoch);
        if !local.holds_leader_key() || epoch != Some(self.epoch) {
            return Verdict::Over;
        }
        self.update_peers(local);
        self.update_commit(local, actions);
        Verdict::Leads
    }

    /// The transaction under way is resolved.
    pub(crate) fn on_resolved(
        &mut self,
        local: &mut Local,
        resolved: &Resolved,
        actions: &mut Actions,
    ) -> Verdict {
        let kind = resolved.transaction.kind;
        if let Some(token) = self.command.take() {
            let answer =
                if resolved.applied { Ok(()) } else { Err(CommandRefusal::MetadataChanged) };
            actions.push(Action::AnswerCommand(token, answer));
        }
        if kind == TransactionKind::HandOver {
            self.on_hand_over(resolved.applied, actions);
            return if resolved.applied { Verdict::Over } else { Verdict::Leads };
        }
        if resolved.applied {
            if matches!(kind, TransactionKind::RaiseEpoch | TransactionKind::UncleanElection) {
                // The voters of the new epoch are not the ones that this epoch's writes were promised.
                return Verdict::Over;
            }
            self.update_peers(local);
            self.greet(local, actions);
            self.update_commit(local, actions);
            self.maintain(local, actions);
        }
        Verdict::Leads
    }

    /// Leadership is over: whoever waits is told what is known.
    pub(crate) fn abandon(&mut self, actions: &mut Actions) {
        self.writes.abandon(actions);
        let transfer = self.take_transfer();
        for token in self.command.take().into_iter().chain(transfer) {
            actions.push(Action::AnswerCommand(token, Err(CommandRefusal::GivenUp)));
        }
    }

    /// Says so when the epoch has started.
    pub(super) fn report_serving(&mut self, actions: &mut Actions) {
        if self.is_serving() && !self.serves {
            self.serves = true;
            let committed = self.committed;
            self.peers.iter_mut().for_each(|peer| peer.epoch_began(committed));
            actions.push(Action::Became(Part::Leader(self.epoch)));
        }
    }

    pub(super) fn peer(&self, node: NodeId) -> Option<&Progress> {
        self.peers.iter().find(|peer| peer.node == node)
    }
}
