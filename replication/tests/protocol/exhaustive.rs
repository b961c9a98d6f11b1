//! Every order in which a few events can happen, on three replicas, breadth-first.
//!
//! The search begins with a leader in epoch 1 and an empty log. From there anything that is under way may
//! happen next: the first message of any link arrives, a disk does what it was asked for, the store answers.
//! Besides, as often as the bounds say: a client writes to whoever serves, the store ends the leader's lease
//! while the leader does not know and another replica takes over, the power of a node goes, with its disk or
//! without. Time stands still: no rule may rest on it.
//!
//! What must never be: two values committed at one offset, an acknowledged write that the next leader does
//! not have, an alarm.
//!
//! The search is complete for its bounds. With more of everything there are too many orders; through those go
//! ways picked at random, but the same every time. Each rule of which they can show that it is missing is
//! switched off once, and must be missed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use forebay_format::NodeId;
use forebay_replication::metadata::ObservationSource;
use forebay_replication::{Config, Event, Mutation, Part, WriteConcern};

use crate::script::Script;
use crate::world::{Envelope, Step, World, fingerprint};

/// How often what may happen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Bounds {
    writes: u8,
    take_overs: u8,
    crashes: u8,
    lost_disks: u8,
    /// Heartbeats of everybody.
    heartbeats: u8,
}

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Inside(Step),
    Write(NodeId),
    TakeOver(NodeId),
    Crash(NodeId),
    LoseDisk(NodeId),
    Heartbeat,
}

#[derive(Debug, Clone)]
struct State {
    world: World,
    left: Bounds,
    /// Hashes of the world's nodes, and of its store.
    nodes: Vec<u64>,
    store: u64,
}

impl State {
    fn new(world: World, left: Bounds) -> Self {
        let nodes = world.nodes.iter().map(fingerprint).collect();
        let store = fingerprint(&world.store);
        Self { world, left, nodes, store }
    }

    /// The one node that a choice touches; `None`: more than one, or the store as well.
    fn touched(&self, choice: Choice) -> Option<usize> {
        let index = |node| self.world.nodes.iter().position(|other| other.id == node);
        match choice {
            Choice::Inside(Step::LogWork(index) | Step::MetaWork(index)) => Some(index),
            Choice::Inside(Step::Deliver(at)) => index(self.world.wire[at].to),
            Choice::Write(node) => index(node),
            _ => None,
        }
    }

