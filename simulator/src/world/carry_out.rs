//! What a replica wants done.

use forebay_checker::Event as Seen;
use forebay_format::{NodeId, Offset};
use forebay_replication::{
    Action, Actions, Alarm, Answer, Event, LogEvent, Marks, Message, Part, Position,
};

use super::World;
use super::occurrence::Occurrence;
use crate::disk::LogOrder;
use crate::faults::Role;

impl World {
    /// Carries out `actions` of the replica on `id`, in order.
    pub(super) fn carry_out(&mut self, id: NodeId, run: u64, actions: &mut Actions) {
        for action in actions.drain() {
            self.transcript.action(self.schedule.now_ms(), id, &action);
            self.carry_out_one(id, run, action);
        }
        self.begin_flush(id, run);
        self.begin_meta(id, run);
    }

    fn carry_out_one(&mut self, id: NodeId, run: u64, action: Action) {
        match action {
            Action::Append(batches) => {
                self.judge_beginning(id, &batches);
                for batch in batches {
                    self.node_mut(id).disk.order(LogOrder::Append(batch));
                }
            }
            Action::Cut(at) => {
                self.judge_cut(id, at.end);
                self.judge_adoption(id);
                self.node_mut(id).disk.order(LogOrder::Cut(at));
            }
            Action::Reset(state) => self.node_mut(id).disk.order(LogOrder::Reset(state)),
            Action::Trim(log_start) => self.node_mut(id).disk.trim(log_start),
            Action::PersistMeta { number, meta } => self.node_mut(id).disk.order_meta(number, meta),
            Action::KeepState(state) => self.node_mut(id).disk.kept_state = Some(state),
            Action::Send(to, message) => {
                if matches!(message, Message::Fenced { .. } | Message::Appended { .. }) {
                    self.die_after_promise(id, run);
                }
                self.judge_message(id, to, &message);
                self.send(id, to, message);
            }
            Action::SendBatches { to, after, batches_max, envelope, .. } => {
                self.send_batches(id, run, (to, after, batches_max), envelope);
            }
            Action::SendStart { to, epoch, asked } => {
                let node = self.node(id);
                let log_start = node
                    .process
                    .as_ref()
                    .map_or_else(Default::default, |process| process.marks.log_start);
                let at = Box::new(node.disk.log().start_at(log_start));
                self.send(id, to, Message::Start { epoch, asked, at });
            }
            Action::Transact { number, transaction } => {
                self.judge_in_sync_set(id, &transaction);
                self.judge_transaction(id, number, &transaction);
                self.transact(id, run, number, transaction);
            }
            Action::ReadMetadata { number } => {
                if let Some(process) = &mut self.node_mut(id).process {
                    process.witness.reads = number;
                }
                self.read_store(id, run, number);
            }
            Action::Answer(token, answer) => {
                if matches!(answer, Answer::Acked { .. }) {
                    self.die_after_promise(id, run);
                }
                self.judge_acknowledged(id, &answer);
                self.answer_write(id, token, answer);
            }
            Action::AnswerRead(token, answer) => self.answer_read(id, token, answer),
            Action::AnswerCommand(token, result) => self.answer_command(id, token, result),
            Action::Publish(marks) => self.publish(id, marks),
            Action::Became(part) => self.became(id, part),
            Action::Alarm(alarm) => self.alarm(id, alarm),
            Action::Wake(at) => {
                let now_ms = self.schedule.now_ms();
                let node = self.node_mut(id);
                let delay_ms = node.clock.delay_until(at, now_ms);
                let Some(process) = node.process_of(run) else { return };
                process.wake += 1;
                let number = process.wake;
                self.later(delay_ms, Occurrence::Wake { node: id, run, number });
            }
        }
    }

    /// What a process says just before it dies is all that is left of it.
    fn die_after_promise(&mut self, id: NodeId, run: u64) {
        let per_mille = self.profile.death_after_promise_per_mille;
        if !self.healed && !self.sabotaged && self.random.per_mille(per_mille) {
            self.within(3, Occurrence::Death { node: id, run });
        }
    }

