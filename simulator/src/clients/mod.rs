//! Who uses the partition: producers, consumers, and an operator. Each takes turns, calls a node over
//! a connection that may break, and goes on with what it was told.

mod calls;
mod consumer;
mod operator;
mod producer;

use std::collections::BTreeMap;

use forebay_checker::{AttemptId, Record, Stamp, WriteConcern};
use forebay_format::{Epoch, NodeId, Offset};
use forebay_replication::{Answer, Command, Token};

use crate::profile::Profile;
use crate::random::Random;
use crate::world::World;
use consumer::Consumer;
use operator::Operator;
use producer::Producer;

/// Calls that a seed has to have made before it is healed.
const OPERATIONS_WANTED: u64 = 300;

/// Which client, among those of its sort.
pub(crate) type Place = usize;

/// Something that happens to a client.
#[derive(Debug)]
pub(crate) enum ClientOccurrence {
    ProducerTurn(Place),
    ConsumerTurn(Place),
    OperatorTurn,
    /// A call reaches a node.
    Call {
        to: NodeId,
        token: Token,
    },
    /// A write is answered; `None`: it is given up on.
    Wrote {
        producer: Place,
        attempt: AttemptId,
        answer: Option<Answer>,
    },
    /// A read is answered, or given up on.
    HasRead {
        consumer: Place,
        call: u64,
        answer: ReadOutcome,
    },
}

/// How a read ended for a consumer.
#[derive(Debug)]
pub(crate) enum ReadOutcome {
    Records { from: NodeId, records: Vec<Record> },
    Ahead { leader: Option<NodeId> },
    BelowLogStart(Offset),
    DataLoss(Offset),
    NoAnswer,
}

/// A batch that a producer wants written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    /// Its number, which no other batch has.
    pub(crate) number: u64,
    pub(crate) count: u32,
    pub(crate) concern: WriteConcern,
    pub(crate) stamp: Option<Stamp>,
}

/// A call that no node has answered yet.
#[derive(Debug)]
pub(crate) enum Call {
    /// `known`: the node had its batch before, and only waits for what becomes of that.
    Write {
        producer: Place,
        attempt: AttemptId,
        batch: Batch,
        known: bool,
    },
    Read {
        consumer: Place,
        call: u64,
        epoch: Epoch,
        offset: Offset,
    },
    Command(Command),
}

/// All clients.
#[derive(Debug)]
pub(crate) struct Clients {
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    operator: Operator,
    /// Calls on their way or under way.
    calls: BTreeMap<Token, Call>,
    tokens: u64,
    attempts: u64,
    reads: u64,
    /// Batches that were made; also the number of the last one.
    batches: u64,
    batches_wanted: u64,
    /// After the healing, the first producer is to write once more.
    pub(crate) last_write_wanted: bool,
}

impl Clients {
    pub(crate) fn new(profile: &Profile, random: &mut Random) -> Self {
        let producers = (0..profile.clients.producers).map(|place| Producer::new(place, random));
        let consumers = (0..profile.clients.consumers).map(|_| Consumer::new());
        Self {
            producers: producers.collect(),
            consumers: consumers.collect(),
            operator: Operator::default(),
            calls: BTreeMap::new(),
            tokens: 0,
            attempts: 0,
            reads: 0,
            batches: 0,
            batches_wanted: profile.clients.batches_wanted,
            last_write_wanted: false,
        }
    }

    /// Calls that were made.
    pub(crate) const fn operations(&self) -> u64 {
        self.attempts + self.reads
    }

    pub(crate) const fn have_done_enough(&self) -> bool {
        self.batches >= self.batches_wanted && self.operations() >= OPERATIONS_WANTED
    }

    /// How many times its usual pause a client makes: those that have done enough wait for the faults.
    const fn patience(&self, healed: bool) -> u64 {
        if self.have_done_enough() && !healed { 5 } else { 1 }
    }

    /// Whether every write has ended, and every consumer has read up to `end`.
    pub(crate) fn have_caught_up(&self, end: Offset) -> bool {
        self.producers.iter().all(Producer::is_done)
            && self.consumers.iter().all(|consumer| consumer.stands_at(end))
    }

    /// Whether a command of the operator is on its way, or was never answered.
    pub(crate) fn are_commanding(&self) -> bool {
        self.calls.values().any(|call| matches!(call, Call::Command(_)))
    }

    /// A write was taken in without being appended.
    pub(crate) fn is_known(&mut self, token: Token) {
        if let Some(Call::Write { known, .. }) = self.calls.get_mut(&token) {
            *known = true;
        }
    }

    fn token(&mut self, call: Call) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.calls.insert(token, call);
        token
    }
}

impl World {
    pub(crate) fn start_clients(&mut self) {
        for place in 0..self.clients.producers.len() {
            self.client_later(2_000, ClientOccurrence::ProducerTurn(place));
        }
        for place in 0..self.clients.consumers.len() {
            self.begin_consumer(place, Offset::ZERO);
            self.client_later(2_000, ClientOccurrence::ConsumerTurn(place));
        }
        self.client_later(3_000, ClientOccurrence::OperatorTurn);
    }

    pub(crate) fn client(&mut self, what: ClientOccurrence) {
        match what {
            ClientOccurrence::ProducerTurn(place) => self.producer_turn(place),
            ClientOccurrence::ConsumerTurn(place) => self.consumer_turn(place),
            ClientOccurrence::OperatorTurn => self.operator_turn(),
            ClientOccurrence::Call { to, token } => self.called(to, token),
            ClientOccurrence::Wrote { producer, attempt, answer } => {
                self.wrote(producer, attempt, answer);
            }
            ClientOccurrence::HasRead { consumer, call, answer } => {
                self.has_read(consumer, call, answer);
            }
        }
    }
}