    /// Hashes again what may have changed.
    fn look_again(&mut self, touched: Option<usize>) {
        let world = &self.world;
        if let Some(index) = touched {
            self.nodes[index] = fingerprint(&world.nodes[index]);
            return;
        }
        self.nodes = world.nodes.iter().map(fingerprint).collect();
        self.store = fingerprint(&world.store);
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.nodes, self.store, &self.world.committed, self.left).hash(&mut hasher);
        // The order of messages on different links says nothing, on one link everything.
        let mut links = [0_u64; 16];
        for envelope in &self.world.wire {
            let link = (envelope.from.get() * 4 + envelope.to.get()) % 16;
            let link = &mut links[usize::try_from(link).expect("a few links")];
            *link = link.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ envelope.print;
        }
        links.hash(&mut hasher);
        hasher.finish()
    }

    fn choices(&self) -> Vec<Choice> {
        let world = &self.world;
        let first = |step: &Step| match step {
            Step::Deliver(at) => {
                let link = |envelope: &Envelope| (envelope.from, envelope.to);
                let own = link(&world.wire[*at]);
                !world.wire[..*at].iter().any(|other| link(other) == own)
            }
            _ => true,
        };
        let inside = world.steps().into_iter().filter(first).map(Choice::Inside);
        let mut choices: Vec<Choice> = inside.collect();
        for node in &world.nodes {
            let Some(replica) = &node.replica else { continue };
            let serves = matches!(replica.part(), Part::Leader(_));
            if self.left.writes > 0 && serves {
                choices.push(Choice::Write(node.id));
            }
            if self.left.take_overs > 0 && replica.part() == Part::Follower {
                choices.push(Choice::TakeOver(node.id));
            }
            if self.left.crashes > 0 {
                choices.push(Choice::Crash(node.id));
            }
            if self.left.lost_disks > 0 {
                choices.push(Choice::LoseDisk(node.id));
            }
        }
        if self.left.heartbeats > 0 {
            choices.push(Choice::Heartbeat);
        }
        choices
    }

    fn after(&self, choice: Choice) -> Self {
        let mut next = self.clone();
        next.happen(choice);
        next.look_again(self.touched(choice));
        next
    }

    /// Whose choice it is: a link, a disk, a client …
    fn who(&self, choice: Choice) -> u64 {
        let named = |kind: u64, node: NodeId| kind * 16 + u64::from(node.get());
        let indexed = |kind: u64, index: usize| named(kind, self.world.nodes[index].id);
        match choice {
            Choice::Inside(Step::Deliver(at)) => {
                let envelope = &self.world.wire[at];
                named(u64::from(envelope.from.get()), envelope.to)
            }
            Choice::Inside(Step::LogWork(index)) => indexed(10, index),
            Choice::Inside(Step::MetaWork(index)) => indexed(11, index),
            Choice::Inside(Step::Metadata(index)) => indexed(12, index),
            Choice::Write(node) => named(13, node),
            Choice::TakeOver(node) => named(14, node),
            Choice::Crash(node) => named(15, node),
            Choice::LoseDisk(node) => named(16, node),
            Choice::Heartbeat => 0,
        }
    }

    fn happen(&mut self, choice: Choice) {
        // What was told is judged already, and no part of the state.
        self.world.told.clear();
        let world = &mut self.world;
        match choice {
            Choice::Inside(step) => world.step(step),
            Choice::Write(node) => {
                // Each write has a content of its own.
                let crc = u32::from(self.left.writes);
                self.left.writes -= 1;
                world.propose(node, crc, WriteConcern::Quorum);
            }
            Choice::TakeOver(node) => {
                self.left.take_overs -= 1;
                if let Some(leader) = world.store.leader.as_ref().map(|leader| leader.value.node) {
                    world.store.revoke(leader);
                }
                let seen = world.store.observe(ObservationSource::Watch);
                world.handle(node, Event::Observed(Box::new(seen)));
            }
            Choice::Crash(node) | Choice::LoseDisk(node) => {
                world.crash(node);
                // Its connections are gone, with what was on them.
                world.wire.retain(|envelope| envelope.from != node && envelope.to != node);
                if choice == Choice::LoseDisk(node) {
                    self.left.lost_disks -= 1;
                    world.lose_disk(node);
                } else {
                    self.left.crashes -= 1;
                }
                world.start(node);
            }
            Choice::Heartbeat => {
                self.left.heartbeats -= 1;
                world.now = world.now.plus_ms(500);
                for index in 0..world.nodes.len() {
                    world.handle(world.nodes[index].id, Event::Tick);
                }
            }
        }
    }
}

/// What a search has found.
#[derive(Debug)]
struct Found {
    states: usize,
    /// What went wrong first, and how it came to that.
    wrong: Option<(String, Vec<Choice>)>,
}

fn begin(mutation: Option<Mutation>, left: Bounds, batches_per_message_max: usize) -> State {
    let config = Config {
        mutation,
        candidate_stagger_ms: 0,
        // Nobody reads the metadata by the clock.
        metadata_poll_ms: 1_000_000,
        mark_copy_ms: 1_000_000,
        batches_per_message_max,
        ..Config::default()
    };
    let mut script = Script::three(config);
    // Nobody holds back any more because of a conflict at the start.
    script.pass(2_000);
    State::new(script.world, left)
}

/// Goes so many ways through the states at random, each until nothing is left that can happen, and says how
/// the first thing went wrong.
fn walk(mutation: Option<Mutation>, bounds: Bounds, ways: u64) -> Option<(String, Vec<Choice>)> {
    // One batch at a time, so that a log can stop between any two.
    let start = begin(mutation, bounds, 1);
    for way in 1..=ways {
        let mut dice = Dice(way.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut state = start.clone();
        let mut path = Vec::new();
        let mut favour: HashMap<u64, u64> = HashMap::new();
        while state.world.wrong.is_none() {
            let choices = state.choices();
            // Whoever is in favour goes on until nothing is left for him, or until the favour turns. So
            // some links and disks are slow for long, which an even choice hardly ever shows.
            let mut rank = |choice: &Choice| {
                let who = state.who(*choice);
                *favour.entry(who).or_insert_with(|| dice.roll(1 << 20))
            };
            let Some(choice) = choices.into_iter().max_by_key(&mut rank) else { break };
            let who = state.who(choice);
            if dice.roll(8) == 0 {
                favour.insert(who, dice.roll(1 << 20));
            }
            path.push(choice);
            state.happen(choice);
            assert!(path.len() < 2_000, "does not come to an end: {:?}", state.world.wire);
        }
        if let Some(wrong) = state.world.wrong {
            return Some((wrong, path));
        }
    }
    None
}

/// Numbers that only look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % sides
    }
}

