//! R15: the health of other nodes, for people and for back-off, never for safety. One per node. R14: how long to
//! wait before a reconnect.
//!
//! ```text
//!             2 missed                5 missed
//!  healthy ─────────────▶ suspected ─────────────▶ unhealthy
//!     ▲                       │                        │
//!     └──── first answer ─────┴────────────────────────┘
//! ```
//!
//! Heartbeats travel on a connection of their own, so that they never queue behind bulk data.

use forebay_format::NodeId;

use crate::time::Instant;

/// R14: the first reconnect waits this long, in milliseconds.
pub const RECONNECT_MS_MIN: u64 = 100;

/// R14: no reconnect waits longer, in milliseconds.
pub const RECONNECT_MS_MAX: u64 = 10_000;

/// How a node seems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeHealth {
    /// Answers.
    Healthy,
    /// Has missed a few.
    Suspected,
    /// Has missed many.
    Unhealthy,
}

/// When a node seems how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthSettings {
    /// Milliseconds between heartbeats. One that is not answered by the next is missed.
    pub interval_ms: u64,
    /// So many missed in a row make a node suspected.
    pub suspected_after: u32,
    /// So many make it unhealthy.
    pub unhealthy_after: u32,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self { interval_ms: 1_000, suspected_after: 2, unhealthy_after: 5 }
    }
}

/// What the health machine wants, or says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthOutput {
    /// Send a heartbeat.
    Beat {
        /// To whom.
        to: NodeId,
        /// To be repeated in the answer.
        number: u64,
    },
    /// A node seems otherwise than before.
    Changed {
        /// Which.
        node: NodeId,
        /// How.
        health: NodeHealth,
    },
}

/// The heartbeats to one node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Peer {
    node: NodeId,
    health: NodeHealth,
    /// Missed in a row.
    missed: u32,
    /// Number of the last heartbeat.
    sent: u64,
    /// Invariant: at most `sent`.
    answered: u64,
}

/// The health of all other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    settings: HealthSettings,
    peers: Vec<Peer>,
    next_beat: Instant,
}

impl Health {
    /// Nobody is known yet.
    pub const fn new(settings: HealthSettings) -> Self {
        Self { settings, peers: Vec::new(), next_beat: Instant::ZERO }
    }

    /// Watches these nodes and no others. A new one is healthy until it misses something.
    pub fn watch(&mut self, nodes: &[NodeId]) {
        self.peers.retain(|peer| nodes.contains(&peer.node));
        for &node in nodes {
            if self.of(node).is_none() {
                let health = NodeHealth::Healthy;
                self.peers.push(Peer { node, health, missed: 0, sent: 0, answered: 0 });
            }
        }
    }

    /// How a node seems; `None` when it is not watched.
    pub fn of(&self, node: NodeId) -> Option<NodeHealth> {
        self.peers.iter().find(|peer| peer.node == node).map(|peer| peer.health)
    }

    /// When the next heartbeats are due.
    pub fn deadline(&self) -> Instant {
        self.next_beat
    }

    /// Sends the heartbeats that are due, and counts those before that were not answered.
    pub fn on_tick(&mut self, now: Instant, outputs: &mut Vec<HealthOutput>) {
        if now < self.next_beat {
            return;
        }
        self.next_beat = now.plus_ms(self.settings.interval_ms);
        for peer in &mut self.peers {
            if peer.answered < peer.sent {
                peer.missed = peer.missed.saturating_add(1);
            }
            let health = if peer.missed >= self.settings.unhealthy_after {
                NodeHealth::Unhealthy
            } else if peer.missed >= self.settings.suspected_after {
                NodeHealth::Suspected
            } else {
                NodeHealth::Healthy
            };
            peer.turn(health, outputs);
            peer.sent += 1;
            outputs.push(HealthOutput::Beat { to: peer.node, number: peer.sent });
        }
    }

    /// A heartbeat was answered, however late.
    pub fn on_answer(&mut self, from: NodeId, number: u64, outputs: &mut Vec<HealthOutput>) {
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == from)
            && number > peer.answered
            && number <= peer.sent
        {
            peer.answered = number;
            peer.missed = 0;
            peer.turn(NodeHealth::Healthy, outputs);
        }
    }
}

impl Peer {
    fn turn(&mut self, health: NodeHealth, outputs: &mut Vec<HealthOutput>) {
        if self.health != health {
            self.health = health;
            outputs.push(HealthOutput::Changed { node: self.node, health });
        }
    }
}

