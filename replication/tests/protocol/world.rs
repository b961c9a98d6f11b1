//! The world around a few replicas of one partition: wires, disks and the metadata store. Nothing in it
//! happens by itself; whoever drives it picks what happens next.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hasher};

use forebay_format::{ClientHeader, Codec, Epoch, NodeId, Offset, ProducerEpoch, ProducerId};
use forebay_format::{ReplicaId, Sequence, TimestampMs};
use forebay_replication::metadata::{ObservationSource, Outcome, Transaction};
use forebay_replication::{
    Action, Actions, Alarm, Answer, BatchMeta, CommandRefusal, Config, Event, Instant, LeaseEvent,
    LogEvent, Message, Part, Proposal, ReadAnswer, Replica, Token, WriteConcern,
};

use crate::disk::Disk;
use crate::metadata_store::MetadataStore;

/// How long a lease lives, by everybody's clock.
pub(crate) const LEASE_MS: u64 = 10_000;

/// Something that can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The message at this place of the wire arrives.
    Deliver(usize),
    /// The node's log does the first thing it was asked for.
    LogWork(usize),
    /// The node's meta likewise.
    MetaWork(usize),
    /// The metadata store does what is first in the node's line.
    Metadata(usize),
}

/// What a node wants of the metadata store.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ask {
    Read(u64),
    Transact(u64, Box<Transaction>),
}

/// What people and clients were told, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told {
    Answer(Token, Answer),
    Read(Token, ReadAnswer),
    Command(Token, Result<(), CommandRefusal>),
    Alarm(NodeId, Alarm),
    Part(NodeId, Part),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    /// `None` while the process is down.
    pub(crate) replica: Option<Replica>,
    pub(crate) disk: Disk,
    pub(crate) asks: Vec<Ask>,
    pub(crate) wake: Option<Instant>,
}

/// A message under way.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Envelope {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: Message,
    /// A hash of all that.
    pub(crate) print: u64,
}

/// Hashes what would be printed, which sees every field.
#[derive(Debug, Default)]
struct Fingerprint(DefaultHasher);

