//! A world: nodes with disks and clocks, a network, a metadata store, clients, and one queue of what
//! is still to happen. Everything that happens, happens here, one thing after the other, and nothing
//! but the seed decides what.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `occurrence` | what can be in the queue |
//! | `node` | a node: disk, clock, process |
//! | `process` | starts, crashes, pauses; an event goes into a replica |
//! | `carry_out` | what a replica wants done |
//! | `traffic` | messages between replicas |
//! | `rules` | what must not happen, and no client sees |
//! | `epochs`, `witness` | likewise, about epochs; what is kept to judge it |
//! | `store` | requests to the metadata store, watches, leases |
//! | `ending` | faults are healed, and everything catches up |

mod carry_out;
mod ending;
mod epochs;
mod node;
mod occurrence;
mod process;
mod rules;
mod store;
mod traffic;
mod witness;

pub(crate) use node::Node;
pub(crate) use occurrence::Occurrence;
pub(crate) use traffic::Links;

use witness::Promises;

use forebay_checker::{Event as Seen, History};
use forebay_format::NodeId;
use forebay_replication::{Actions, Part};

use crate::clients::Clients;
use crate::etcd::Etcd;
use crate::faults::{Armed, Coverage, Role};
use crate::observer::Observer;
use crate::profile::{Profile, Temper};
use crate::random::Random;
use crate::schedule::Schedule;
use crate::transcript::Transcript;

/// When a world is healed at the latest, whatever it has still to do.
const FAULTY_MS_MAX: u64 = 120_000;

/// What a seed has to have delivered before it is healed.
const EVENTS_WANTED: u64 = 2_000;

/// The world of one seed.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) profile: Profile,
    pub(crate) schedule: Schedule<Occurrence>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) etcd: Etcd,
    pub(crate) links: Links,
    pub(crate) clients: Clients,
    pub(crate) observer: Observer,
    promises: Promises,
    pub(crate) coverage: Coverage,
    pub(crate) armed: Option<Armed>,
    pub(crate) transcript: Transcript,
    /// Kept from one event to the next, so that it is rarely allocated.
    actions: Actions,
    pub(crate) events: u64,
    pub(crate) faults: u64,
    pub(crate) alarms: Vec<String>,
    /// Promises do not hold any more, and only [`World`]'s own rules are judged.
    pub(crate) sabotaged: bool,
    /// Faults are over.
    pub(crate) healed: bool,
    healed_ms: u64,
    pub(crate) ended: bool,
}

impl World {
    pub(crate) fn new(seed: u64, profile: Profile, transcript: Transcript) -> Self {
        // The profile was drawn from the same seed; the world's dice are others.
        let mut random = Random::new(seed ^ 0x5eed_0f0e_b0a7_0001);
        let ids: Vec<_> = (1..=profile.nodes).map(NodeId::new).collect();
        let mut assigned = ids.clone();
        random.shuffle(&mut assigned);
        assigned.truncate(profile.voters);
        let clients = Clients::new(&profile, &mut random);
        let mut world = Self {
            schedule: Schedule::new(),
            nodes: ids.iter().map(|id| Node::new(*id, &mut random)).collect(),
            etcd: Etcd::new(assigned),
            links: Links::new(ids.len()),
            clients,
            observer: Observer::new(),
            promises: Promises::default(),
            coverage: Coverage::default(),
            armed: None,
            transcript,
            actions: Actions::new(),
            events: 0,
            faults: 0,
            alarms: Vec::new(),
            sabotaged: false,
            healed: false,
            healed_ms: 0,
            ended: false,
            random,
            profile,
        };
        for id in ids {
            let delay_ms = world.random.below(500);
            world.later(delay_ms, Occurrence::Start(id));
        }
        world.later(100, Occurrence::LeaseCheck);
        world.later(2_000, Occurrence::Fault);
        world.start_clients();
        world
    }

