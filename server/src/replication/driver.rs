//! One replica of a partition: hands what happens to the protocol, and carries out what that wants, in
//! order. It decides nothing.
//!
//! ```text
//!  clients ── propose ──▶┐                    ┌──▶ append, cut, reset, meta ──▶ log
//!  peers ──── messages ─▶┤                    ├──▶ messages, batches ──▶ links
//!  log ────── durable ──▶┼─▶ protocol ── actions ─▶ transactions, reads ──▶ etcd
//!  etcd ───── lease, … ─▶┤                    ├──▶ answers ──▶ clients
//!  clock ──── tick ─────▶┘                    └──▶ marks ──▶ readers
//! ```

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use async_channel::Receiver;
use forebay_engine::{
    AppendError, Appended, Completion, IncomingBatch, Lineage, Opened, ReplicaLog, ReserveError,
    Sequencer, StampedBatch, WriteRefusal,
};
use forebay_format::{
    BatchMeta, ClientHeader, Epoch, LeaderFields, LogState, NodeId, Offset, PartitionId, Position,
};
use forebay_proto::v1::ClusterEventKind;
use forebay_replication::metadata::PartitionState;
use forebay_replication::placement::ReplicationFactor;
use forebay_replication::trace::Beginning;
use forebay_replication::{
    Action, Actions, Alarm, Answer, Command, CommandRefusal, Config, Event, LogEvent, Message,
    Part, Proposal, ReadRequest, Recovered, Replica, Token,
};

use super::alarms::{graver, still_holds};
use super::answers::{self, Answers};
use super::commands::{COMMAND_PATIENCE, Commands, Outcome};
use super::copies;
use super::feed::Feeds;
use super::link::{Batches, Destination};
use super::metrics::add;
use super::reading;
use super::surroundings::Surroundings;
use super::timer::Timer;
use super::trace::Trace;
use super::window::Window;
use super::wire;
use crate::clock;
use crate::leadership::{EtcdRequest, state_value};
use crate::net;
use crate::operations::{self, ReplicaReport, Role, Subject, words_of_alarm};

/// How long what the disk has refused waits before it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Streams give up by themselves, mostly sooner. What nobody waits for any more must not wait here either.
const ANSWER_WITHIN_MS: u64 = 10 * 60 * 1000;

/// See the module. Always in an `Rc`: its tasks hold it.
pub(super) struct Driver {
    pub(super) id: PartitionId,
    pub(super) surroundings: Rc<Surroundings>,
    /// Times and limits of the protocol, as the topic has them.
    config: Config,
    pub(super) log: ReplicaLog,
    /// `None` until the log was recovered, and when it is out of service.
    replica: RefCell<Option<Replica>>,
    /// What has happened and was not handed in yet, with the batches that came with it.
    inbox: RefCell<VecDeque<(Event, VecDeque<StampedBatch>)>>,
    /// Something is being handed in or carried out: what happens meanwhile waits.
    busy: Cell<bool>,
    /// Empty; kept for its memory.
    actions: RefCell<Actions>,
    pub(super) window: RefCell<Window>,
    pub(super) feeds: Feeds,
    answers: RefCell<Answers>,
    commands: RefCell<Commands>,
    /// Answers that one event has led to, which leave together.
    answered: RefCell<Vec<(Completion, Result<Appended, AppendError>)>>,
    pub(super) timer: Timer,
    /// Where traces are wanted.
    trace: RefCell<Option<Trace>>,
    /// What people must look at.
    alarm: Cell<Option<Alarm>>,
    /// What each other replica has made durable, as it said last. For people.
    acknowledged: RefCell<BTreeMap<NodeId, Offset>>,
}

