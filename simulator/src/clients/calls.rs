//! Calls on their way to a node, and answers on their way back. What a server answers goes into the history when it
//! answers: whether the client lives to hear it changes nothing about the promise.

use forebay_checker as seen;
use forebay_format::{
    ClientHeader, Codec, NodeId, ProducerEpoch, ProducerId, Sequence, TimestampMs,
};
use forebay_replication::{
    Answer, CommandRefusal, Event, Part, Proposal, ReadAnswer, ReadRequest, Token, WriteConcern,
};

use super::{Batch, Call, ClientOccurrence, Place, ReadOutcome};
use crate::observer;
use crate::profile::Temper;
use crate::world::{Node, Occurrence, World};

/// Between a client and a node.
const CALL_MS_MAX: u64 = 10;

/// Records that one read returns.
const RECORDS_PER_READ_MAX: u64 = 20;

impl World {
    pub(super) fn client_later(&mut self, delay_ms_max: u64, what: ClientOccurrence) {
        self.within(delay_ms_max, Occurrence::Client(what));
    }

    /// A call sets out.
    pub(super) fn call(&mut self, to: NodeId, call: Call) {
        let token = self.clients.token(call);
        self.client_later(CALL_MS_MAX, ClientOccurrence::Call { to, token });
    }

    /// A call has reached its node. One whose process is down answers nothing.
    pub(super) fn called(&mut self, to: NodeId, token: Token) {
        let now_ms = self.schedule.now_ms();
        let node = self.node(to);
        let (run, now) = (node.run, node.clock.instant(now_ms));
        let wall_ms = i64::try_from(now_ms).unwrap_or(i64::MAX).saturating_add(node.clock.wall_ms);
        let patience_ms = self.profile.clients.patience_ms;
        let event = match self.clients.calls.get(&token) {
            Some(Call::Write { batch, .. }) => Event::Propose(Proposal {
                token,
                batch: header(batch),
                concern: concern(batch.concern),
                deadline: self.random.coin().then(|| now.plus_ms(patience_ms / 2)),
                append_time: TimestampMs::new(wall_ms),
            }),
            Some(Call::Read { epoch, offset, .. }) => {
                Event::Read(ReadRequest { token, epoch: *epoch, offset: *offset })
            }
            Some(Call::Command(command)) => Event::Command(token, command.clone()),
            None => return,
        };
        self.deliver(to, run, event);
    }

    /// Whether this answer reaches its client.
    fn answer_arrives(&mut self) -> bool {
        let lost = self.profile.clients.answer_lost_per_mille;
        self.healed || !self.random.per_mille(lost)
    }

    pub(crate) fn answer_write(&mut self, by: NodeId, token: Token, answer: Answer) {
        let call = self.clients.calls.remove(&token);
        let Some(Call::Write { producer, attempt, batch, known }) = call else {
            panic!("an answer to a write that is not there: {token:?} {answer:?}");
        };
        let outcome = self.outcome(by, answer);
        if matches!(outcome, seen::Outcome::Acked { .. }) {
            self.judge_answer(by, batch.concern);
            if let Answer::Acked { base_offset, .. } = answer
                && known
            {
                self.judge_duplicate(by, base_offset, batch.number);
            }
        }
        let disk = |node: &Node| Some((node.voter()?, node.disk.log().begins()));
        let disks: Vec<_> = self.nodes.iter().filter_map(disk).collect();
        let now_ms = self.schedule.now_ms();
        self.observer.answered(now_ms, (attempt, outcome), batch.number, &disks);
        if self.answer_arrives() {
            let answer = Some(answer);
            let what = ClientOccurrence::Wrote { producer, attempt, answer };
            self.client_later(CALL_MS_MAX, what);
        }
    }

