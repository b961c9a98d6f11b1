//! One replica of one partition: its part, and which of its machines an event is for.
//!
//! ```text
//!              take-over or raised epoch (R2)        Q fenced, best log adopted (R5)
//!  follower ───────────────────────────────▶ candidate ───────────────────────────▶ leader
//!     ▲ ▲                                        │                                    │
//!     │ └────────────────────────────────────────┘                                    │
//!     └───────────────────────────────────────────────────────────────────────────────┘
//!        fenced by a higher epoch (R4), lease over (R3), leader key gone (R2), handed over
//! ```

use forebay_format::{Epoch, LogState, NodeId, Offset, Position, ReplicaId};

use crate::action::{Action, Actions, Answer, CommandRefusal, Part, WriteRefusal};
use crate::claim::Claim;
use crate::config::Config;
use crate::coordination::Resolved;
use crate::election::Candidate;
use crate::event::{Command, Event, LeaseEvent, LogEvent, Proposal, Recovered, Token};
use crate::fence::Fence;
use crate::follower::Follower;
use crate::leader::{Leader, Verdict};
use crate::local::Local;
use crate::metadata::{Observation, PartitionState, TransactionKind};
use crate::reads;
use crate::time::Instant;

/// One replica of one partition on one node.
#[derive(Debug, Clone, PartialEq)]
pub struct Replica {
    pub(crate) local: Local,
    pub(crate) role: Role,
    /// A command that is answered when the transaction under way is.
    pub(crate) command: Option<Token>,
}

/// The part that a replica plays, with the machine for it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Role {
    Follower(Follower),
    Candidate(Candidate),
    Leader(Box<Leader>),
}

impl Replica {
    /// The replica as recovery found it. Nothing happens before the first event; hand in a tick.
    pub fn new(config: Config, node: NodeId, recovered: Recovered) -> Self {
        let local = Local::new(config, node, recovered);
        let role = Role::Follower(Follower::new(Claim::new(Instant::ZERO)));
        Self { local, role, command: None }
    }