impl Driver {
    /// A replica whose log is still to be opened, which begins now.
    pub(super) fn start(
        id: PartitionId,
        surroundings: Rc<Surroundings>,
        config: Config,
        log: ReplicaLog,
    ) -> Rc<Self> {
        let driver = Rc::new(Self {
            id,
            surroundings,
            config,
            log,
            replica: RefCell::default(),
            inbox: RefCell::default(),
            busy: Cell::new(true),
            actions: RefCell::default(),
            window: RefCell::default(),
            feeds: Feeds::default(),
            answers: RefCell::default(),
            commands: RefCell::default(),
            answered: RefCell::default(),
            timer: Timer::default(),
            trace: RefCell::default(),
            alarm: Cell::default(),
            acknowledged: RefCell::default(),
        });
        net::spawn(Rc::clone(&driver).open());
        driver
    }

    /// Opens the log, and begins to hand in what has happened since.
    async fn open(self: Rc<Self>) {
        loop {
            let sequencer: Rc<dyn Sequencer> = Rc::new(OfClients(Rc::clone(&self)));
            match self.log.open(sequencer).await {
                Ok(Opened { meta, state }) => {
                    let config = self.config.clone();
                    let kept = self.kept_state().await;
                    let recovered = Recovered { meta, log: state, state: kept.map(Box::new) };
                    self.begin_trace(&config, &recovered);
                    let replica = Replica::new(config, self.surroundings.node, recovered);
                    self.replica.replace(Some(replica));
                    self.busy.set(false);
                    self.handle(Event::Tick);
                    return;
                }
                // R11: what begins in the place of what is damaged is another replica.
                Err(ReserveError::Corrupt(corruption)) => {
                    tracing::error!(partition = %self.id, %corruption, "the replica is damaged and is put aside");
                    match self.log.set_aside().await {
                        Ok(place) => {
                            tracing::warn!(partition = %self.id, place = %place.display(), "put aside");
                        }
                        Err(error) => {
                            tracing::error!(partition = %self.id, %error, "it cannot be put aside");
                            net::sleep(RETRY).await;
                        }
                    }
                }
                // There will be no replica: what waits is worked off all the same.
                Err(ReserveError::Stopping | ReserveError::Unknown) => return self.work_off(),
                Err(error) => {
                    tracing::error!(partition = %self.id, %error, "the replica's log cannot be opened");
                    net::sleep(RETRY).await;
                }
            }
        }
    }

    fn begin_trace(&self, config: &Config, recovered: &Recovered) {
        let Some(directory) = &self.surroundings.traces else { return };
        let (config, node) = (config.clone(), self.surroundings.node);
        let beginning = Beginning { config, node, recovered: recovered.clone() };
        match Trace::begin(directory, self.id, clock::boottime(), &beginning) {
            Ok(trace) => drop(self.trace.replace(Some(trace))),
            Err(error) => tracing::warn!(partition = %self.id, %error, "a trace cannot be written"),
        }
    }

