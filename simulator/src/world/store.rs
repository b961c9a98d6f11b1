//! The way to the metadata store and back: requests and answers that get lost or come late, watches
//! that lag or miss something, and the lease of each node.

use forebay_checker::Event as Seen;
use forebay_format::NodeId;
use forebay_replication::lease::{LeaseInput, LeaseOutput};
use forebay_replication::metadata::{
    LeaderWrite, Observation, ObservationSource, Outcome, Transaction,
};
use forebay_replication::{Event, Instant, LeaseEvent};

use super::World;
use super::occurrence::{Fate, Occurrence, StoreAnswer, StoreRequest};
use crate::etcd::Granted;

/// When a node gives up waiting for the answer to a transaction.
const TRANSACTION_TIMEOUT_MS: u64 = 1_500;

/// How long after it was given up a transaction may still happen.
const TRANSACTION_LATE_MS_MAX: u64 = 4_000;

/// When a node gives up waiting for a lease.
const GRANT_TIMEOUT_MS: u64 = 2_000;

/// How often a node looks after its lease.
const LEASE_TICK_MS: u64 = 150;

/// How late a watch event is at a node whose watch lags.
const WATCH_LAG_MS: u64 = 6_000;

impl World {
    pub(super) fn transact(&mut self, id: NodeId, run: u64, number: u64, what: Box<Transaction>) {
        let troubles = &self.node(id).troubles;
        let cut_off = troubles.store_unreachable > 0;
        let unknown = troubles.transactions_unknown > 0 && self.random.per_mille(700);
        let fate = if cut_off || unknown { Fate::GivenUp } else { Fate::Answered };
        if fate == Fate::GivenUp {
            let answer = StoreAnswer::Transacted { number, outcome: Outcome::Unknown };
            self.within(TRANSACTION_TIMEOUT_MS, Occurrence::StoreAnswer { node: id, run, answer });
        }
        // What nobody hears of may have happened all the same, or happen later.
        let arrives = match fate {
            Fate::Answered => Some(self.store_ms_max()),
            Fate::GivenUp if cut_off || self.random.per_mille(300) => None,
            Fate::GivenUp if self.random.coin() => Some(self.store_ms_max()),
            Fate::GivenUp => Some(TRANSACTION_TIMEOUT_MS + TRANSACTION_LATE_MS_MAX),
        };
        if let Some(delay_ms_max) = arrives {
            let request =
                StoreRequest::Transact { number, transaction: what, fate, era: self.etcd.era() };
            self.within(delay_ms_max, Occurrence::StoreRequest { node: id, run, request });
        }
    }

    /// A request takes up to so long to the store. Once everything is healed it is fast: one that is slower
    /// than leases live lets nobody lead.
    fn store_ms_max(&self) -> u64 {
        if self.healed { self.profile.store_ms_max.min(20) } else { self.profile.store_ms_max }
    }

    /// An answer of the store takes up to so long, likewise.
    fn store_answer_ms_max(&self) -> u64 {
        let usual = self.profile.store_answer_ms_max;
        if self.healed { usual.min(20) } else { usual }
    }

    pub(super) fn read_store(&mut self, id: NodeId, run: u64, number: u64) {
        self.ask(id, run, StoreRequest::Read { number });
    }

    /// Sends a request that is simply lost when the store cannot be reached.
    fn ask(&mut self, node: NodeId, run: u64, request: StoreRequest) {
        if self.node(node).troubles.store_unreachable == 0 {
            let delay_ms_max = self.store_ms_max();
            self.within(delay_ms_max, Occurrence::StoreRequest { node, run, request });
        }
    }