    fn outcome(&self, by: NodeId, answer: Answer) -> seen::Outcome {
        match answer {
            Answer::Acked { base_offset, epoch, durable_replicas, concern } => {
                // Of a duplicate, the answer names the epoch that it was appended in. What the promise
                // rests on is the epoch that it is answered in.
                let epoch = match self.node(by).process.as_ref().map(|process| process.part) {
                    Some(Part::Leader(leads)) => leads,
                    _ => epoch,
                };
                seen::Outcome::Acked {
                    by,
                    epoch,
                    base_offset: (concern != WriteConcern::None).then_some(base_offset),
                    durable_on: u32::try_from(durable_replicas).unwrap_or(u32::MAX),
                }
            }
            Answer::Refused(reason) => seen::Outcome::Refused { reason: format!("{reason:?}") },
            Answer::Indeterminate { .. } => seen::Outcome::Indeterminate,
        }
    }

    pub(crate) fn answer_read(&mut self, by: NodeId, token: Token, answer: ReadAnswer) {
        let Some(Call::Read { consumer, call, offset, .. }) = self.clients.calls.remove(&token)
        else {
            panic!("an answer to a read that is not there: {token:?} {answer:?}");
        };
        let answer = match answer {
            ReadAnswer::Readable { upto } => {
                let upto = upto.min(offset + RECORDS_PER_READ_MAX);
                let records = observer::records(self.node(by).disk.log(), offset, upto);
                ReadOutcome::Records { from: by, records }
            }
            ReadAnswer::Ahead { leader, .. } => ReadOutcome::Ahead { leader },
            ReadAnswer::BelowLogStart { log_start } => ReadOutcome::BelowLogStart(log_start),
            ReadAnswer::DataLoss { from, .. } => ReadOutcome::DataLoss(from),
        };
        if self.answer_arrives() {
            self.client_later(CALL_MS_MAX, ClientOccurrence::HasRead { consumer, call, answer });
        }
    }

    pub(crate) fn answer_command(
        &mut self,
        by: NodeId,
        token: Token,
        result: Result<(), CommandRefusal>,
    ) {
        let Some(Call::Command(command)) = self.clients.calls.remove(&token) else {
            panic!("an answer to a command that is not there: {token:?} {result:?}");
        };
        self.commanded(by, &command, result);
    }

    /// A node to try: mostly the one that leads.
    pub(super) fn some_node(&mut self) -> NodeId {
        let any = self.nodes[self.random.place(self.nodes.len())].id;
        // Where there are zombies, nobody knows.
        let knows = if self.profile.temper == Temper::Haunted { 300 } else { 700 };
        if self.random.per_mille(knows) { self.etcd.leader().unwrap_or(any) } else { any }
    }

    /// After so long without an answer, a client gives up.
    pub(super) fn give_up_later(&mut self, what: ClientOccurrence) {
        self.later(self.profile.clients.patience_ms, Occurrence::Client(what));
    }

    pub(super) const fn wrote_nothing_known(
        producer: Place,
        attempt: seen::AttemptId,
    ) -> ClientOccurrence {
        ClientOccurrence::Wrote { producer, attempt, answer: None }
    }
}

const fn concern(concern: seen::WriteConcern) -> WriteConcern {
    match concern {
        seen::WriteConcern::None => WriteConcern::None,
        seen::WriteConcern::Leader => WriteConcern::LEADER,
        seen::WriteConcern::Quorum => WriteConcern::Quorum,
        seen::WriteConcern::All => WriteConcern::All,
        seen::WriteConcern::Replicas(count) => {
            WriteConcern::Replicas(if count > 255 { 255 } else { count.to_le_bytes()[0] })
        }
    }
}

/// The header of a batch. Its number stands in a time stamp, which the protocol hands on untouched,
/// and in the checksum, as two contents would differ in it.
fn header(batch: &Batch) -> ClientHeader {
    let number = i64::try_from(batch.number).expect("a seed makes few batches");
    let (producer_id, producer_epoch, first_sequence) = match batch.stamp {
        Some(stamp) => (stamp.producer, stamp.epoch, stamp.first_sequence),
        None => (ProducerId::NONE, ProducerEpoch::ZERO, Sequence::ZERO),
    };
    ClientHeader {
        codec: Codec::None,
        control: false,
        payload_bytes: 8 * batch.count,
        record_count: batch.count,
        first_timestamp: TimestampMs::new(number),
        max_timestamp: TimestampMs::new(number),
        producer_id,
        first_sequence,
        producer_epoch,
        payload_crc: u32::try_from(batch.number).expect("a seed makes few batches"),
    }
}