impl Write for Fingerprint {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

pub(crate) fn fingerprint(value: &impl fmt::Debug) -> u64 {
    let mut print = Fingerprint::default();
    write!(print, "{value:?}").expect("a hasher takes everything");
    print.0.finish()
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct World {
    config: Config,
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Node>,
    pub(crate) wire: Vec<Envelope>,
    pub(crate) store: MetadataStore,
    pub(crate) told: Vec<Told>,
    /// Replica ids that were minted.
    minted: u128,
    /// An operator has given committed records up, so nothing is said about `committed` any more.
    pub(crate) unclean: bool,
    /// What was committed, or acknowledged as committed, at each offset: the payload's checksum.
    pub(crate) committed: BTreeMap<Offset, u32>,
    /// What must never be, and was.
    pub(crate) wrong: Option<String>,
}

impl World {
    /// `count` empty nodes that are up and have leases; the first `assigned` get the partition.
    pub(crate) fn new(count: u32, assigned: u32, config: Config) -> Self {
        let ids: Vec<NodeId> = (1..=count).map(NodeId::new).collect();
        let mut world = Self {
            config,
            now: Instant::from_ms(1_000_000),
            nodes: Vec::new(),
            wire: Vec::new(),
            store: MetadataStore::new((1..=assigned).map(NodeId::new).collect()),
            told: Vec::new(),
            minted: 0,
            unclean: false,
            committed: BTreeMap::new(),
            wrong: None,
        };
        for id in ids {
            let disk = Disk::new(world.mint());
            world.nodes.push(Node { id, replica: None, disk, asks: Vec::new(), wake: None });
            world.start(id);
        }
        world
    }

    fn mint(&mut self) -> ReplicaId {
        self.minted += 1;
        ReplicaId::from_u128(self.minted)
    }

    fn index(&self, id: NodeId) -> usize {
        self.nodes.iter().position(|node| node.id == id).expect("a node of this world")
    }

    /// Starts a process: it recovers its log, and gets a lease.
    pub(crate) fn start(&mut self, id: NodeId) {
        let index = self.index(id);
        let recovered = self.nodes[index].disk.recover();
        self.nodes[index].replica = Some(Replica::new(self.config.clone(), id, recovered));
        self.grant(id);
        self.handle(id, Event::Tick);
    }

    pub(crate) fn grant(&mut self, id: NodeId) {
        let (incarnation, node_created) = self.store.grant(id);
        let until = self.now.plus_ms(LEASE_MS);
        self.handle(id, Event::Lease(LeaseEvent::Granted { incarnation, node_created, until }));
    }

    /// The power of a node goes. Its lease lives on until it is revoked.
    pub(crate) fn crash(&mut self, id: NodeId) {
        let index = self.index(id);
        let node = &mut self.nodes[index];
        node.replica = None;
        node.disk.crash();
        node.asks.clear();
        node.wake = None;
    }

    /// The disk of a node that is down is replaced by an empty one.
    pub(crate) fn lose_disk(&mut self, id: NodeId) {
        let disk = Disk::new(self.mint());
        let index = self.index(id);
        self.nodes[index].disk = disk;
    }

    /// Hands an event to a node, and does what that calls for as far as it needs no waiting.
    pub(crate) fn handle(&mut self, id: NodeId, event: Event) {
        let index = self.index(id);
        let mut actions = Actions::new();
        let Some(replica) = &mut self.nodes[index].replica else { return };
        replica.handle(event, self.now, &mut actions);
        let actions: Vec<Action> = actions.drain().collect();
        for action in actions {
            self.carry_out(index, action);
        }
        self.judge(index);
    }

    fn carry_out(&mut self, index: usize, action: Action) {
        let node = &mut self.nodes[index];
        let id = node.id;
        match action {
            Action::Append(batches) => {
                let control = batches.iter().find(|batch| batch.client.control);
                let begun = control.map(|batch| batch.leader.epoch);
                node.disk.append(batches);
                if let Some(epoch) = begun {
                    self.judge_start(index, epoch);
                }
            }
            Action::Cut(to) => node.disk.log_work.push_back(crate::disk::DiskWork::Cut(to)),
            Action::Reset(at) => node.disk.log_work.push_back(crate::disk::DiskWork::Reset(at)),
            Action::Trim(_) => node.disk.trim(),
            Action::Publish(_) => {}
            Action::PersistMeta { number, meta } => node.disk.meta_work.push_back((number, meta)),
            Action::KeepState(state) => node.disk.state = Some(state),
            Action::Send(to, message) => self.post(id, to, message),
            Action::SendBatches { to, after, batches_max, mut envelope, .. } => {
                let mut upto = after;
                let durable = matches!(envelope, Message::Fetched { .. });
                let found = node.disk.read(after, batches_max, durable);
                if let Some(last) = found.last() {
                    upto = last.position();
                }
                if let Message::Append { batches, .. } | Message::Fetched { batches, .. } =
                    &mut envelope
                {
                    *batches = found;
                }
                if node.disk.stores_after(after) {
                    self.post(id, to, envelope);
                }
                self.handle(id, Event::Log(LogEvent::Sent { to, after, upto }));
            }
            Action::SendStart { to, epoch, asked } => {
                let at = Box::new(node.disk.start());
                self.post(id, to, Message::Start { epoch, asked, at });
            }
            Action::Transact { number, transaction } => {
                node.asks.push(Ask::Transact(number, transaction));
            }
            Action::ReadMetadata { number } => node.asks.push(Ask::Read(number)),
            Action::Answer(token, answer) => {
                self.told.push(Told::Answer(token, answer));
                self.judge_answer(token, answer);
            }
            Action::AnswerRead(token, answer) => self.told.push(Told::Read(token, answer)),
            Action::AnswerCommand(token, answer) => self.told.push(Told::Command(token, answer)),
            Action::Became(part) => self.told.push(Told::Part(id, part)),
            Action::Alarm(alarm) => {
                self.told.push(Told::Alarm(id, alarm));
                if !self.unclean {
                    self.wrong = Some(format!("n{id} raises an alarm: {alarm:?}"));
                }
            }
            Action::Wake(at) => node.wake = Some(at),
        }
    }

    fn post(&mut self, from: NodeId, to: NodeId, message: Message) {
        let print = fingerprint(&(from, to, &message));
        self.wire.push(Envelope { from, to, message, print });
    }

    /// Everything that could happen next, without time passing and without faults.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = (0..self.wire.len()).map(Step::Deliver).collect();
        for (index, node) in self.nodes.iter().enumerate() {
            if !node.disk.log_work.is_empty() {
                steps.push(Step::LogWork(index));
            }
            if !node.disk.meta_work.is_empty() {
                steps.push(Step::MetaWork(index));
            }
            if !node.asks.is_empty() {
                steps.push(Step::Metadata(index));
            }
        }
        steps
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Deliver(at) => {
                let Envelope { from, to, message, .. } = self.wire.remove(at);
                self.handle(to, Event::Message(from, message));
            }
            Step::LogWork(index) => {
                if let Some(event) = self.nodes[index].disk.do_log_work() {
                    self.handle(self.nodes[index].id, Event::Log(event));
                }
            }
            Step::MetaWork(index) => {
                if let Some(event) = self.nodes[index].disk.do_meta_work() {
                    self.handle(self.nodes[index].id, Event::Log(event));
                }
            }
            Step::Metadata(index) => self.metadata(index, false),
        }
    }

    /// The store does what is first in a node's line. `lost`: its answer does not arrive.
    pub(crate) fn metadata(&mut self, index: usize, lost: bool) {
        if self.nodes[index].asks.is_empty() {
            return;
        }
        let id = self.nodes[index].id;
        let event = match self.nodes[index].asks.remove(0) {
            Ask::Read(number) => {
                Event::Observed(Box::new(self.store.observe(ObservationSource::Read(number))))
            }
            Ask::Transact(number, transaction) => {
                let outcome = self.store.transact(id, &transaction);
                Event::Transacted(number, if lost { Outcome::Unknown } else { outcome })
            }
        };
        self.handle(id, event);
    }