    /// A request has reached the store.
    pub(super) fn serve(&mut self, node: NodeId, run: u64, request: StoreRequest) {
        let now_ms = self.schedule.now_ms();
        let answer = match request {
            // A process that is gone does not ask for a lease any more.
            StoreRequest::Grant { .. } if self.node(node).run != run => return,
            StoreRequest::Grant { sent_ms } => {
                let led = self.etcd.leader();
                let granted = self.etcd.grant(node, self.profile.lease_ttl_ms, now_ms);
                if led != self.etcd.leader() {
                    self.metadata_changed();
                }
                StoreAnswer::Granted { granted, sent_ms }
            }
            StoreRequest::KeepAlive { lease, number } => {
                let ttl_ms = self.etcd.keep_alive(lease, now_ms).unwrap_or(0);
                StoreAnswer::KeptAlive { number, ttl_ms }
            }
            StoreRequest::Read { number } => {
                let observed = self.etcd.observe(ObservationSource::Read(number));
                StoreAnswer::Observed(Box::new(observed))
            }
            // What was on its way when the store was restored never arrives.
            StoreRequest::Transact { number, era, .. } if era != self.etcd.era() => {
                StoreAnswer::Transacted { number, outcome: Outcome::Unknown }
            }
            StoreRequest::Transact { number, transaction, fate, .. } => {
                let outcome = self.serve_transaction(node, &transaction);
                if fate == Fate::GivenUp {
                    return;
                }
                StoreAnswer::Transacted { number, outcome }
            }
        };
        if self.node(node).troubles.store_unreachable == 0 {
            let delay_ms_max = self.store_answer_ms_max();
            self.within(delay_ms_max, Occurrence::StoreAnswer { node, run, answer });
        } else if let StoreAnswer::Transacted { number, .. } = answer {
            let answer = StoreAnswer::Transacted { number, outcome: Outcome::Unknown };
            self.within(TRANSACTION_TIMEOUT_MS, Occurrence::StoreAnswer { node, run, answer });
        }
    }

    fn serve_transaction(&mut self, node: NodeId, transaction: &Transaction) -> Outcome {
        let outcome = self.etcd.transact(node, transaction);
        let now_ms = self.schedule.now_ms();
        self.transcript.note(now_ms, node, || format!("store: {:?} {outcome:?}", transaction.kind));
        if !matches!(outcome, Outcome::Committed(_)) {
            return outcome;
        }
        if let Some(state) = &transaction.state {
            let leader = state.leader.map(|leader| &self.nodes[super::place(leader)]);
            let log = leader.map(|leader| leader.disk.log());
            self.observer.state_written(now_ms, node, state, log);
        }
        if transaction.state.is_some()
            || transaction.report.is_some()
            || transaction.leader != LeaderWrite::Keep
        {
            self.metadata_changed();
        }
        outcome
    }

    /// Whoever watches is told, sooner or later.
    pub(crate) fn metadata_changed(&mut self) {
        let now_ms = self.schedule.now_ms();
        let observation = self.etcd.observe(ObservationSource::Watch);
        for id in self.ids() {
            let lag_ms = if self.node(id).troubles.watch_lags > 0 { WATCH_LAG_MS } else { 0 };
            let lag_ms = self.random.between(1, self.store_answer_ms_max() + lag_ms);
            let node = self.node_mut(id);
            let run = node.run;
            let Some(process) = &mut node.process else { continue };
            // A watch keeps its order.
            process.watch_ms = process.watch_ms.max(now_ms + lag_ms);
            let delay_ms = process.watch_ms - now_ms;
            if node.troubles.watch_broken == 0 && node.troubles.store_unreachable == 0 {
                let answer = StoreAnswer::Observed(Box::new(observation.clone()));
                self.later(delay_ms, Occurrence::StoreAnswer { node: id, run, answer });
            }
        }
    }

    /// After a watch broke: the keys are listed, and watched from there.
    pub(crate) fn list_again(&mut self, node: NodeId) {
        let run = self.node(node).run;
        let observed: Observation = self.etcd.observe(ObservationSource::Watch);
        let answer = StoreAnswer::Observed(Box::new(observed));
        let delay_ms_max = self.store_answer_ms_max();
        self.within(delay_ms_max, Occurrence::StoreAnswer { node, run, answer });
    }

    /// An answer has reached the node.
    pub(super) fn answered(&mut self, id: NodeId, run: u64, answer: StoreAnswer) {
        let process = self.node_mut(id).process_of(run);
        if process.is_some_and(|process| process.paused.is_some()) {
            // The process reads it when it goes on.
            self.later(LEASE_TICK_MS, Occurrence::StoreAnswer { node: id, run, answer });
            return;
        }
        match answer {
            // What the watch was still to say is gone as well.
            StoreAnswer::Observed(observed)
                if observed.source == ObservationSource::Watch
                    && self.node(id).troubles.watch_broken > 0 => {}
            StoreAnswer::Observed(observed) => {
                if observed.state.as_ref().map(|it| &it.value) == self.etcd.state() {
                    self.see_that_it_learns(id, run);
                }
                self.deliver(id, run, Event::Observed(observed));
            }
            StoreAnswer::Transacted { number, outcome } => {
                if matches!(outcome, Outcome::Committed(_)) {
                    self.see_that_it_learns(id, run);
                }
                self.deliver(id, run, Event::Transacted(number, outcome));
            }
            StoreAnswer::Granted { granted, sent_ms } => self.granted(id, run, granted, sent_ms),
            StoreAnswer::KeptAlive { number, ttl_ms } => {
                self.tell_lease(id, run, LeaseInput::Answered { number, ttl_ms });
            }
        }
    }