    /// The copy of the state that was kept last, if it is there and whole (R2).
    async fn kept_state(&self) -> Option<PartitionState> {
        let note = self.log.note().await;
        let error = match note.map(|note| note.map(|note| state_value::decode(&note))) {
            Ok(None) => return None,
            Ok(Some(Ok(state))) => return Some(state),
            Ok(Some(Err(error))) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(partition = %self.id, error, "the copy of the partition's state is of no use");
        None
    }

    // ---- what happens ----

    /// Something has happened.
    pub(super) fn handle(self: &Rc<Self>, event: Event) {
        self.handle_with(event, VecDeque::new());
    }

    /// A message has come, with these batches.
    pub(super) fn receive(
        self: &Rc<Self>,
        from: NodeId,
        message: Message,
        batches: VecDeque<StampedBatch>,
    ) {
        if let Message::Appended { durable, .. } = &message {
            self.feeds.flow(from).durable(*durable);
            self.acknowledged.borrow_mut().insert(from, durable.end);
        }
        self.handle_with(Event::Message(from, message), batches);
    }

    /// The way to a node broke.
    pub(super) fn peer_lost(self: &Rc<Self>, node: NodeId) {
        self.feeds.flow(node).lost();
        self.handle(Event::PeerLost(node));
    }

    fn handle_with(self: &Rc<Self>, event: Event, batches: VecDeque<StampedBatch>) {
        self.inbox.borrow_mut().push_back((event, batches));
        if !self.busy.replace(true) {
            self.work_off();
        }
    }

    /// Hands in what waits. `busy` is set, and is not afterwards.
    fn work_off(self: &Rc<Self>) {
        loop {
            let next = self.inbox.borrow_mut().pop_front();
            let Some((event, mut batches)) = next else { break };
            let mut actions = self.decide(event);
            for action in actions.drain() {
                self.carry_out(action, &mut batches);
            }
            self.actions.replace(actions);
            self.send_answers();
        }
        self.busy.set(false);
    }

    /// What the protocol wants done. The list is to be given back to `actions` when it is. Without a replica
    /// nothing is done, and whoever gave a command hears so.
    fn decide(&self, event: Event) -> Actions {
        let mut actions = self.actions.take();
        let now = clock::boottime();
        if let Some(replica) = &mut *self.replica.borrow_mut() {
            let trace = &mut *self.trace.borrow_mut();
            let seen = trace.as_ref().map(|_| event.clone());
            replica.handle(event, now, &mut actions);
            if let (Some(open), Some(event)) = (&mut *trace, seen)
                && !open.step(now, event, actions.as_slice())
            {
                *trace = None;
            }
        } else if let Event::Command(token, _) = event {
            self.commands.borrow_mut().answer(token, Err(CommandRefusal::GivenUp));
        }
        actions
    }

    /// Gives it a command. The answer comes when it was carried out, or given up; while the log is being opened
    /// it waits.
    pub(super) fn command(self: &Rc<Self>, command: Command) -> Receiver<Outcome> {
        let (token, answer) = self.commands.borrow_mut().begin();
        self.handle(Event::Command(token, command));
        answer
    }

    /// Whether it leads, and serves.
    pub(super) fn leads(&self) -> bool {
        self.with_replica(|replica| matches!(replica.part(), Part::Leader(_))) == Some(true)
    }

    /// As a leader, moves the log start past what the topic's settings want no more.
    pub(super) async fn expire(self: &Rc<Self>) {
        if self.leads()
            && let Some(to) = self.log.retention_wants().await
        {
            let answer = self.command(Command::AdvanceLogStart { to });
            net::timeout(COMMAND_PATIENCE, answer.recv()).await;
        }
    }

    /// As a leader, gives nodes the copies that the partition is to have.
    pub(super) async fn spread(
        self: &Rc<Self>,
        factor: ReplicationFactor,
        idlest_first: &[NodeId],
    ) {
        let led = |replica: &Replica| replica.state().filter(|_| self.leads()).cloned();
        let Some(Some(state)) = self.with_replica(led) else { return };
        if let Some(to) = copies::wanted(&state, factor, idlest_first) {
            tracing::info!(partition = %self.id, ?to, "nodes get copies");
            // What is in the way now is tried again.
            let answer = self.command(Command::Copies { to });
            net::timeout(COMMAND_PATIENCE, answer.recv()).await;
        }
    }

    /// Looks at the protocol's state.
    pub(super) fn with_replica<T>(&self, look: impl FnOnce(&Replica) -> T) -> Option<T> {
        self.replica.borrow().as_ref().map(look)
    }

    // ---- what is to be done ----

    fn carry_out(self: &Rc<Self>, action: Action, batches: &mut VecDeque<StampedBatch>) {
        match action {
            Action::Append(metas) => self.append(&metas, batches),
            Action::Cut(to) => {
                tracing::info!(partition = %self.id, %to, "cutting the log where it parts from the leader's");
                self.rewrite(move |log| log.cut(to), LogEvent::CutDone);
            }
            Action::Reset(state) => {
                self.rewrite(move |log| log.reset((*state).clone()), LogEvent::ResetDone);
            }
            Action::Trim(log_start) => self.log.trim(log_start),
            Action::PersistMeta { number, meta } => {
                let (driver, persisted) = (Rc::clone(self), self.log.persist_meta(meta));
                net::spawn(async move {
                    if persisted.await.is_ok() {
                        driver.handle(Event::Log(LogEvent::MetaDurable(number)));
                    }
                });
            }
            Action::Send(to, message) => self.send(to, &message),
            Action::SendBatches { to, after, batches_max, catching_up, envelope } => {
                let feed = Rc::clone(self).feed((to, catching_up), after, batches_max, envelope);
                net::spawn(feed);
            }
            Action::SendStart { to, epoch, asked } => {
                let driver = Rc::clone(self);
                net::spawn(async move {
                    match driver.log.start_state().await {
                        Ok(state) => {
                            let at = Box::new(state);
                            driver.send(to, &Message::Start { epoch, asked, at });
                        }
                        Err(error) => {
                            tracing::warn!(partition = %driver.id, %error, "the log's start cannot be read");
                        }
                    }
                });
            }
            Action::Transact { number, transaction } => {
                let partition = self.id;
                let request = EtcdRequest::Transact { partition, number, transaction };
                self.surroundings.ask(request);
            }
            Action::KeepState(state) => {
                let (id, kept) = (self.id, self.log.keep_note(state_value::encode(&state)));
                net::spawn(async move {
                    if let Err(error) = kept.await {
                        tracing::warn!(partition = %id, %error, "a copy of the partition's state cannot be kept");
                    }
                });
            }
            Action::ReadMetadata { number } => {
                self.surroundings.ask(EtcdRequest::Read { partition: self.id, number });
            }
            Action::Answer(token, answer) => self.answer(token, answer),
            // Whoever asks takes it out of the list.
            Action::AnswerRead(..) => {}
            Action::AnswerCommand(token, outcome) => {
                self.commands.borrow_mut().answer(token, outcome);
            }
            Action::Publish(marks) => self.log.set_committed(marks.committed),
            Action::Became(part) => self.became(part),
            Action::Alarm(alarm) => self.alarm(alarm),
            Action::Wake(at) => self.wake(at),
        }
    }

    fn append(self: &Rc<Self>, metas: &[BatchMeta], batches: &mut VecDeque<StampedBatch>) {
        let mut stamped = Vec::with_capacity(metas.len());
        for meta in metas {
            // What the log has already was left out.
            while batches.front().is_some_and(|batch| batch.meta() != meta) {
                batches.pop_front();
            }
            stamped.push(batches.pop_front().unwrap_or_else(|| {
                assert!(meta.client.control, "a batch came with its message or begins an epoch");
                StampedBatch::epoch_start(meta.leader.append_time, meta.leader)
            }));
        }
        let (driver, appended) = (Rc::clone(self), self.log.append(stamped));
        net::spawn(async move {
            if let Err(error) = appended.await {
                tracing::warn!(partition = %driver.id, %error, "batches could not be appended");
            }
        });
    }

    /// Cuts or resets the log, and says so when it is done. What the disk refuses is repeated, until the log is
    /// out of service.
    fn rewrite<F>(
        self: &Rc<Self>,
        attempt: impl Fn(&ReplicaLog) -> F + 'static,
        done: fn(Box<LogState>) -> LogEvent,
    ) where
        F: Future<Output = Result<LogState, ReserveError>>,
    {
        self.window.borrow_mut().clear();
        let driver = Rc::clone(self);
        net::spawn(async move {
            loop {
                match attempt(&driver.log).await {
                    Ok(state) => return driver.handle(Event::Log(done(Box::new(state)))),
                    Err(error @ ReserveError::Unavailable { .. }) => {
                        tracing::warn!(partition = %driver.id, %error, "the log cannot be rewritten; trying again");
                        net::sleep(RETRY).await;
                    }
                    Err(_) => return,
                }
            }
        });
    }

    /// Sends a message without batches.
    fn send(&self, to: NodeId, message: &Message) {
        self.send_with((to, false), message, Batches::new());
    }

    /// Sends a message and its batches, live or on the way of those that catch up.
    pub(super) fn send_with(
        &self,
        (to, catching_up): (NodeId, bool),
        message: &Message,
        batches: Batches,
    ) {
        if let Some(destination) = self.destination(to, catching_up) {
            let message = wire::encode(self.id, message);
            self.surroundings.links.send(destination, message, batches);
        }
    }

    /// The shard of a node that has the other replica; `None` while the node is not there.
    pub(super) fn destination(&self, node: NodeId, catching_up: bool) -> Option<Destination> {
        let shard = self.surroundings.links.directory().shard_of(node, self.id)?;
        Some(Destination { node, shard, catching_up })
    }

    fn answer(&self, token: Token, answer: Answer) {
        let answer = self.answers.borrow_mut().answer(token, answer, &self.surroundings.metrics);
        self.answered.borrow_mut().extend(answer);
    }

    /// Answers together what one event has answered.
    fn send_answers(&self) {
        let answers = self.answered.take();
        if !answers.is_empty() {
            Completion::answer_all(answers);
        }
    }

    fn became(&self, part: Part) {
        if let Part::Follower = part {
            self.window.borrow_mut().clear();
        }
        self.feeds.interrupt();
        let metrics = &self.surroundings.metrics;
        match part {
            Part::Follower => {}
            Part::Candidate(_) => {
                self.acknowledged.borrow_mut().clear();
                add(&metrics.elections, 1);
            }
            Part::Leader(_) => add(&metrics.elections_won, 1),
        }
        let serves = matches!(part, Part::Leader(_));
        self.surroundings.leaders.set_serving(self.id, serves);
        tracing::info!(partition = %self.id, ?part, "the replica's part has changed");
    }

    /// How it is, for people.
    pub(super) fn report(&self) -> ReplicaReport {
        let alarm = self.alarm.get();
        let report = self.with_replica(|replica| {
            let state = replica.state();
            ReplicaReport {
                partition: self.id,
                role: replica.part().into(),
                epoch: replica.promised(),
                log_start: replica.log().log_start,
                end: replica.log().end,
                durable: replica.durable().end,
                committed: replica.committed(),
                state_version: state.map_or(0, |state| state.version),
                remembered_version: replica.remembered_version(),
                voters: state.map_or(0, |state| state.replicas.len()),
                in_sync: state.map_or(0, |state| state.isr.len()),
                unclean: state.and_then(|state| state.unclean.last().copied()),
                alarm: alarm.filter(|alarm| still_holds(alarm, state)),
                acknowledged: self.acknowledged_to(replica),
            }
        });
        report.unwrap_or_else(|| ReplicaReport::closed(self.id))
    }

    /// As a leader: what those who are to have a replica have said. Others are of no concern any more.
    fn acknowledged_to(&self, replica: &Replica) -> Vec<(NodeId, Offset)> {
        let Some(state) = replica.state().filter(|_| Role::from(replica.part()) == Role::Leader)
        else {
            return Vec::new();
        };
        let nodes = state.nodes();
        let acknowledged = self.acknowledged.borrow();
        let known = acknowledged.iter().filter(|(node, _)| nodes.contains(node));
        known.map(|(node, end)| (*node, *end)).collect()
    }

    fn alarm(&self, alarm: Alarm) {
        self.alarm.set(Some(graver(self.alarm.get(), alarm)));
        let (reason, words) = words_of_alarm(&alarm);
        self.surroundings.operations.history.record(operations::Event {
            kind: ClusterEventKind::Alarm,
            subject: Subject::partition(self.id, Some(self.surroundings.node)),
            number: None,
            message: format!("{reason}: the replica on node {}: {words}", self.surroundings.node),
        });
        match alarm {
            Alarm::MetadataRolledBack { seen, found } => tracing::error!(
                partition = %self.id, seen, found,
                "METADATA_ROLLED_BACK: etcd holds an older state than replicas have seen; the partition is read-only \
                 until an operator confirms it"
            ),
            Alarm::CutBelowCommitted { cut, committed } => tracing::error!(
                partition = %self.id, %cut, %committed,
                "told to cut below what is committed; the replica takes part in nothing until people have looked at it"
            ),
            Alarm::ChainBroken { at } => tracing::error!(
                partition = %self.id, %at,
                "the leader's log does not continue this one; the replica takes part in nothing until people have \
                 looked at it"
            ),
        }
    }
}

/// What the engine asks and tells.
struct OfClients(Rc<Driver>);

impl Sequencer for OfClients {
    fn propose(
        &self,
        batch: &IncomingBatch,
        client: &ClientHeader,
        done: Completion,
    ) -> Option<LeaderFields> {
        let driver = &self.0;
        // The log takes batches as soon as it is open, and until it knows that it is out of service: there is
        // nobody yet, or no more, who could decide about them.
        if driver.replica.borrow().is_none() {
            done.answer(Err(AppendError::NotAdmitted(WriteRefusal::NotServing)));
            return None;
        }
        let concern = answers::concern(done.when);
        let token = driver.answers.borrow_mut().wait(done, client.record_count);
        assert!(!driver.busy.replace(true), "clients' batches come from tasks of their own");
        let after = driver.with_replica(|replica| replica.log().position()).unwrap_or_default();
        let proposal = Proposal {
            token,
            batch: *client,
            concern,
            deadline: Some(clock::boottime().plus_ms(ANSWER_WITHIN_MS)),
            append_time: clock::now(),
        };
        let mut fields = None;
        let mut actions = driver.decide(Event::Propose(proposal));
        for action in actions.drain() {
            if let Action::Append(metas) = &action
                && let [meta] = metas.as_slice()
            {
                driver.answers.borrow_mut().appended(token, meta);
                driver.window.borrow_mut().push(after, batch, meta);
                fields = Some(meta.leader);
            } else {
                driver.carry_out(action, &mut VecDeque::new());
            }
        }
        driver.actions.replace(actions);
        driver.send_answers();
        driver.work_off();
        fields
    }

