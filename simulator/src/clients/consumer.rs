//! A consumer: reads on from where it stands, at the leader or at any other replica, and says which
//! epoch it has read last.

use forebay_checker::{ConsumerId, Event as Seen, Moved};
use forebay_format::{Epoch, NodeId, Offset};

use super::{Call, ClientOccurrence, Place, ReadOutcome};
use crate::world::World;

/// A consumer.
#[derive(Debug)]
pub(crate) struct Consumer {
    /// The offset it wants next.
    offset: Offset,
    /// Epoch of the record before that, as it has read it; 0 if it has read none.
    epoch: Epoch,
    /// The number of its last call.
    call: u64,
    waits: bool,
    /// Where it reads at present.
    from: Option<NodeId>,
}

impl Consumer {
    pub(super) const fn new() -> Self {
        Self { offset: Offset::ZERO, epoch: Epoch::ZERO, call: 0, waits: false, from: None }
    }

    pub(super) fn stands_at(&self, end: Offset) -> bool {
        self.offset == end
    }

    const fn go_to(&mut self, offset: Offset) {
        self.offset = offset;
        self.epoch = Epoch::ZERO;
    }
}

const fn id(place: Place) -> ConsumerId {
    ConsumerId(place as u64)
}

impl World {
    pub(super) fn begin_consumer(&mut self, place: Place, at: Offset) {
        self.clients.consumers[place].go_to(at);
        self.see(Seen::ConsumerStarted { consumer: id(place), at });
    }

    pub(super) fn consumer_turn(&mut self, place: Place) {
        let pause_ms_max =
            self.profile.clients.pause_ms_max * 2 * self.clients.patience(self.healed);
        self.client_later(pause_ms_max, ClientOccurrence::ConsumerTurn(place));
        if self.clients.consumers[place].waits {
            return;
        }
        if !self.healed && self.random.per_mille(10) {
            let offset = self.clients.consumers[place].offset;
            let at = Offset::new(self.random.below(offset.get() + 1));
            self.begin_consumer(place, at);
        }
        let to = match self.clients.consumers[place].from {
            Some(from) if self.random.per_mille(900) => from,
            _ if self.random.coin() => self.some_node(),
            _ => *self.random.pick(&self.ids()),
        };
        self.clients.reads += 1;
        let consumer = &mut self.clients.consumers[place];
        consumer.from = Some(to);
        consumer.waits = true;
        consumer.call += 1;
        let (call, epoch, offset) = (consumer.call, consumer.epoch, consumer.offset);
        self.call(to, Call::Read { consumer: place, call, epoch, offset });
        let answer = ReadOutcome::NoAnswer;
        self.give_up_later(ClientOccurrence::HasRead { consumer: place, call, answer });
    }

    /// A read has ended for its consumer.
    pub(super) fn has_read(&mut self, place: Place, call: u64, answer: ReadOutcome) {
        let consumer = &mut self.clients.consumers[place];
        if consumer.call != call || !consumer.waits {
            return;
        }
        consumer.waits = false;
        let (consumer_id, mut moved) = (id(place), None);
        match answer {
            ReadOutcome::Records { from, records } => {
                if let Some(last) = records.last() {
                    consumer.offset = last.offset + 1;
                    consumer.epoch = last.epoch;
                }
                self.see(Seen::Read { consumer: consumer_id, from, records });
            }
            // Who has read nothing yet and asks for what was given up waits for what may never come. So does who asks a
            // node that does not hold the partition any more.
            ReadOutcome::Ahead { .. } if self.healed && consumer.epoch == Epoch::ZERO => {
                consumer.from = None;
                self.begin_consumer(place, Offset::ZERO);
            }
            ReadOutcome::Ahead { leader } => {
                let other = if self.random.coin() { leader } else { None };
                consumer.from = other.or_else(|| self.random.coin().then_some(consumer.from)?);
            }
            ReadOutcome::NoAnswer => consumer.from = None,
            ReadOutcome::BelowLogStart(to) => moved = Some((to, Moved::ToLogStart)),
            ReadOutcome::DataLoss(to) => moved = Some((to, Moved::DataLost)),
        }
        if let Some((to, why)) = moved {
            self.clients.consumers[place].go_to(to);
            self.see(Seen::ConsumerMoved { consumer: consumer_id, to, why });
        }
    }
}