    /// A process that runs learns of the state as it is. One that stands still will, later.
    fn see_that_it_learns(&mut self, id: NodeId, run: u64) {
        if self.node_mut(id).process_of(run).is_some_and(|process| process.paused.is_none()) {
            self.see(Seen::StateLearnt { node: id });
        }
    }

    /// The node's lease machine is given the time, and signs of life of disk and shard.
    pub(crate) fn see_to_lease(&mut self, id: NodeId) {
        let now_ms = self.schedule.now_ms();
        let node = self.node(id);
        let (run, now) = (node.run, node.clock.instant(now_ms));
        let works = !node.disk.dead;
        let Some(process) = &node.process else { return };
        if process.paused.is_some() {
            return;
        }
        let waits = process.lease.asked_at.is_some_and(|at| now.ms_since(at) > GRANT_TIMEOUT_MS);
        if process.lease.lease.is_none() && waits {
            self.tell_lease(id, run, LeaseInput::Failed);
        }
        self.tell_lease(id, run, LeaseInput::ShardAlive { shard: 0 });
        if works {
            self.tell_lease(id, run, LeaseInput::DiskProbed { begun_at: now });
        }
        self.tell_lease(id, run, LeaseInput::Tick);
    }

    fn tell_lease(&mut self, id: NodeId, run: u64, input: LeaseInput) {
        let now_ms = self.schedule.now_ms();
        let node = self.node_mut(id);
        let now = node.clock.instant(now_ms);
        let Some(process) = node.process_of(run) else { return };
        let mut outputs = Vec::new();
        process.lease.machine.handle(input, now, &mut outputs);
        for output in outputs {
            match output {
                LeaseOutput::Grant => {
                    if let Some(process) = self.node_mut(id).process_of(run) {
                        process.lease.asked_at = Some(now);
                    }
                    self.ask(id, run, StoreRequest::Grant { sent_ms: now.as_ms() });
                }
                LeaseOutput::KeepAlive { number } => {
                    let held = self.node(id).process.as_ref().and_then(|it| it.lease.lease);
                    if let Some(lease) = held {
                        self.ask(id, run, StoreRequest::KeepAlive { lease, number });
                    }
                }
                LeaseOutput::Tell(event) => {
                    if event == LeaseEvent::Lost
                        && let Some(process) = self.node_mut(id).process_of(run)
                    {
                        process.lease.lease = None;
                    }
                    self.deliver(id, run, Event::Lease(event));
                }
            }
        }
    }

    fn granted(&mut self, id: NodeId, run: u64, granted: Granted, sent_ms: u64) {
        let Some(process) = self.node_mut(id).process_of(run) else { return };
        process.lease.lease = Some(granted.lease);
        let Granted { incarnation, node_created, ttl_ms, .. } = granted;
        let sent_at = Instant::from_ms(sent_ms);
        let input = LeaseInput::Granted { sent_at, ttl_ms, incarnation, node_created };
        self.tell_lease(id, run, input);
    }

    /// It is time to look after the lease.
    pub(super) fn keep_alive(&mut self, id: NodeId, run: u64) {
        if self.node_mut(id).process_of(run).is_some() {
            self.judge_lease(id);
            self.see_to_lease(id);
            self.later(LEASE_TICK_MS, Occurrence::KeepAlive { node: id, run });
        }
    }

    /// The store ends leases whose time is over.
    pub(super) fn expire_leases(&mut self) {
        for lease in self.etcd.expired(self.schedule.now_ms()) {
            if self.etcd.revoke(lease) {
                self.metadata_changed();
            }
        }
        self.within(500, Occurrence::LeaseCheck);
    }
}
