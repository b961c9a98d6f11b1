//! Admission of writes: R8 read-only below quorum, R10 idempotence. What is refused here was not appended.

use forebay_format::{Admission, BatchMeta, ClientHeader, LeaderFields, Position, RememberedBatch};

use super::lead::Leader;
use super::writes::Waiting;
use crate::action::{Action, Actions, Answer, WriteRefusal};
use crate::concern::WriteConcern;
use crate::event::Proposal;
use crate::local::Local;
use crate::mutation::Mutation;
use crate::quorum::Voters;

impl Leader {
    /// Appends the batch, finds that it was appended before, or refuses it.
    pub(crate) fn on_propose(
        &mut self,
        local: &mut Local,
        proposal: Proposal,
        actions: &mut Actions,
    ) {
        match self.admit(local, &proposal) {
            Err(refusal) => actions.push(Action::Answer(proposal.token, Answer::Refused(refusal))),
            Ok(Admission::Duplicate(original)) => {
                self.wait_for(&proposal, &original, true);
                self.answer_writes(local, actions);
            }
            Ok(Admission::Append) => {
                // It would have the position of the batch before, which tells two logs apart.
                assert!(!proposal.batch.control, "a control batch is a leader's own");
                let fields = self.stamp(local, &proposal);
                let batch = BatchMeta::stamp(proposal.batch, fields);
                local.log.append(vec![batch], &local.config, true, actions);
                let appended = RememberedBatch {
                    first_sequence: proposal.batch.first_sequence,
                    record_count: proposal.batch.record_count,
                    payload_crc: proposal.batch.payload_crc,
                    base_offset: fields.base_offset,
                    epoch: fields.epoch,
                    append_time: fields.append_time,
                };
                self.wait_for(&proposal, &appended, false);
                self.pump_all(local, actions);
                self.update_commit(local, actions);
            }
        }
    }

    fn admit(&self, local: &Local, proposal: &Proposal) -> Result<Admission, WriteRefusal> {
        if local.is_rolled_back() {
            return Err(WriteRefusal::MetadataRolledBack);
        }
        let serving = self.is_serving() || local.broken(Mutation::R5ServesBeforeEpochStart);
        let leased = local.valid_lease().is_some() || local.broken(Mutation::R6LeaseNotChecked);
        if !serving || self.transfer.is_some() || !leased || local.is_halted() {
            return Err(WriteRefusal::NotServing);
        }
        let voters = local.coordination.state().map_or(0, |state| Voters::of(state, false).count());
        if let WriteConcern::Replicas(n) = proposal.concern
            && (n == 0 || usize::from(n) > voters)
        {
            return Err(WriteRefusal::TooManyReplicas { voters });
        }
        if let Some((live, needed)) = self.read_only(local) {
            return Err(WriteRefusal::ReadOnly { live, needed });
        }
        if self.writes.len() >= local.config.waiting_writes_max {
            return Err(WriteRefusal::Overloaded);
        }
        let client = if local.broken(Mutation::R10CrcNotCompared) {
            ClientHeader { payload_crc: 0, ..proposal.batch }
        } else {
            proposal.batch
        };
        local.log.state().producers.check(&client).map_err(WriteRefusal::Producer)
    }

    fn stamp(&self, local: &Local, proposal: &Proposal) -> LeaderFields {
        let state = local.log.state();
        LeaderFields {
            base_offset: state.end,
            epoch: self.epoch,
            append_time: proposal.append_time.max(state.last_append_time),
            previous_header_crc: state.last_header_crc,
        }
    }

    fn wait_for(&mut self, proposal: &Proposal, batch: &RememberedBatch, duplicate: bool) {
        let end = batch.base_offset + u64::from(batch.record_count);
        let write = Waiting {
            token: proposal.token,
            end: Position::new(batch.epoch, end),
            base_offset: batch.base_offset,
            epoch: batch.epoch,
            deadline: proposal.deadline,
            duplicate,
        };
        self.writes.push(proposal.concern, write);
    }
}
