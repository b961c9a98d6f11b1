//! R3: the lease of a node, and until when the node may believe in it. One per node, not per partition.
//!
//! ```text
//!           granted                    the store says that it is gone
//!  none ──────────────▶ held ──────────────────────────────────────────▶ none
//!   ▲                   │  ▲ keep-alive answered: the deadline moves       │
//!   └── asked for ◀─────┼──┘                                               │
//!        again          └── deadline passed: leaders step down, and it is asked for on
//! ```
//!
//! The local deadline counts from when the answered keep-alive was *sent*, on a clock that runs while the
//! machine sleeps, less a margin: the store may have counted from any moment after that. Keep-alives are
//! only sent while the data disk and every shard show that they live, so that a node with a hung disk or
//! core loses its leadership instead of holding it. Nothing here carries safety; the fence does (R4).

use crate::config::Config;
use crate::event::LeaseEvent;
use crate::metadata::{Incarnation, Revision};
use crate::mutation::Mutation;
use crate::time::Instant;

/// Before the store has said otherwise: 10 s in milliseconds.
pub const TTL_MS_DEFAULT: u64 = 10_000;

/// A lease that was asked for in vain is asked for again after so long, in milliseconds: a store that refuses
/// at once is not to be asked all the time.
const GRANT_RETRY_MS: u64 = 1_000;

/// The margin is a quarter of the TTL, but no more than this.
const MARGIN_MS_MAX: u64 = 2_000;

/// How much earlier than the store a node counts its lease as over.
pub const fn margin_ms(ttl_ms: u64) -> u64 {
    let quarter = ttl_ms / 4;
    if quarter < MARGIN_MS_MAX { quarter } else { MARGIN_MS_MAX }
}

/// What the lease machine is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseInput {
    /// The store has granted a lease, and the node's own key was put under it.
    Granted {
        /// When the grant was sent.
        sent_at: Instant,
        /// The TTL that the store granted, which may be longer than was asked for.
        ttl_ms: u64,
        /// The life that begins with it.
        incarnation: Incarnation,
        /// When the node's own key was created.
        node_created: Revision,
    },
    /// The keep-alive of this number was answered. A TTL of 0: the lease is gone.
    Answered {
        /// As [`LeaseOutput::KeepAlive`] said.
        number: u64,
        /// What is left of it, by the store's clock: the whole TTL.
        ttl_ms: u64,
    },
    /// The keep-alive of this number, or the grant, came to nothing.
    Failed,
    /// A small write and fsync on the data disk, begun then, has succeeded.
    DiskProbed {
        /// When it was begun.
        begun_at: Instant,
    },
    /// A shard has shown that it runs.
    ShardAlive {
        /// Which.
        shard: usize,
    },
    /// Time has passed.
    Tick,
}

/// What the lease machine wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseOutput {
    /// Ask the store for a lease, and put the node's key under it. A previous lease of this node is
    /// revoked first.
    Grant,
    /// Send a keep-alive.
    KeepAlive {
        /// Names it in the answer.
        number: u64,
    },
    /// Tell every replica.
    Tell(LeaseEvent),
}

/// The lease of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    config: Config,
    /// When the last probe that succeeded was begun.
    disk_probed_at: Option<Instant>,
    /// When each shard showed last that it runs.
    shards_alive_at: Vec<Option<Instant>>,
    state: State,
    /// Number of the last keep-alive.
    keep_alives: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    None {
        /// Nothing is asked for before that.
        ask_at: Instant,
    },
    Held(Held),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    ttl_ms: u64,
    /// Invariant: the send time of an answered request, plus the TTL, less the margin.
    until: Instant,
    /// When the last keep-alive was sent, or the grant.
    sent_at: Instant,
    /// Number of the one that is not answered. Invariant: at most one.
    in_flight: Option<u64>,
}

impl Lease {
    /// A node without a lease, with so many shards; probes and signs of life may be a TTL old at most.
    pub fn new(config: Config, shards: usize) -> Self {
        Self {
            config,
            disk_probed_at: None,
            shards_alive_at: vec![None; shards],
            state: State::None { ask_at: Instant::ZERO },
            keep_alives: 0,
        }
    }

    /// Until when leaders may believe in the lease; `None` without one.
    pub fn until(&self) -> Option<Instant> {
        match self.state {
            State::Held(held) => Some(held.until),
            State::None { .. } => None,
        }
    }