    /// Takes an event at the time `now`, which never goes back, and adds what is to be done to `actions`.
    pub fn handle(&mut self, event: Event, now: Instant, actions: &mut Actions) {
        self.local.now = now;
        self.local.recover(actions);
        match event {
            Event::Lease(event) => self.on_lease(event, actions),
            Event::Observed(observation) => self.on_observed(*observation, actions),
            Event::Transacted(number, outcome) => {
                let resolved = self.local.on_outcome(number, outcome, actions);
                self.on_resolved(resolved, actions);
            }
            Event::Message(from, message) => self.on_message(from, message, actions),
            Event::PeerLost(node) => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.on_peer_lost(node);
                }
            }
            Event::Log(event) => self.on_log(event, actions),
            Event::Propose(proposal) => self.on_propose(proposal, actions),
            Event::Read(request) => {
                let answer = reads::answer(&self.local, self.known_leader(), &request);
                actions.push(Action::AnswerRead(request.token, answer));
            }
            Event::Command(token, command) => self.on_command(token, command, actions),
            Event::Tick => self.on_tick(actions),
        }
        self.settle(actions);
    }

    // ---- what may be looked at ----

    /// The part it plays.
    pub fn part(&self) -> Part {
        match &self.role {
            Role::Leader(leader) if leader.is_serving() => Part::Leader(leader.epoch()),
            Role::Leader(leader) => Part::Candidate(leader.epoch()),
            Role::Candidate(candidate) => Part::Candidate(candidate.epoch()),
            Role::Follower(_) => Part::Follower,
        }
    }

    /// The replica id that it has (R11).
    pub fn replica(&self) -> ReplicaId {
        self.local.meta.replica()
    }

    /// The highest epoch that it has promised; perhaps not durably yet.
    pub fn promised(&self) -> Epoch {
        self.local.meta.promised()
    }

    /// What may be read here, exclusive (R6).
    pub fn committed(&self) -> Offset {
        self.local.committed()
    }

    /// Its log, as appended.
    pub fn log(&self) -> &LogState {
        self.local.log.state()
    }

    /// Where what is durable ends.
    pub fn durable(&self) -> Position {
        self.local.log.durable()
    }

    /// The partition's state, as far as this replica knows it.
    pub fn state(&self) -> Option<&PartitionState> {
        self.local.coordination.state()
    }

    /// The version of the newest state that this very replica has seen, and would have an operator confirm (R2);
    /// 0 when it remembers none. It may have heard of newer ones.
    pub fn remembered_version(&self) -> u64 {
        self.local.remembered_version()
    }

    /// Whether an alarm has taken it out of service.
    pub fn is_halted(&self) -> bool {
        self.local.is_halted()
    }

    /// Who leads, as far as is known here.
    pub fn known_leader(&self) -> Option<NodeId> {
        let key = self.local.coordination.leader().map(|leader| leader.value.node);
        match &self.role {
            Role::Follower(follower) => key.or(follower.leader()),
            Role::Candidate(_) | Role::Leader(_) => Some(self.local.node),
        }
    }

    // ---- events ----

    fn on_lease(&mut self, event: LeaseEvent, actions: &mut Actions) {
        self.local.on_lease(event);
        match event {
            LeaseEvent::Renewed { .. } => {}
            // R3: whatever was led, was led under another lease.
            LeaseEvent::Lost | LeaseEvent::Granted { .. } => {
                self.step_down(Instant::ZERO, actions);
                self.local.coordination.read(self.local.now, actions);
            }
        }
        self.consider_claim(actions);
    }

    fn on_observed(&mut self, observation: Observation, actions: &mut Actions) {
        let source = observation.source;
        if self.local.coordination.is_older(&observation) {
            self.local.coordination.read(self.local.now, actions);
        }
        let (news, resolved) = self.local.coordination.observe(observation, actions);
        self.on_resolved(resolved, actions);
        if !news {
            return;
        }
        self.local.remember_state(actions);
        self.local.report_rollback(source, actions);
        match &mut self.role {
            Role::Follower(_) => self.consider_claim(actions),
            Role::Candidate(candidate) => {
                let epoch = self.local.coordination.state().map(|state| state.epoch);
                if !self.local.holds_leader_key() || epoch != Some(candidate.epoch()) {
                    self.step_down(Instant::ZERO, actions);
                } else if candidate.advance(&mut self.local, actions) {
                    self.lead(actions);
                }
            }
            Role::Leader(leader) => {
                if leader.on_metadata(&mut self.local, actions) == Verdict::Over {
                    self.step_down(Instant::ZERO, actions);
                }
            }
        }
    }

    fn on_resolved(&mut self, resolved: Option<Resolved>, actions: &mut Actions) {
        let Some(resolved) = resolved else { return };
        self.local.remember_state(actions);
        if let Some(token) = self.command.take() {
            let changed = CommandRefusal::MetadataChanged;
            let answer = if resolved.applied { Ok(()) } else { Err(changed) };
            actions.push(Action::AnswerCommand(token, answer));
        }
        let verdict = match &mut self.role {
            Role::Leader(leader) => leader.on_resolved(&mut self.local, &resolved, actions),
            Role::Follower(_) | Role::Candidate(_) => Verdict::Leads,
        };
        let kind = resolved.transaction.kind;
        if verdict == Verdict::Over || (kind == TransactionKind::HandOver && resolved.applied) {
            // Without a successor it has given up by itself, and others try first.
            let state = resolved.transaction.state.as_ref();
            let named = state.is_some_and(|state| state.successor.is_some());
            let wait = if named { 0 } else { self.local.config.resign_after_ms };
            self.step_down(self.local.now.plus_ms(wait), actions);
        }
        if !resolved.applied {
            if let Role::Follower(follower) = &mut self.role {
                follower.claim.back_off(&self.local);
            }
            return;
        }
        match kind {
            TransactionKind::TakeOver | TransactionKind::RaiseEpoch => {
                self.run(false, actions);
            }
            TransactionKind::UncleanElection => self.run(true, actions),
            _ => self.consider_claim(actions),
        }
    }

    /// R2: this node has the leader key, and an epoch of its own.
    fn run(&mut self, unclean: bool, actions: &mut Actions) {
        self.step_down(Instant::ZERO, actions);
        let epoch = self.local.coordination.state().map(|state| state.epoch).unwrap_or_default();
        // The lease may have ended while the transaction was under way, and another have begun. And where
        // somebody has seen a newer state, this epoch is over.
        let holds = self.local.valid_lease().is_some() && self.local.holds_leader_key();
        if !holds || self.local.is_rolled_back() {
            return;
        }
        let candidate = Candidate::begin(&mut self.local, epoch, unclean, actions);
        actions.push(Action::Became(Part::Candidate(epoch)));
        self.role = Role::Candidate(candidate);
    }

    /// R5: elected.
    pub(crate) fn lead(&mut self, actions: &mut Actions) {
        if let Role::Candidate(candidate) = &mut self.role {
            let (epoch, answers) = (candidate.epoch(), candidate.take_answers());
            let leader = Leader::begin(&mut self.local, epoch, answers, actions);
            self.role = Role::Leader(Box::new(leader));
        }
    }

    /// Back to following. Whoever waits for an answer gets one.
    pub(crate) fn step_down(&mut self, not_before: Instant, actions: &mut Actions) {
        match &mut self.role {
            Role::Follower(_) => return,
            Role::Candidate(_) => {}
            Role::Leader(leader) => {
                // What a watch shows may be this very hand-over, before its own outcome has come.
                if self.local.coordination.pending() == Some(TransactionKind::HandOver) {
                    self.command = leader.take_transfer();
                }
                leader.abandon(actions);
            }
        }
        self.role = Role::Follower(Follower::new(Claim::new(not_before)));
        actions.push(Action::Became(Part::Follower));
    }

    fn consider_claim(&mut self, actions: &mut Actions) {
        if let Role::Follower(follower) = &mut self.role {
            follower.claim.consider(&mut self.local, actions);
        }
    }

    fn on_log(&mut self, event: LogEvent, actions: &mut Actions) {
        match event {
            LogEvent::Durable(upto) => {
                self.local.log.on_durable(upto);
                match &mut self.role {
                    Role::Follower(follower) => follower.on_durable(&mut self.local, actions),
                    Role::Candidate(_) => self.advance_election(actions),
                    Role::Leader(leader) => leader.update_commit(&mut self.local, actions),
                }
            }
            LogEvent::CutDone(log) => {
                if self.local.log.on_rewritten(*log) {
                    self.on_rewritten(actions);
                }
            }
            LogEvent::ResetDone(log) => {
                if self.local.log.on_rewritten(*log) {
                    self.local.begin_at_log_start(actions);
                    self.on_rewritten(actions);
                }
            }
            LogEvent::MetaDurable(number) => {
                self.local.meta.on_durable(number);
                self.local.trim_when_durable(actions);
            }
            LogEvent::Sent { to, after, upto } => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.on_sent(&self.local, to, (after, upto), actions);
                }
            }
        }
    }

    fn on_rewritten(&mut self, actions: &mut Actions) {
        match &mut self.role {
            Role::Follower(follower) => follower.on_rewritten(&mut self.local, actions),
            Role::Candidate(_) => self.advance_election(actions),
            Role::Leader(_) => {}
        }
    }

    fn advance_election(&mut self, actions: &mut Actions) {
        if let Role::Candidate(candidate) = &mut self.role
            && candidate.advance(&mut self.local, actions)
        {
            self.lead(actions);
        }
    }

    fn on_propose(&mut self, proposal: Proposal, actions: &mut Actions) {
        let refusal = match &mut self.role {
            Role::Leader(leader) => {
                leader.on_propose(&mut self.local, proposal, actions);
                return;
            }
            Role::Candidate(_) => WriteRefusal::NotServing,
            Role::Follower(_) => WriteRefusal::NotLeader { leader: self.known_leader() },
        };
        actions.push(Action::Answer(proposal.token, Answer::Refused(refusal)));
    }

    fn on_command(&mut self, token: Token, command: Command, actions: &mut Actions) {
        match (command, &mut self.role) {
            (Command::ConfirmMetadata, _) => self.confirm_metadata(token, actions),
            (Command::ElectUnclean, _) => self.elect_unclean(token, actions),
            (Command::Transfer { to }, Role::Leader(leader)) => {
                leader.on_transfer(&mut self.local, (token, to), actions);
            }
            (Command::Reassign { to }, Role::Leader(leader)) => {
                leader.on_reassign(&mut self.local, token, to, actions);
            }
            (Command::Copies { to }, Role::Leader(leader)) => {
                leader.on_copies(&mut self.local, token, to, actions);
            }
            (Command::AdvanceLogStart { to }, Role::Leader(_)) => {
                self.local.advance_log_start(to, actions);
                actions.push(Action::AnswerCommand(token, Ok(())));
            }
            _ => {
                actions.push(Action::AnswerCommand(token, Err(CommandRefusal::NotLeader)));
            }
        }
    }

    fn on_tick(&mut self, actions: &mut Actions) {
        self.local.woken();
        self.local.coordination.on_tick(self.local.now, actions);
        let lease_over = self.local.valid_lease().is_none();
        match &mut self.role {
            Role::Follower(_) => {}
            Role::Candidate(_) if lease_over => self.step_down(Instant::ZERO, actions),
            Role::Candidate(candidate) => {
                candidate.on_tick(&mut self.local, actions);
                self.advance_election(actions);
            }
            Role::Leader(leader) => {
                if leader.on_tick(&mut self.local, actions) == Verdict::Over {
                    self.step_down(Instant::ZERO, actions);
                }
            }
        }
        self.consider_claim(actions);
    }

    /// What follows from every event: promises that can be kept now, marks, and when to be woken.
    fn settle(&mut self, actions: &mut Actions) {
        if let Some(epoch) = Fence::advance(&mut self.local, actions)
            && let Role::Candidate(candidate) = &mut self.role
            && candidate.epoch() == epoch
            && candidate.on_own_promise(&mut self.local, actions)
        {
            self.lead(actions);
        }
        if self.local.is_halted() {
            self.step_down(Instant::ZERO, actions);
        }
        self.local.publish(actions);
        let at = match &self.role {
            Role::Follower(follower) => follower.claim.deadline(),
            Role::Candidate(candidate) => candidate.deadline(),
            Role::Leader(leader) => leader.deadline(&self.local),
        };
        self.local.wake_at(at, actions);
    }
}
