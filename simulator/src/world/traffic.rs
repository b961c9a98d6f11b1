//! Messages between replicas: they are late, get lost, arrive twice, overtake each other, and links
//! are cut one way or both.

use forebay_checker::Event as Seen;
use forebay_format::NodeId;
use forebay_replication::{Event, Message};

use super::occurrence::Occurrence;
use super::{World, place};

/// How much later than usual a delayed message arrives, at most.
const DELAYED_MS_MAX: u64 = 3_000;

/// How much later the second copy of a message may arrive.
const DOUBLED_MS_MAX: u64 = 4_000;

/// The links between nodes, each way for itself.
#[derive(Debug)]
pub(crate) struct Links {
    nodes: usize,
    /// How many faults cut it.
    cuts: Vec<u32>,
    /// When the last message arrives, where messages keep their order.
    last_ms: Vec<u64>,
}

impl Links {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { nodes, cuts: vec![0; nodes * nodes], last_ms: vec![0; nodes * nodes] }
    }

    fn place(&self, from: NodeId, to: NodeId) -> usize {
        place(from) * self.nodes + place(to)
    }

    pub(crate) fn cut(&mut self, from: NodeId, to: NodeId) {
        let place = self.place(from, to);
        self.cuts[place] += 1;
    }

    pub(crate) fn mend(&mut self, from: NodeId, to: NodeId) {
        let place = self.place(from, to);
        self.cuts[place] = self.cuts[place].saturating_sub(1);
    }

    pub(crate) fn mend_all(&mut self) {
        self.cuts.fill(0);
    }

    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.cuts[self.place(from, to)] > 0
    }
}

impl World {
    pub(super) fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        // Whoever was told of a promise relies on it.
        if let (Message::Fenced { epoch, .. }, Some(replica)) =
            (&message, self.node(from).disk.replica())
        {
            self.see(Seen::Promised { node: from, replica, epoch: *epoch });
        }
        let troubles = |world: &Self, of: fn(&super::node::Troubles) -> u32| {
            !world.healed && (of(&world.node(from).troubles) + of(&world.node(to).troubles)) > 0
        };
        let lost = if self.healed { 0 } else { self.profile.network.lost_per_mille };
        let lost = if troubles(self, |it| it.messages_lost) { 330 } else { lost };
        if self.links.is_cut(from, to) || self.random.per_mille(lost) {
            if self.random.per_mille(100) {
                self.break_stream(from, to);
            }
            return;
        }
        let late = if troubles(self, |it| it.messages_delayed) { DELAYED_MS_MAX } else { 0 };
        let doubled = if self.healed { 0 } else { self.profile.network.doubled_per_mille };
        let doubled = if troubles(self, |it| it.messages_doubled) { 400 } else { doubled };
        if self.random.per_mille(doubled) {
            let again = message.clone();
            self.within(DOUBLED_MS_MAX, Occurrence::Message { from, to, message: again });
        }
        let usual = self.profile.network.delay_ms_max;
        // Once everything is healed, the network is as streams are: in order, and not slow.
        let usual = if self.healed { usual.min(20) } else { usual };
        let delay_ms = self.random.between(0, usual + late);
        let delay_ms = if (self.profile.network.reorders || late > 0) && !self.healed {
            delay_ms
        } else {
            self.after_the_last(from, to, delay_ms)
        };
        self.later(delay_ms, Occurrence::Message { from, to, message });
    }

    /// A delay with which the message does not overtake the one before.
    fn after_the_last(&mut self, from: NodeId, to: NodeId, delay_ms: u64) -> u64 {
        let now_ms = self.schedule.now_ms();
        let place = self.links.place(from, to);
        let last_ms = &mut self.links.last_ms[place];
        *last_ms = (now_ms + delay_ms).max(*last_ms + 1);
        *last_ms - now_ms
    }

    pub(super) fn arrive(&mut self, from: NodeId, to: NodeId, message: Message) {
        if self.links.is_cut(from, to) {
            return;
        }
        let run = self.node(to).run;
        if self.node(to).process.is_none() {
            self.break_stream(from, to);
            return;
        }
        self.judge_lease(to);
        self.deliver(to, run, Event::Message(from, message));
    }

    /// `node` is told, soon, that its stream to `peer` broke.
    pub(crate) fn break_stream(&mut self, node: NodeId, peer: NodeId) {
        let run = self.node(node).run;
        self.within(300, Occurrence::Event { node, run, event: Event::PeerLost(peer) });
    }
}