    fn lineage(&self, epoch: Epoch, offset: Offset) -> Lineage {
        let driver = &self.0;
        // The log can be read as soon as it is open, and what was kept of the replica may still be on its way: there
        // is nobody yet who knows the log's past.
        if driver.replica.borrow().is_none() {
            return Lineage::Ahead;
        }
        assert!(!driver.busy.replace(true), "readers come from tasks of their own");
        let own = driver.with_replica(|replica| replica.log().position().epoch).unwrap_or_default();
        // It is answered in this very call, so any token will do.
        let request = ReadRequest { token: Token(0), epoch, offset };
        let mut actions = driver.decide(Event::Read(request));
        let mut lineage = Lineage::Ahead;
        for action in actions.drain() {
            match action {
                Action::AnswerRead(_, answer) => lineage = reading::lineage(answer, own, &request),
                action => driver.carry_out(action, &mut VecDeque::new()),
            }
        }
        driver.actions.replace(actions);
        driver.send_answers();
        driver.work_off();
        lineage
    }

    fn durable(&self, upto: Position) {
        self.0.window.borrow_mut().trim(upto);
        self.0.feeds.interrupt();
        self.0.handle(Event::Log(LogEvent::Durable(upto)));
    }

    fn ended(&self, why: &ReserveError) {
        tracing::info!(partition = %self.0.id, %why, "the replica's log is out of service");
        self.0.replica.take();
        self.0.surroundings.leaders.set_serving(self.0.id, false);
        self.0.commands.borrow_mut().give_up();
        Completion::answer_all(self.0.answers.borrow_mut().abandon());
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("id", &self.id).finish_non_exhaustive()
    }
}