/// R14: how long to wait before the reconnect after `failed` failed ones, in milliseconds: twice as long
/// each time, for ever, and the longest at once to a node that is unhealthy anyway (R15). `jitter` is
/// random; it takes away up to half, so that nodes do not come back in step.
pub fn reconnect_delay_ms(failed: u32, health: NodeHealth, jitter: u16) -> u64 {
    let doubled = RECONNECT_MS_MIN.saturating_mul(1_u64.checked_shl(failed).unwrap_or(u64::MAX));
    let full = match health {
        NodeHealth::Unhealthy => RECONNECT_MS_MAX,
        NodeHealth::Healthy | NodeHealth::Suspected => doubled.min(RECONNECT_MS_MAX),
    };
    let less = full / 2 * u64::from(jitter) / u64::from(u16::MAX);
    (full - less).max(RECONNECT_MS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId::new(7);

    fn beat(health: &mut Health, second: u64) -> Vec<HealthOutput> {
        let mut outputs = Vec::new();
        health.on_tick(Instant::from_ms(second * 1_000), &mut outputs);
        outputs.retain(|output| matches!(output, HealthOutput::Changed { .. }));
        outputs
    }

    #[test]
    fn silent_node_is_suspected_after_two_missed_and_unhealthy_after_five() {
        let mut health = Health::new(HealthSettings::default());
        health.watch(&[NODE]);
        let mut found = Vec::new();
        for second in 0..=9 {
            for output in beat(&mut health, second) {
                found.push((second, output));
            }
        }
        let changed = |health| HealthOutput::Changed { node: NODE, health };
        let expected = [(2, changed(NodeHealth::Suspected)), (5, changed(NodeHealth::Unhealthy))];
        assert_eq!(found, expected);
    }

    #[test]
    fn first_answer_makes_a_node_healthy_even_if_it_is_late() {
        let mut health = Health::new(HealthSettings::default());
        health.watch(&[NODE]);
        for second in 0..=6 {
            beat(&mut health, second);
        }
        let mut outputs = Vec::new();
        health.on_answer(NODE, 8, &mut outputs);
        assert_eq!(outputs, [], "nothing of that number was sent");
        health.on_answer(NODE, 3, &mut outputs);
        let healthy = HealthOutput::Changed { node: NODE, health: NodeHealth::Healthy };
        assert_eq!(outputs, [healthy]);
        assert_eq!(beat(&mut health, 7), [], "it has to miss two again");
    }

    #[test]
    fn heartbeats_go_to_those_that_are_watched_at_the_interval_that_was_set() {
        let other = NodeId::new(8);
        let settings = HealthSettings { interval_ms: 200, suspected_after: 1, unhealthy_after: 2 };
        let mut health = Health::new(settings);
        health.watch(&[NODE]);
        let mut outputs = Vec::new();
        for ms in [0, 199, 200, 400] {
            health.on_tick(Instant::from_ms(ms), &mut outputs);
        }
        let beat = |to, number| HealthOutput::Beat { to, number };
        let changed = |health| HealthOutput::Changed { node: NODE, health };
        let expected = [
            beat(NODE, 1),
            changed(NodeHealth::Suspected),
            beat(NODE, 2),
            changed(NodeHealth::Unhealthy),
            beat(NODE, 3),
        ];
        assert_eq!(outputs, expected);
        assert_eq!(health.deadline(), Instant::from_ms(600));
        // Whoever is watched still is what it was.
        health.watch(&[NODE, other]);
        let of = |health: &Health| (health.of(NODE), health.of(other));
        assert_eq!(of(&health), (Some(NodeHealth::Unhealthy), Some(NodeHealth::Healthy)));
        health.watch(&[other]);
        assert_eq!(of(&health), (None, Some(NodeHealth::Healthy)));
        outputs.clear();
        health.on_answer(NODE, 3, &mut outputs);
        health.on_tick(Instant::from_ms(600), &mut outputs);
        assert_eq!(outputs, [beat(other, 1)]);
    }

    /// A node that stood still itself has asked nobody meanwhile.
    #[test]
    fn long_pause_of_the_own_process_is_one_missed_heartbeat() {
        let mut health = Health::new(HealthSettings::default());
        health.watch(&[NODE]);
        assert_eq!(beat(&mut health, 0), []);
        assert_eq!(beat(&mut health, 60), []);
        assert_eq!(health.of(NODE), Some(NodeHealth::Healthy));
    }

    #[test]
    fn reconnects_are_spaced_out_to_ten_seconds_and_never_end() {
        let delay = |failed| reconnect_delay_ms(failed, NodeHealth::Healthy, 0);
        assert_eq!(
            [0, 1, 2, 6, 7, 64, u32::MAX].map(delay),
            [100, 200, 400, 6_400, 10_000, 10_000, 10_000]
        );
        assert_eq!(reconnect_delay_ms(7, NodeHealth::Healthy, u16::MAX), 5_000);
        assert_eq!(reconnect_delay_ms(0, NodeHealth::Unhealthy, 0), 10_000);
        assert_eq!(reconnect_delay_ms(0, NodeHealth::Healthy, u16::MAX), 100);
    }
}
