//! A producer. With an identity it retries until it knows, in order, with several batches in flight;
//! when the log has forgotten what it was told was written, it begins a new life. Without one it retries
//! only what was surely not written.
//!
//! Now and then one with an identity uses a sequence again for other records, which must be refused.

use std::collections::VecDeque;

use forebay_checker::{AttemptId, Event as Seen, Produce, Stamp, WriteConcern};
use forebay_format::{NodeId, ProducerEpoch, ProducerId, Sequence};
use forebay_replication::{Answer, WriteRefusal};

use super::{Batch, Call, ClientOccurrence, Place};
use crate::observer;
use crate::random::Random;
use crate::world::World;

/// Attempts after which a batch that was surely not written may be given up.
const ATTEMPTS_MAX: u32 = 6;

/// A producer.
#[derive(Debug)]
pub(crate) struct Producer {
    /// Its id and life, if it has an identity.
    identity: Option<(ProducerId, ProducerEpoch)>,
    next_sequence: u64,
    /// What is not settled, in order.
    window: VecDeque<Pending>,
    /// Whom it believes to lead.
    leader: Option<NodeId>,
    /// A sequence that was acknowledged and is to be used again, wrongly.
    misuse: Option<u64>,
}

/// A batch that is not settled.
#[derive(Debug)]
struct Pending {
    batch: Batch,
    /// The attempt that is under way.
    attempt: Option<AttemptId>,
    attempts: u32,
    /// An attempt ended without saying whether it is in the log.
    may_be_in: bool,
    /// Is tried once.
    misuse: bool,
    made_after_healing: bool,
}

impl Producer {
    pub(super) fn new(place: Place, random: &mut Random) -> Self {
        // Every third has no identity.
        let id = ProducerId::from_u128(0xbeef_0000 + place as u128);
        let identity = random.per_mille(667).then_some((id, ProducerEpoch::ZERO));
        Self { identity, next_sequence: 0, window: VecDeque::new(), leader: None, misuse: None }
    }

    pub(super) fn is_done(&self) -> bool {
        self.window.is_empty()
    }

    /// Begins a new life, and abandons what is not settled.
    fn begin_anew(&mut self) {
        if let Some((_, epoch)) = &mut self.identity {
            *epoch = ProducerEpoch::new(epoch.get() + 1);
        }
        self.next_sequence = 0;
        self.window.clear();
        self.misuse = None;
    }

    /// The batch with the next sequence.
    fn make(&mut self, number: u64, count: u32, concern: WriteConcern) -> Pending {
        let misuse = self.misuse.take();
        let sequence = misuse.unwrap_or(self.next_sequence);
        if misuse.is_none() {
            self.next_sequence += u64::from(count);
        }
        let stamp = self.identity.map(|(producer, epoch)| Stamp {
            producer,
            epoch,
            first_sequence: Sequence::new(sequence),
        });
        let batch = Batch { number, count, concern, stamp };
        let misuse = misuse.is_some();
        Pending {
            batch,
            attempt: None,
            attempts: 0,
            may_be_in: false,
            misuse,
            made_after_healing: false,
        }
    }

    /// Gives up the batch at `at`, which was surely not written. Only the last one: those behind it
    /// would follow on nothing.
    fn give_up(&mut self, at: usize) -> bool {
        let pending = &self.window[at];
        if self.identity.is_some() && !pending.misuse && at + 1 < self.window.len() {
            return false;
        }
        if let Some(stamp) = pending.batch.stamp
            && !pending.misuse
        {
            self.next_sequence = stamp.first_sequence.get();
        }
        self.window.remove(at);
        true
    }
}

impl World {
    pub(super) fn producer_turn(&mut self, place: Place) {
        let window = self.profile.clients.window;
        // After the healing the first producer writes once more, to show that it can.
        let waiting = self.clients.producers[place].window.len();
        let last_write = self.clients.last_write_wanted && place == 0 && waiting == 0;
        if last_write || (!self.healed && waiting < window) {
            self.make_batch(place);
        }
        for at in 0..self.clients.producers[place].window.len() {
            if self.clients.producers[place].window[at].attempt.is_none() {
                self.attempt(place, at);
            }
        }
        let pause_ms_max = self.profile.clients.pause_ms_max * self.clients.patience(self.healed);
        self.client_later(pause_ms_max, ClientOccurrence::ProducerTurn(place));
    }

