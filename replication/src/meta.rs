//! The partition's meta: what a replica must not forget, and what of it is on stable storage already.

use forebay_format::{Epoch, Offset, PartitionMeta, ReplicaId};

use crate::action::{Action, Actions};

/// The meta as it is to be, and how far that is durable.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Meta {
    /// Invariant: promise and state version never fall; log start and committed mark only where an unclean
    /// election has a log cut below them.
    current: PartitionMeta,
    /// Number of the last version that was handed out to be written.
    written: u64,
    /// Number of the last version that is durable. Invariant: at most `written`.
    durable: u64,
    /// Whether `current` has changed since it was handed out.
    dirty: bool,
}

impl Meta {
    pub(crate) fn new(found: PartitionMeta) -> Self {
        let current = PartitionMeta { pending_cut: None, ..found };
        Self { current, written: 0, durable: 0, dirty: false }
    }

    pub(crate) fn replica(&self) -> ReplicaId {
        self.current.replica
    }

    /// The highest epoch that was promised; perhaps not durably yet.
    pub(crate) fn promised(&self) -> Epoch {
        self.current.promised_epoch
    }

    /// A committed mark that was known; it only raises alarms, and is what may be read after a restart.
    pub(crate) fn committed(&self) -> Offset {
        self.current.committed
    }

    /// The highest version of the partition's state that was seen (R2).
    pub(crate) fn state_version(&self) -> u64 {
        self.current.state_version
    }

    pub(crate) fn promise(&mut self, epoch: Epoch) {
        assert!(epoch >= self.current.promised_epoch, "a promise never falls");
        self.set(|meta| &mut meta.promised_epoch, epoch);
    }

    /// The copy of the committed mark.
    pub(crate) fn set_committed(&mut self, committed: Offset) {
        self.set(|meta| &mut meta.committed, committed);
    }

    /// The log start, which falls only with a log that begins anew from nothing.
    pub(crate) fn set_log_start(&mut self, log_start: Offset) {
        self.set(|meta| &mut meta.log_start, log_start);
    }

    /// Takes note of a version. Returns whether it is the highest so far.
    pub(crate) fn saw_state_version(&mut self, version: u64) -> bool {
        let higher = version > self.current.state_version;
        if higher {
            self.set(|meta| &mut meta.state_version, version);
        }
        higher
    }

    fn set<T: PartialEq>(&mut self, field: impl Fn(&mut PartitionMeta) -> &mut T, value: T) {
        let place = field(&mut self.current);
        if *place != value {
            *place = value;
            self.dirty = true;
        }
    }

    /// Has the meta written if it has changed. Returns the number to wait for.
    pub(crate) fn persist(&mut self, actions: &mut Actions) -> u64 {
        if self.dirty {
            self.dirty = false;
            self.written += 1;
            actions.push(Action::PersistMeta { number: self.written, meta: self.current });
        }
        self.written
    }

    pub(crate) fn on_durable(&mut self, number: u64) {
        self.durable = self.durable.max(number.min(self.written));
    }

    /// Whether the version of this number is on stable storage.
    pub(crate) fn is_durable(&self, number: u64) -> bool {
        self.durable >= number
    }
}