    /// Whatever is committed anywhere must be the same, now and for ever, and be in the log of whoever
    /// serves in the highest epoch.
    fn judge(&mut self, index: usize) {
        let node = &self.nodes[index];
        let Some(replica) = node.replica.as_ref().filter(|_| !self.unclean) else { return };
        let upto = replica.committed();
        let records = node.disk.batches().iter().filter(|batch| !batch.client.control);
        let record = |batch: &BatchMeta| (batch.leader.base_offset, batch.client.payload_crc);
        let there: BTreeMap<Offset, u32> = records.map(record).collect();
        for (offset, crc) in there.range(..upto) {
            let known = *self.committed.entry(*offset).or_insert(*crc);
            if known != *crc {
                self.wrong = Some(format!("{known} and {crc} are committed at {offset}"));
            }
        }
        let serves = |node: &Node| match node.replica.as_ref()?.part() {
            Part::Leader(epoch) => Some(epoch),
            _ => None,
        };
        let highest = self.nodes.iter().filter_map(serves).max();
        if highest.is_some() && serves(node) == highest {
            let start = node.disk.first_offset();
            for (offset, crc) in self.committed.range(start..) {
                if there.get(offset) != Some(crc) {
                    let name = format!("n{} serves without {crc}", node.id);
                    self.wrong = Some(format!("{name}, which is committed at {offset}"));
                }
            }
        }
    }

    /// Whoever begins an epoch has everything committed before. While nobody
    /// has promised a higher one, nothing can have been committed after.
    fn judge_start(&mut self, index: usize, epoch: Epoch) {
        let promised = |node: &Node| node.replica.as_ref().map(Replica::promised);
        if self.nodes.iter().filter_map(promised).any(|promised| promised > epoch) {
            return;
        }
        let node = &self.nodes[index];
        let follows = |replica: &Replica| replica.part() == Part::Follower;
        if node.replica.as_ref().is_none_or(follows) {
            return;
        }
        let start = node.disk.first_offset();
        for (offset, crc) in self.committed.range(start..) {
            let is = |batch: &BatchMeta| {
                !batch.client.control
                    && (batch.leader.base_offset, batch.client.payload_crc) == (*offset, *crc)
            };
            if !self.unclean && !node.disk.batches().iter().any(is) {
                let name = format!("n{} begins an epoch without {crc}", node.id);
                self.wrong = Some(format!("{name}, which is committed at {offset}"));
            }
        }
    }

    /// An answer that promises something.
    fn judge_answer(&mut self, token: Token, answer: Answer) {
        let Answer::Acked { base_offset, concern, .. } = answer else { return };
        let committed = matches!(concern, WriteConcern::Quorum | WriteConcern::All);
        // The token of a record is its content, except where a script says otherwise.
        if let Ok(crc) = u32::try_from(token.0)
            && committed
            && !self.unclean
        {
            let known = *self.committed.entry(base_offset).or_insert(crc);
            if known != crc {
                self.wrong = Some(format!("{crc} is acknowledged at {base_offset} like {known}"));
            }
        }
    }

    /// One record whose content is `crc`, to a node.
    pub(crate) fn propose(&mut self, id: NodeId, crc: u32, concern: WriteConcern) {
        self.propose_batch(id, u64::from(crc), record(crc), concern);
    }

    pub(crate) fn propose_batch(
        &mut self,
        id: NodeId,
        token: u64,
        batch: ClientHeader,
        concern: WriteConcern,
    ) {
        let append_time = TimestampMs::new(0);
        let token = Token(token);
        let proposal = Proposal { token, batch, concern, deadline: None, append_time };
        self.handle(id, Event::Propose(proposal));
    }

    /// The node that serves as leader, in which epoch: the one of the highest epoch.
    pub(crate) fn leader(&self) -> Option<(Epoch, NodeId)> {
        let serving = self.nodes.iter().filter_map(|node| match node.replica.as_ref()?.part() {
            Part::Leader(epoch) => Some((epoch, node.id)),
            _ => None,
        });
        serving.max()
    }

    pub(crate) fn read(&mut self, id: NodeId, epoch: u64, offset: u64) -> ReadAnswer {
        let (epoch, offset) = (Epoch::new(epoch), Offset::new(offset));
        let request = forebay_replication::ReadRequest { token: Token(0), epoch, offset };
        self.handle(id, Event::Read(request));
        match self.told.pop() {
            Some(Told::Read(_, answer)) => answer,
            other => panic!("a read is answered at once, but {other:?}"),
        }
    }
}

/// A batch of one record without a producer.
pub(crate) fn record(crc: u32) -> ClientHeader {
    ClientHeader {
        codec: Codec::None,
        control: false,
        payload_bytes: 8,
        record_count: 1,
        first_timestamp: TimestampMs::ZERO,
        max_timestamp: TimestampMs::ZERO,
        producer_id: ProducerId::NONE,
        first_sequence: Sequence::ZERO,
        producer_epoch: ProducerEpoch::ZERO,
        payload_crc: crc,
    }
}