    fn make_batch(&mut self, place: Place) {
        let [none, leader, quorum, all, number] = self.profile.clients.concerns;
        let count = u32::try_from(self.random.between(1, self.profile.nodes.into()));
        let replicas = WriteConcern::Replicas(count.expect("few nodes"));
        let concern = self.random.weighted(&[
            (WriteConcern::None, none),
            (WriteConcern::Leader, leader),
            (WriteConcern::Quorum, quorum),
            (WriteConcern::All, all),
            (replicas, number),
        ]);
        let concern = if self.healed { WriteConcern::Quorum } else { concern };
        let count = if self.random.per_mille(300) { 3 } else { 1 };
        self.clients.batches += 1;
        let number = self.clients.batches;
        let producer = &mut self.clients.producers[place];
        if self.healed {
            producer.misuse = None;
        }
        let mut pending = producer.make(number, count, concern);
        pending.made_after_healing = self.healed;
        producer.window.push_back(pending);
    }

    fn attempt(&mut self, place: Place, at: usize) {
        self.clients.attempts += 1;
        let attempt = AttemptId(self.clients.attempts);
        let pending = &mut self.clients.producers[place].window[at];
        pending.attempt = Some(attempt);
        pending.attempts += 1;
        let batch = pending.batch;
        let to = match self.clients.producers[place].leader {
            Some(leader) => leader,
            None => self.some_node(),
        };
        self.see(Seen::Produce(Produce {
            attempt,
            values: observer::values(batch.number, batch.count),
            concern: batch.concern,
            stamp: batch.stamp,
        }));
        self.call(to, Call::Write { producer: place, attempt, batch, known: false });
        self.give_up_later(Self::wrote_nothing_known(place, attempt));
    }

    /// An attempt has ended for its producer.
    pub(super) fn wrote(&mut self, place: Place, attempt: AttemptId, answer: Option<Answer>) {
        let healed = self.healed;
        let producer = &mut self.clients.producers[place];
        let at = producer.window.iter().position(|pending| pending.attempt == Some(attempt));
        let Some(at) = at else { return };
        let identified = producer.identity.is_some();
        let pending = &mut producer.window[at];
        pending.attempt = None;
        match answer {
            Some(Answer::Acked { .. }) => {
                let settled = producer.window.remove(at).expect("it was found there");
                self.clients.last_write_wanted &=
                    !(healed && place == 0 && settled.made_after_healing);
                let sequence = settled.batch.stamp.map(|stamp| stamp.first_sequence.get());
                if !healed && !settled.misuse && self.random.per_mille(40) {
                    producer.misuse = sequence;
                }
            }
            None | Some(Answer::Indeterminate { .. }) => {
                pending.may_be_in = true;
                producer.leader = None;
                if pending.misuse || (!identified && !self.random.per_mille(100)) {
                    producer.window.remove(at);
                } else if identified && self.random.per_mille(30) {
                    producer.begin_anew();
                }
            }
            Some(Answer::Refused(WriteRefusal::Producer(_))) => {
                if pending.misuse {
                    producer.window.remove(at);
                } else if at == 0 {
                    // Nothing of its own is missing before it: the log has lost what it builds on.
                    producer.begin_anew();
                }
            }
            Some(Answer::Refused(reason)) => {
                producer.leader = match reason {
                    WriteRefusal::NotLeader { leader } => leader,
                    _ => producer.leader,
                };
                let hopeless = matches!(reason, WriteRefusal::TooManyReplicas { .. });
                let tired = pending.attempts >= ATTEMPTS_MAX && self.random.coin() && !healed;
                let surely_not = !pending.may_be_in || !identified;
                if pending.misuse || ((hopeless || tired) && surely_not) {
                    if !producer.give_up(at) && hopeless {
                        producer.begin_anew();
                    }
                } else if hopeless {
                    producer.begin_anew();
                }
            }
        }
    }
}
