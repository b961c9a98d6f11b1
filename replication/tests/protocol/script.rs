//! Drives a world in a fixed order and writes down what happens, for people.

use std::fmt::Write;

use forebay_format::NodeId;
use forebay_replication::metadata::{ObservationSource, Revision};
use forebay_replication::{
    Answer, Command, Config, Event, Instant, LeaseEvent, Message, Part, ReadAnswer, Token,
    WriteConcern,
};

use crate::metadata_store::MetadataStore;
use crate::world::{Ask, Envelope, LEASE_MS, Step, Told, World};

/// Why writing to a string cannot fail.
const TEXT: &str = "a string takes everything";

/// A world with a transcript.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) world: World,
    text: String,
    told: usize,
    /// Messages on these links stay on the wire.
    held: Vec<(u32, u32)>,
    /// These nodes get no answer from the metadata store, nor their leases renewed.
    cut_off: Vec<u32>,
    /// These nodes hear nothing from the metadata store, but their leases live.
    storeless: Vec<u32>,
    /// The logs of these nodes do nothing that they are asked for.
    hung: Vec<u32>,
    /// The last revision that watchers were told of.
    watched: Revision,
    /// Whether messages are written down.
    pub(crate) verbose: bool,
}

pub(crate) fn id(node: u32) -> NodeId {
    NodeId::new(node)
}

impl Script {
    /// Three nodes of which the first leads in epoch 1, with nothing left to do.
    pub(crate) fn three(config: Config) -> Self {
        let mut script = Self::nodes(3, config);
        script.run_until(|world| world.leader().is_some_and(|(_, node)| node == id(1)));
        script.settle();
        script.text.clear();
        script
    }

    /// Nodes that have just started.
    pub(crate) fn nodes(count: u32, config: Config) -> Self {
        Self::nodes_of(count, count, config)
    }

    /// Nodes that have just started, of which the first few are assigned the partition.
    pub(crate) fn nodes_of(count: u32, assigned: u32, config: Config) -> Self {
        Self {
            world: World::new(count, assigned, config),
            text: String::new(),
            told: 0,
            held: Vec::new(),
            cut_off: Vec::new(),
            storeless: Vec::new(),
            hung: Vec::new(),
            watched: Revision::ABSENT,
            verbose: false,
        }
    }

    /// A line of the author.
    pub(crate) fn note(&mut self, text: &str) {
        writeln!(self.text, "-- {text}").expect(TEXT);
    }

    pub(crate) fn hold(&mut self, from: u32, to: u32) {
        self.held.push((from, to));
    }

    /// Holds everything to and from a node.
    pub(crate) fn isolate(&mut self, node: u32) {
        for other in 1..=5 {
            self.hold(node, other);
            self.hold(other, node);
        }
    }

    /// The log of a node does nothing any more that it is asked for.
    pub(crate) fn hang(&mut self, node: u32) {
        self.hung.push(node);
    }

    pub(crate) fn heal(&mut self) {
        self.held.clear();
        self.cut_off.clear();
        self.hung.clear();
    }

    /// Loses what is on the wire.
    pub(crate) fn lose_messages(&mut self) {
        self.world.wire.clear();
    }

    pub(crate) fn cut_off(&mut self, node: u32) {
        self.cut_off.push(node);
    }

    /// The store neither answers nor tells this node anything, but its lease lives.
    pub(crate) fn cut_off_store(&mut self, node: u32) {
        self.storeless.push(node);
    }

    pub(crate) fn heal_store(&mut self) {
        self.storeless.clear();
    }

    pub(crate) fn crash(&mut self, node: u32) {
        self.world.crash(id(node));
        self.note(&format!("n{node} crashes"));
    }

    pub(crate) fn restart(&mut self, node: u32) {
        self.note(&format!("n{node} restarts"));
        self.world.start(id(node));
    }

    /// Ends a node's lease in the store; the node does not know.
    pub(crate) fn revoke(&mut self, node: u32) {
        self.note(&format!("the store ends the lease of n{node}"));
        self.world.store.revoke(id(node));
    }

    /// Takes all from the store but who was assigned the partition; nodes get new leases.
    pub(crate) fn empty_store(&mut self) {
        let nodes: Vec<NodeId> = self.world.nodes.iter().map(|node| node.id).collect();
        self.world.store = MetadataStore::new(nodes.clone());
        self.watched = Revision::ABSENT;
        for node in nodes {
            self.world.grant(node);
        }
    }

    pub(crate) fn propose(&mut self, node: u32, crc: u32, concern: WriteConcern) {
        writeln!(self.text, "client: write {crc} to n{node}, {concern:?}").expect(TEXT);
        self.world.propose(id(node), crc, concern);
        self.take_told();
    }