    /// Takes an input at the time `now`, and adds what is to be done to `outputs`.
    pub fn handle(&mut self, input: LeaseInput, now: Instant, outputs: &mut Vec<LeaseOutput>) {
        match input {
            LeaseInput::Granted { sent_at, ttl_ms, incarnation, node_created } => {
                let until = self.deadline(sent_at, ttl_ms, now);
                self.state = State::Held(Held { ttl_ms, until, sent_at, in_flight: None });
                let granted = LeaseEvent::Granted { incarnation, node_created, until };
                outputs.push(LeaseOutput::Tell(granted));
            }
            LeaseInput::Answered { number, ttl_ms } => {
                self.on_answer(number, ttl_ms, now, outputs);
            }
            LeaseInput::Failed => match &mut self.state {
                // Said more than once, it puts nothing off.
                State::None { ask_at } => *ask_at = (*ask_at).min(now.plus_ms(GRANT_RETRY_MS)),
                State::Held(held) => held.in_flight = None,
            },
            LeaseInput::DiskProbed { begun_at } => {
                self.disk_probed_at = self.disk_probed_at.max(Some(begun_at));
            }
            LeaseInput::ShardAlive { shard } => {
                if let Some(alive_at) = self.shards_alive_at.get_mut(shard) {
                    *alive_at = Some(now);
                }
            }
            LeaseInput::Tick => {}
        }
        self.ask(now, outputs);
    }

    /// From the send time: the store may have counted from then on, and the answer may be late.
    fn deadline(&self, sent_at: Instant, ttl_ms: u64, now: Instant) -> Instant {
        let from = if self.config.broken(Mutation::R3DeadlineFromAnswer) { now } else { sent_at };
        from.plus_ms(ttl_ms - margin_ms(ttl_ms))
    }

    fn on_answer(
        &mut self,
        number: u64,
        ttl_ms: u64,
        now: Instant,
        outputs: &mut Vec<LeaseOutput>,
    ) {
        let State::Held(held) = self.state else { return };
        if held.in_flight != Some(number) {
            return;
        }
        if ttl_ms == 0 {
            self.state = State::None { ask_at: now };
            outputs.push(LeaseOutput::Tell(LeaseEvent::Lost));
            return;
        }
        let until = held.until.max(self.deadline(held.sent_at, ttl_ms, now));
        self.state = State::Held(Held { ttl_ms, until, in_flight: None, ..held });
        outputs.push(LeaseOutput::Tell(LeaseEvent::Renewed { until }));
    }

    /// Whether disk and shards have shown within a TTL that they work.
    fn is_alive(&self, now: Instant) -> bool {
        let within_ms = match self.state {
            State::Held(held) => held.ttl_ms,
            State::None { .. } => TTL_MS_DEFAULT,
        };
        let lately = |at: &Option<Instant>| at.is_some_and(|at| now.ms_since(at) < within_ms);
        lately(&self.disk_probed_at) && self.shards_alive_at.iter().all(lately)
    }