    /// Lets everything happen until the end.
    pub(crate) fn run(&mut self) {
        while !self.ended {
            let occurrence = self.schedule.next().expect("the world's own timers never end");
            self.happen(occurrence);
            let enough = self.events >= EVENTS_WANTED
                && self.faults >= self.profile.faults_wanted
                && self.clients.have_done_enough();
            if enough && self.profile.temper == Temper::Sabotaged && !self.sabotaged {
                self.sabotage();
                let for_ms = self.profile.lease_ttl_ms * 8;
                self.later(for_ms, Occurrence::SabotageOver);
            }
            if self.sabotaged {
                continue;
            }
            if !self.healed && (enough || self.schedule.now_ms() > FAULTY_MS_MAX) {
                self.heal();
            }
        }
    }

    fn happen(&mut self, occurrence: Occurrence) {
        match occurrence {
            Occurrence::Start(node) => self.start(node),
            Occurrence::Death { node, run } => {
                if self.node(node).run == run && !self.healed {
                    let down_ms = self.random.between(1, self.profile.down_ms_max);
                    self.crash(node, down_ms);
                }
            }
            Occurrence::Resume(node) => self.resume(node),
            Occurrence::Event { node, run, event } => self.deliver(node, run, event),
            Occurrence::Wake { node, run, number } => self.wake(node, run, number),
            Occurrence::Message { from, to, message } => self.arrive(from, to, message),
            Occurrence::Flushed { node, run } => self.flushed(node, run),
            Occurrence::MetaWritten { node, run } => self.meta_written(node, run),
            Occurrence::StoreRequest { node, run, request } => self.serve(node, run, request),
            Occurrence::StoreAnswer { node, run, answer } => self.answered(node, run, answer),
            Occurrence::KeepAlive { node, run } => self.keep_alive(node, run),
            Occurrence::LeaseCheck => self.expire_leases(),
            Occurrence::Client(what) => self.client(what),
            Occurrence::Fault => self.fault(),
            Occurrence::Strike => self.strike(),
            Occurrence::Relief(relief) => self.relieve(relief),
            Occurrence::SabotageOver => self.ended = true,
            Occurrence::CaughtUp => self.look_whether_caught_up(),
        }
    }

    pub(crate) fn later(&mut self, delay_ms: u64, what: Occurrence) {
        self.schedule.after(delay_ms, what, &mut self.random);
    }

    /// After a while of at most so long.
    pub(crate) fn within(&mut self, delay_ms_max: u64, what: Occurrence) {
        let delay_ms = self.random.between(1, delay_ms_max.max(1));
        self.later(delay_ms, what);
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[place(id)]
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[place(id)]
    }

    pub(crate) fn ids(&self) -> Vec<NodeId> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    /// Adds to the history.
    pub(crate) fn see(&mut self, event: Seen) {
        self.observer.add(self.schedule.now_ms(), event);
    }

    /// What the replica of this node is at present. `None`: its process is down, or the partition has
    /// nothing to do with it.
    pub(crate) fn role(&self, id: NodeId) -> Option<Role> {
        let node = self.node(id);
        let part = node.process.as_ref()?.part;
        let state = self.etcd.state()?;
        let replica = node.disk.replica();
        let member = state.member(id);
        Some(match part {
            Part::Leader(_) => Role::Leader,
            Part::Candidate(_) => Role::Candidate,
            Part::Follower => {
                if member.is_some_and(|member| Some(member.replica) == replica) {
                    Role::Follower
                } else if member.is_some()
                    || state.copies.contains(&id)
                    || state.target.as_ref().is_some_and(|target| target.contains(&id))
                {
                    Role::Learner
                } else {
                    return None;
                }
            }
        })
    }

    pub(crate) const fn history(&self) -> &History {
        self.observer.history()
    }
}

/// Where a node stands in lists of nodes.
pub(crate) fn place(id: NodeId) -> usize {
    id.get() as usize - 1
}
