//! R2: what a replica remembers of the state, and how it notices that the metadata store went back.
//!
//! The version is the highest that anybody has told of, and stands in the meta beside the promise. The state
//! is the newest that this very replica has seen, and a copy of it is kept on disk: when the store was emptied
//! or restored from an old snapshot, it says who the voters are.

use crate::action::{Action, Actions, Alarm};
use crate::local::Local;
use crate::metadata::{ObservationSource, PartitionState};
use crate::mutation::Mutation;

/// What is remembered beside the version in the meta.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Remembered {
    /// The newest state that was read. Invariant: its version is at most that in the meta.
    state: Option<PartitionState>,
    /// Reads up to this number were asked for before the version in the meta was heard of.
    heard_after_read: u64,
    /// The version whose going back was reported.
    reported: Option<u64>,
}

impl Remembered {
    /// With the copy that was kept.
    pub(crate) const fn new(state: Option<PartitionState>) -> Self {
        Self { state, heard_after_read: 0, reported: None }
    }
}

impl Local {
    /// Takes note of the state as it is known now, and keeps a copy of the newest.
    pub(crate) fn remember_state(&mut self, actions: &mut Actions) {
        let Some(state) = self.coordination.state() else { return };
        let version = state.version;
        let newest = self.remembered.state.as_ref().is_none_or(|it| it.version < version);
        if newest && version >= self.meta.state_version() {
            let copy = state.clone();
            actions.push(Action::KeepState(Box::new(copy.clone())));
            self.remembered.state = Some(copy);
        }
        self.saw_state_version(version, actions);
    }

    /// The version of the state that is remembered; 0 when there is none.
    pub(crate) fn remembered_version(&self) -> u64 {
        self.remembered.state.as_ref().map_or(0, |state| state.version)
    }

    /// Takes note of a version of the state that somebody has seen. One that is newer than what is known
    /// here is read at once.
    pub(crate) fn saw_state_version(&mut self, version: u64, actions: &mut Actions) {
        if self.meta.saw_state_version(version) {
            self.remembered.heard_after_read = self.coordination.reads();
            let known = self.coordination.state().is_some_and(|state| state.version >= version);
            if !known {
                self.coordination.read_anew(self.now, actions);
            }
            self.meta.persist(actions);
        }
    }

    /// Whether the metadata, as they are known here, are older than what replicas have seen of them: of a
    /// lower version, of the same one and yet different, or not there at all. Then nobody is elected,
    /// nothing is admitted and committed, and nobody but an operator writes the state.
    pub(crate) fn is_rolled_back(&self) -> bool {
        let seen = self.meta.state_version();
        let older = match self.coordination.state() {
            None => self.coordination.is_known() && seen > 0,
            Some(found) => {
                let other = |it: &PartitionState| it.version == found.version && it != found;
                found.version < seen || self.remembered.state.as_ref().is_some_and(other)
            }
        };
        older && !self.broken(Mutation::R2RolledBackMetadataAccepted)
    }

    /// To be called when the metadata were read: raises the alarm once for each time that
    /// they went back. Only a read that
    /// was asked for after the version was heard of shows that the store went back. Anything else may
    /// merely be late.
    pub(crate) fn report_rollback(&mut self, source: ObservationSource, actions: &mut Actions) {
        let seen = self.meta.state_version();
        if !self.is_rolled_back() {
            // A late word of what was before can make it look right in between.
            self.remembered.reported = None;
            return;
        }
        if self.remembered.reported == Some(seen) {
            return;
        }
        match source {
            ObservationSource::Read(number) if number > self.remembered.heard_after_read => {
                self.remembered.reported = Some(seen);
                let found = self.coordination.state().map_or(0, |state| state.version);
                actions.push(Action::Alarm(Alarm::MetadataRolledBack { seen, found }));
            }
            ObservationSource::Read(_) | ObservationSource::Watch => {
                self.coordination.read(self.now, actions);
            }
        }
    }

    /// The state that an operator confirms here: the newest that this replica has seen, in the place of an
    /// older one in the store. `None` when it knows of none.
    pub(crate) fn confirmed_state(&self) -> Option<PartitionState> {
        let (seen, found) = (self.meta.state_version(), self.coordination.state());
        let own = self.remembered.state.as_ref();
        match own.filter(|own| found.is_none_or(|found| found.version <= own.version)) {
            Some(own) => Some(own.put_back(found, seen)),
            None => found.map(|found| found.with_version_above(seen)),
        }
    }
}
