//! Taking a log out of service: after a failed write, for damage, or because its sequencer has to go.

use std::rc::Rc;

use super::ReserveError;
use super::partition::{OpenLog, PartitionLog, State};
use crate::io::is_lost;
use crate::runtime::spawn;

impl PartitionLog {
    /// Takes the log out of service for good, and ends the process's service.
    pub(super) fn poison(&self, what: &std::io::Error) {
        if matches!(&*self.state.borrow(), State::Removed) {
            // Its files were taken away under the write, on purpose.
            return;
        }
        let message = format!("{}: {what}", self.path.directory().display());
        self.end_service(&ReserveError::Unavailable { message: message.clone() });
        self.context.fail(message);
    }

    /// As [`PartitionLog::poison`], if the error says that writes were lost; others are left to
    /// the caller.
    pub(super) fn poison_if_lost(&self, error: &std::io::Error) {
        if is_lost(error) {
            self.poison(error);
        }
    }

    /// Takes a damaged log out of service. Nothing on disk is changed.
    pub(super) fn quarantine(&self, error: &ReserveError) {
        tracing::error!(partition = %self.id, %error, "the partition is out of service");
        if self.end_service(error) {
            self.context.metrics.quarantined_partitions.add(1);
        }
    }

    /// Answers and lets go of everything. `false` when damage has ended the service already: that
    /// cause is kept.
    fn end_service(&self, error: &ReserveError) -> bool {
        if matches!(&*self.state.borrow(), State::Failed(ReserveError::Corrupt(_)) | State::Removed)
        {
            return false;
        }
        let before = self.state.replace(State::Failed(error.clone()));
        if let State::Open(mut open) = before {
            open.written_acks.fail_all();
            open.durable_acks.fail_all();
            self.let_go(&mut open);
        }
        self.progress.raise();
        self.end_sequencing(error);
        true
    }

    /// Lets go of the sequencer, if there is one, and tells it why.
    pub(super) fn end_sequencing(&self, why: &ReserveError) {
        self.decider.let_open(false);
        if self.decider.is_replica()
            && let Some(sequencer) = self.decider.hand_to(None)
        {
            sequencer.ended(why);
        }
    }

    /// Gives back what an open log holds of what the shard's logs share.
    pub(super) fn let_go(&self, open: &mut OpenLog) {
        if !open.cache.is_empty() {
            self.context.forget_cached(self);
        }
        if let Some(spare) = open.spare.take() {
            let context = Rc::clone(&self.context);
            spawn(async move {
                if let Err(error) = context.spares.put_back(spare).await {
                    tracing::warn!(%error, "an unused spare file could not be removed");
                }
            });
        }
    }
}