    /// Asks for what is due: a lease, or at a third of its time that it lives on.
    fn ask(&mut self, now: Instant, outputs: &mut Vec<LeaseOutput>) {
        if !self.is_alive(now) {
            return;
        }
        match &mut self.state {
            State::None { ask_at } => {
                if now >= *ask_at {
                    // One that is not answered for so long is asked for again.
                    *ask_at = now.plus_ms(TTL_MS_DEFAULT);
                    outputs.push(LeaseOutput::Grant);
                }
            }
            State::Held(held) => {
                let third = held.ttl_ms / 3;
                // One that is not answered for so long is given up: its answer would be of little use.
                if now.ms_since(held.sent_at) >= third {
                    self.keep_alives += 1;
                    held.in_flight = Some(self.keep_alives);
                    held.sent_at = now;
                    outputs.push(LeaseOutput::KeepAlive { number: self.keep_alives });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_ms(ms)
    }

    /// A node whose lease of 10 s was asked for at 1 s.
    fn held() -> Lease {
        held_with(Config::default(), at(9_000))
    }

    /// Likewise, with this deadline.
    fn held_with(config: Config, until: Instant) -> Lease {
        let mut lease = Lease::new(config, 1);
        let mut outputs = Vec::new();
        lease.handle(LeaseInput::ShardAlive { shard: 0 }, at(900), &mut outputs);
        assert_eq!(outputs, [], "no sign of the disk yet");
        lease.handle(LeaseInput::DiskProbed { begun_at: at(900) }, at(1_000), &mut outputs);
        assert_eq!(outputs, [LeaseOutput::Grant]);
        let granted = LeaseInput::Granted {
            sent_at: at(1_000),
            ttl_ms: 10_000,
            incarnation: Incarnation::new(1),
            node_created: Revision::new(1),
        };
        lease.handle(granted, at(1_500), &mut outputs);
        assert_eq!(lease.until(), Some(until));
        lease
    }

    #[cfg(feature = "mutations")]
    #[test]
    fn deadline_from_the_answer_is_later_than_the_store_allows() {
        let mutation = Some(Mutation::R3DeadlineFromAnswer);
        held_with(Config { mutation, ..Config::default() }, at(9_500));
    }

    fn tick(lease: &mut Lease, ms: u64) -> Vec<LeaseOutput> {
        let mut outputs = Vec::new();
        lease.handle(LeaseInput::Tick, at(ms), &mut outputs);
        outputs
    }

    #[test]
    fn margin_is_a_quarter_of_a_short_lease_and_two_seconds_of_a_long_one() {
        for (ttl, margin) in [(2_000, 500), (8_000, 2_000), (10_000, 2_000), (60_000, 2_000)] {
            assert_eq!(margin_ms(ttl), margin);
        }
    }

    #[test]
    fn deadline_counts_from_when_the_answered_keep_alive_was_sent() {
        let mut lease = held();
        assert_eq!(tick(&mut lease, 4_000), []);
        assert_eq!(tick(&mut lease, 4_400), [LeaseOutput::KeepAlive { number: 1 }]);
        assert_eq!(tick(&mut lease, 5_000), [], "one in flight");
        let mut outputs = Vec::new();
        lease.handle(LeaseInput::Answered { number: 1, ttl_ms: 10_000 }, at(7_000), &mut outputs);
        let until = at(4_400 + 10_000 - 2_000);
        assert_eq!(outputs, [LeaseOutput::Tell(LeaseEvent::Renewed { until })]);
    }

    #[test]
    fn answer_that_was_given_up_moves_nothing() {
        let mut lease = held();
        assert_eq!(tick(&mut lease, 4_400), [LeaseOutput::KeepAlive { number: 1 }]);
        assert_eq!(tick(&mut lease, 7_800), [LeaseOutput::KeepAlive { number: 2 }]);
        let mut outputs = Vec::new();
        lease.handle(LeaseInput::Answered { number: 1, ttl_ms: 10_000 }, at(7_900), &mut outputs);
        assert_eq!((outputs, lease.until()), (vec![], Some(at(9_000))));
    }

    #[test]
    fn lease_that_is_refused_at_once_is_not_asked_for_all_the_time() {
        let mut lease = Lease::new(Config::default(), 1);
        let mut outputs = Vec::new();
        lease.handle(LeaseInput::ShardAlive { shard: 0 }, at(1_000), &mut outputs);
        lease.handle(LeaseInput::DiskProbed { begun_at: at(1_000) }, at(1_000), &mut outputs);
        assert_eq!(outputs, [LeaseOutput::Grant]);
        outputs.clear();
        lease.handle(LeaseInput::Failed, at(1_001), &mut outputs);
        lease.handle(LeaseInput::Failed, at(1_900), &mut outputs);
        assert_eq!(outputs, []);
        assert_eq!(tick(&mut lease, 2_000), []);
        assert_eq!(tick(&mut lease, 2_001), [LeaseOutput::Grant]);
    }

    /// A lease of two seconds must not outlive a hung disk by ten.
    #[test]
    fn signs_of_life_are_as_old_as_the_lease_is_long_at_most() {
        let mut lease = held();
        let short = LeaseInput::Granted {
            sent_at: at(2_000),
            ttl_ms: 3_000,
            incarnation: Incarnation::new(2),
            node_created: Revision::new(2),
        };
        let mut outputs = Vec::new();
        lease.handle(short, at(2_000), &mut outputs);
        assert_eq!(tick(&mut lease, 3_000), [LeaseOutput::KeepAlive { number: 1 }]);
        assert_eq!(tick(&mut lease, 4_000), [], "the disk was probed at 900");
    }

    #[test]
    fn lease_that_the_store_ended_is_told_and_asked_for_anew() {
        let mut lease = held();
        assert_eq!(tick(&mut lease, 4_400), [LeaseOutput::KeepAlive { number: 1 }]);
        let mut outputs = Vec::new();
        lease.handle(LeaseInput::Answered { number: 1, ttl_ms: 0 }, at(4_500), &mut outputs);
        assert_eq!(outputs, [LeaseOutput::Tell(LeaseEvent::Lost), LeaseOutput::Grant]);
    }

    #[test]
    fn hung_disk_or_shard_lets_the_lease_run_out() {
        let mut lease = held();
        let mut outputs = Vec::new();
        lease.handle(LeaseInput::ShardAlive { shard: 0 }, at(9_000), &mut outputs);
        outputs.clear();
        // The disk was probed last at 900.
        assert_eq!(tick(&mut lease, 20_000), []);
        lease.handle(LeaseInput::DiskProbed { begun_at: at(18_000) }, at(20_000), &mut outputs);
        assert_eq!(outputs, [], "the shard was last seen at 9000");
        lease.handle(LeaseInput::ShardAlive { shard: 0 }, at(20_000), &mut outputs);
        assert_eq!(outputs, [LeaseOutput::KeepAlive { number: 2 }]);
    }
}