    /// n1 leads, appends what reaches nobody, and dies. Somebody else leads.
    pub(crate) fn first_leader_dies_with(&mut self, records: [u32; 3]) {
        self.isolate(1);
        for number in records {
            self.propose(1, number, WriteConcern::Quorum);
        }
        self.settle();
        self.lose_messages();
        self.crash(1);
        self.revoke(1);
        self.heal();
        self.run_until(|world| world.leader().is_some());
    }

    pub(crate) fn command(&mut self, node: u32, token: u64, command: Command) {
        writeln!(self.text, "operator: {token} to n{node}: {command:?}").expect(TEXT);
        self.world.handle(id(node), Event::Command(Token(token), command));
        self.take_told();
    }

    pub(crate) fn read(&mut self, node: u32, epoch: u64, offset: u64) -> ReadAnswer {
        let answer = self.world.read(id(node), epoch, offset);
        let shown = match answer {
            ReadAnswer::Readable { upto } => format!("up to {upto}"),
            ReadAnswer::Ahead { committed, .. } => format!("ahead of {committed}"),
            ReadAnswer::BelowLogStart { log_start } => format!("below log start {log_start}"),
            ReadAnswer::DataLoss { from, upto } => format!("data loss {from}..{upto}"),
        };
        let asked = format!("read n{node} at {offset} after epoch {epoch}");
        writeln!(self.text, "client: {asked}: {shown}").expect(TEXT);
        answer
    }

    fn may(&self, step: Step) -> bool {
        let number = |index: usize| self.world.nodes[index].id.get();
        match step {
            Step::Deliver(at) => {
                let Envelope { from, to, .. } = &self.world.wire[at];
                !self.held.contains(&(from.get(), to.get()))
            }
            Step::LogWork(index) => !self.hung.contains(&number(index)),
            Step::MetaWork(_) => true,
            Step::Metadata(index) => {
                let node = number(index);
                !self.cut_off.contains(&node) && !self.storeless.contains(&node)
            }
        }
    }

    /// Does the first thing that can happen. False: there is none.
    pub(crate) fn step(&mut self) -> bool {
        let step = self.world.steps().into_iter().find(|step| self.may(*step));
        let Some(step) = step else { return false };
        if self.verbose {
            self.describe(step);
        }
        self.world.step(step);
        self.watch();
        self.take_told();
        true
    }

    /// Step by step and a little time, until it has come to that.
    pub(crate) fn step_until(&mut self, done: impl Fn(&World) -> bool) {
        for _ in 0..10_000 {
            if done(&self.world) {
                return;
            }
            self.step_or_tick();
        }
        panic!("never comes to it:\n{}", self.text);
    }

    /// Does one thing; when there is none, a little time passes.
    pub(crate) fn step_or_tick(&mut self) {
        if !self.step() {
            self.tick_only(self.world.now.plus_ms(100));
        }
    }

    /// Whoever is not cut off sees the metadata change.
    fn watch(&mut self) {
        let observed = self.world.store.observe(ObservationSource::Watch);
        if observed.revision == self.watched {
            return;
        }
        self.watched = observed.revision;
        for index in 0..self.world.nodes.len() {
            let node = self.world.nodes[index].id;
            if !self.cut_off.contains(&node.get()) && !self.storeless.contains(&node.get()) {
                self.world.handle(node, Event::Observed(Box::new(observed.clone())));
            }
        }
    }