    fn send_batches(
        &mut self,
        id: NodeId,
        run: u64,
        (to, after, batches_max): (NodeId, Position, usize),
        envelope: Message,
    ) {
        let disk = &self.node(id).disk;
        let mut message = envelope;
        let mut upto = after;
        let (log, slot) = match &mut message {
            Message::Append { batches, .. } => (disk.log(), batches),
            Message::Fetched { batches, .. } => (disk.stable_log(), batches),
            other => panic!("no envelope for batches: {other:?}"),
        };
        // What was trimmed meanwhile cannot be sent. Whoever asked finds out when it asks again.
        if let Some(batches) = log.between(after, log.position()) {
            *slot = batches.iter().take(batches_max).copied().collect();
            upto = slot.last().map_or(after, forebay_replication::BatchMeta::position);
            self.send(id, to, message);
        }
        let event = Event::Log(LogEvent::Sent { to, after, upto });
        self.within(2, Occurrence::Event { node: id, run, event });
    }

    pub(super) fn begin_flush(&mut self, id: NodeId, run: u64) {
        if self.node_mut(id).disk.begin_flush() {
            let delay_ms = self.fsync_ms(id);
            self.within(delay_ms, Occurrence::Flushed { node: id, run });
        }
    }

    pub(super) fn begin_meta(&mut self, id: NodeId, run: u64) {
        let node = self.node_mut(id);
        let waits = node.disk.meta_waits() && !node.disk.dead;
        let Some(process) = node.process_of(run) else { return };
        if waits && !process.meta_busy {
            process.meta_busy = true;
            let delay_ms = self.fsync_ms(id);
            self.within(delay_ms, Occurrence::MetaWritten { node: id, run });
        }
    }

    fn fsync_ms(&self, id: NodeId) -> u64 {
        let slow = if self.node(id).troubles.disk_slow > 0 { 3_000 } else { 0 };
        self.profile.fsync_ms_max + slow
    }

    pub(super) fn flushed(&mut self, id: NodeId, run: u64) {
        let node = self.node_mut(id);
        if node.run != run || node.process.is_none() || node.disk.dead {
            return;
        }
        let Some((event, synced)) = node.disk.end_flush() else { return };
        if let Some(by) = node.voter() {
            self.observer.synced(by, &synced);
        }
        self.begin_flush(id, run);
        self.deliver(id, run, Event::Log(event));
    }

    pub(super) fn meta_written(&mut self, id: NodeId, run: u64) {
        let node = self.node_mut(id);
        if node.disk.dead {
            return;
        }
        let Some(process) = node.process_of(run) else { return };
        process.meta_busy = false;
        let Some(number) = node.disk.end_meta() else { return };
        self.begin_meta(id, run);
        self.deliver(id, run, Event::Log(LogEvent::MetaDurable(number)));
    }

    fn publish(&mut self, id: NodeId, marks: Marks) {
        let now_ms = self.schedule.now_ms();
        let node = &mut self.nodes[super::place(id)];
        let Some(process) = &mut node.process else { return };
        let before = std::mem::replace(&mut process.marks, marks);
        let part = process.part;
        self.observer.published(now_ms, id, (before.committed, marks.committed), node.disk.log());
        self.judge_mark(id, (before.committed, marks.committed));
        self.judge_marks(id, part, (before, marks));
        if before.log_start != marks.log_start {
            self.see(Seen::LogStartMoved { node: id, to: marks.log_start });
        }
        if let Part::Leader(epoch) = part
            && before.committed < marks.committed
        {
            self.see(Seen::LeaderCommitted { node: id, epoch });
        }
    }

    fn became(&mut self, id: NodeId, part: Part) {
        if let Some(process) = &mut self.node_mut(id).process {
            process.part = part;
            process.witness.becomes(part);
            if matches!(part, Part::Leader(_)) {
                process.witness.begins(process.marks.committed);
            }
        }
        match part {
            Part::Leader(epoch) => {
                self.see(Seen::LeaderCommitted { node: id, epoch });
                self.judge_leadership(id, epoch);
                self.judge_commit(id, epoch, Offset::ZERO);
                self.strike_soon(Role::Leader);
            }
            Part::Candidate(_) => self.strike_soon(Role::Candidate),
            Part::Follower => {}
        }
    }

    fn alarm(&mut self, id: NodeId, alarm: Alarm) {
        match alarm {
            // The store really was restored; an operator looks, and says that it is right as it is.
            Alarm::MetadataRolledBack { .. } => self.confirm_metadata(id),
            // That is what the sabotage is for.
            Alarm::CutBelowCommitted { .. } if self.sabotaged => {}
            Alarm::CutBelowCommitted { .. } | Alarm::ChainBroken { .. } => {
                let now_ms = self.schedule.now_ms();
                self.alarms.push(format!("{now_ms} ms, node {id}: {alarm:?}"));
            }
        }
    }
}