/// Looks at every state within the bounds, at most `states_max`.
fn search(bounds: Bounds, states_max: usize) -> Found {
    let start = begin(None, bounds, 64);
    let mut seen = HashSet::from([start.fingerprint()]);
    // How each state was come to: the one before, and the choice.
    let mut trail: Vec<(usize, Option<Choice>)> = vec![(0, None)];
    let mut frontier = VecDeque::from([(0, start)]);
    while let Some((at, state)) = frontier.pop_front() {
        for choice in state.choices() {
            let next = state.after(choice);
            if !seen.insert(next.fingerprint()) {
                continue;
            }
            trail.push((at, Some(choice)));
            let index = trail.len() - 1;
            if let Some(wrong) = next.world.wrong.clone() {
                return Found { states: seen.len(), wrong: Some((wrong, path(&trail, index))) };
            }
            if seen.len() >= states_max {
                return Found { states: seen.len(), wrong: None };
            }
            frontier.push_back((index, next));
        }
    }
    Found { states: seen.len(), wrong: None }
}

fn path(trail: &[(usize, Option<Choice>)], end: usize) -> Vec<Choice> {
    let mut path = Vec::new();
    let mut at = end;
    while let (before, Some(choice)) = trail[at] {
        path.push(choice);
        at = before;
    }
    path.reverse();
    path
}

/// Writes, take-overs, crashes, lost disks, heartbeats.
fn bounds(it: [u8; 5]) -> Bounds {
    let [writes, take_overs, crashes, lost_disks, heartbeats] = it;
    Bounds { writes, take_overs, crashes, lost_disks, heartbeats }
}

#[test]
fn no_order_of_a_write_and_a_take_over_loses_anything() {
    let found = search(bounds([1, 1, 0, 0, 0]), 1_000_000);
    assert_eq!(found.wrong, None);
    // The search is of no use when the world has become so small that nothing can happen in it.
    assert!((100_000..1_000_000).contains(&found.states), "{} states", found.states);
}

#[test]
fn no_way_that_was_tried_through_crashes_and_lost_disks_loses_anything() {
    for it in [[2, 2, 1, 0, 1], [2, 2, 0, 1, 1], [3, 3, 0, 0, 0], [2, 2, 1, 1, 2]] {
        let found = walk(None, bounds(it), 4_000);
        assert_eq!(found, None, "{it:?}");
    }
}

/// The rules of fence, election and commit that these few events can show, and within which bounds.
const MISSED: [(Mutation, [u8; 5]); 13] = [
    (Mutation::R4PromiseNotDurable, [1, 1, 1, 0, 1]),
    (Mutation::R4FenceDoesNotWait, [2, 2, 1, 0, 1]),
    (Mutation::R4OldAppendsAccepted, [2, 2, 1, 0, 1]),
    (Mutation::R4OwnFsyncAfterFence, [2, 2, 1, 0, 1]),
    (Mutation::R5FewerThanQuorum, [2, 2, 1, 0, 1]),
    (Mutation::R5ServesBeforeEpochStart, [1, 2, 1, 0, 1]),
    (Mutation::R6LeaderBeforeFsync, [2, 2, 1, 0, 1]),
    (Mutation::R6UnmatchedMark, [2, 2, 0, 0, 2]),
    (Mutation::R6CutToRememberedMark, [2, 2, 1, 0, 1]),
    (Mutation::R9CutByOffset, [3, 2, 0, 0, 0]),
    (Mutation::R11LearnerVotes, [2, 2, 0, 1, 1]),
    (Mutation::R11StaleReplicaCounted, [2, 1, 0, 1, 1]),
    (Mutation::R11EnteredBehind, [2, 2, 1, 1, 2]),
];

#[test]
fn each_rule_is_missed_when_it_is_switched_off() {
    let unseen =
        |(rule, it): &(Mutation, [u8; 5])| walk(Some(*rule), bounds(*it), 60_000).is_none();
    let unseen: Vec<_> = MISSED.iter().filter(|row| unseen(row)).collect();
    assert!(unseen.is_empty(), "nothing went wrong without {unseen:?}");
}