    /// Until nothing can happen without time passing.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100_000 {
            if !self.step() {
                return;
            }
        }
        panic!("does not settle:\n{}", self.text);
    }

    /// Lets time pass; leases are renewed, ticks are handed in, and everything settles at each.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.world.now.plus_ms(ms);
        self.settle();
        while self.world.now < end {
            let now = self.world.now.plus_ms(100).min(end);
            self.tick(now);
        }
    }

    fn tick(&mut self, now: Instant) {
        self.tick_only(now);
        self.settle();
    }

    /// Hands time to everybody, and nothing else.
    fn tick_only(&mut self, now: Instant) {
        self.world.now = now;
        for index in 0..self.world.nodes.len() {
            let node = self.world.nodes[index].id;
            if !self.cut_off.contains(&node.get()) {
                let until = now.plus_ms(LEASE_MS);
                self.world.handle(node, Event::Lease(LeaseEvent::Renewed { until }));
            }
            if self.world.nodes[index].wake.is_some_and(|wake| wake <= now) {
                self.world.nodes[index].wake = None;
                self.world.handle(node, Event::Tick);
            }
        }
        self.watch();
        self.take_told();
    }

    pub(crate) fn run_until(&mut self, done: impl Fn(&World) -> bool) {
        for _ in 0..1_000 {
            if done(&self.world) {
                return;
            }
            self.pass(100);
        }
        panic!("never comes to it:\n{}", self.text);
    }

    fn describe(&mut self, step: Step) {
        let line = match step {
            Step::Deliver(at) => {
                let Envelope { from, to, message, .. } = &self.world.wire[at];
                format!("n{from} > n{to}: {}", brief(message))
            }
            Step::LogWork(index) => {
                let node = &self.world.nodes[index];
                format!("n{}: log {:?}", node.id, node.disk.log_work[0])
            }
            Step::MetaWork(index) => {
                let node = &self.world.nodes[index];
                let meta = &node.disk.meta_work[0].1;
                format!("n{}: meta durable, promise {}", node.id, meta.promised_epoch)
            }
            Step::Metadata(index) => {
                let node = &self.world.nodes[index];
                match &node.asks[0] {
                    Ask::Read(_) => format!("n{}: reads the metadata", node.id),
                    Ask::Transact(_, it) => format!("n{}: {:?}", node.id, it.kind),
                }
            }
        };
        writeln!(self.text, "{line}").expect(TEXT);
    }

    fn take_told(&mut self) {
        while let Some(told) = self.world.told.get(self.told) {
            self.told += 1;
            let line = match told {
                Told::Answer(token, Answer::Acked { base_offset, epoch, durable_replicas, .. }) => {
                    let copies = format!("durable on {durable_replicas}");
                    format!(
                        "client: write {} is at {base_offset} of epoch {epoch}, {copies}",
                        token.0
                    )
                }
                Told::Answer(token, Answer::Refused(why)) => {
                    format!("client: write {} is refused: {why:?}", token.0)
                }
                Told::Answer(token, Answer::Indeterminate { base_offset }) => {
                    format!("client: write {} may be at {base_offset}", token.0)
                }
                Told::Read(..) => continue,
                Told::Command(token, answer) => format!("operator: {}: {answer:?}", token.0),
                Told::Alarm(node, alarm) => format!("n{node}: ALARM {alarm:?}"),
                Told::Part(node, Part::Follower) => format!("n{node} follows"),
                Told::Part(node, Part::Candidate(epoch)) => {
                    format!("n{node} stands for epoch {epoch}")
                }
                Told::Part(node, Part::Leader(epoch)) => format!("n{node} leads epoch {epoch}"),
            };
            writeln!(self.text, "{line}").expect(TEXT);
        }
    }

    /// What the replicas have: their logs' epochs and records, and their marks.
    pub(crate) fn show(&mut self) {
        for index in 0..self.world.nodes.len() {
            let node = &self.world.nodes[index];
            let mut line = format!("n{}:", node.id);
            for batch in node.disk.batches() {
                if batch.client.control {
                    write!(line, " [{}]", batch.leader.epoch).expect(TEXT);
                } else {
                    write!(line, " {}", batch.client.payload_crc).expect(TEXT);
                }
            }
            match &node.replica {
                Some(replica) => write!(line, " | committed {}", replica.committed()).expect(TEXT),
                None => line.push_str(" | down"),
            }
            writeln!(self.text, "{line}").expect(TEXT);
        }
    }

    /// Compares the transcript with what it should be, line by line.
    #[track_caller]
    pub(crate) fn expect(&self, expected: &str) {
        let lines = |text: &str| -> Vec<String> {
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect()
        };
        assert_eq!(self.world.wrong, None, "after:\n{}", self.text);
        assert_eq!(lines(&self.text), lines(expected), "found:\n{}", self.text);
    }
}

fn brief(message: &Message) -> String {
    match message {
        Message::Fence { epoch, .. } => format!("fence {epoch}"),
        Message::Fenced { epoch, report } => format!("fenced {epoch} at {}", report.position),
        Message::Refused { epoch, promised } => format!("refused {epoch}, promised {promised}"),
        Message::Fetch { after, .. } => format!("fetch after {after}"),
        Message::Fetched { after, batches, .. } => {
            format!("{} batches after {after}", batches.len())
        }
        Message::Match { asked, common, .. } => format!("{asked} parts at {common}"),
        Message::Start { at, .. } => format!("start at {}", at.position()),
        Message::Append { after, batches, committed, .. } => {
            format!("append {} after {after}, committed {committed}", batches.len())
        }
        Message::Appended { durable, .. } => format!("durable {durable}"),
        Message::NotMatched { .. } => "not matched".to_owned(),
    }
}
