//! R2: what this replica knows of the metadata, and its one transaction on it.
//!
//! ```text
//!            submit             committed, conflict
//!  idle ────────────▶ sent ──────────────────────────▶ idle, with what became of it
//!                      ▲ │ unknown; a conflict that an earlier attempt may have caused; committed, and older
//!                      │ │ than what is known by now
//!      nothing changed │ ▼
//!                    reading back ─ ours is there, or can never be ─▶ idle, likewise
//! ```
//!
//! A transaction of unknown outcome is read back before anything else. When the read shows neither that
//! it happened nor that it cannot happen any more, the same transaction is sent once more: at most one of
//! the two gets past its guard, and only then is the outcome known.

use forebay_format::NodeId;

use crate::action::{Action, Actions};
use crate::metadata::{
    Guard, Keyed, LeaderKey, LeaderWrite, Member, Observation, ObservationSource, Outcome,
    PartitionState, Revision, Transaction, TransactionKind,
};
use crate::soundness::is_sound_observation;
use crate::time::Instant;

/// A read that was not answered for this long is asked for again.
const READ_RETRY_MS: u64 = 1_000;

/// What this replica knows of its partition's metadata.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Coordination {
    leader: Option<Keyed<LeaderKey>>,
    state: Option<Keyed<PartitionState>>,
    assigned: Vec<NodeId>,
    reported: Vec<Member>,
    /// Revision of the store at which this was so.
    revision: Revision,
    /// Reads up to this number were issued before this was learnt, and may be older than it.
    learnt_after_read: u64,
    /// Number of the last read that was asked for.
    reads: u64,
    /// When it was, if it is not answered yet.
    reading_since: Option<Instant>,
    /// Number of the last transaction that was sent.
    transactions: u64,
    in_flight: Option<InFlight>,
}

#[derive(Debug, Clone, PartialEq)]
struct InFlight {
    transaction: Transaction,
    stage: Stage,
    /// An earlier attempt may have succeeded, or may yet.
    repeated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    /// Under this number.
    Sent(u64),
    /// Until a read that is not older than this number is answered.
    ReadingBack {
        read: u64,
        /// The last attempt is over: it met another guard than it wanted, or was carried out before what is
        /// known by now. What is not there by now never will be: no state, leader or node key comes back
        /// with the revision and the value that it had.
        over: bool,
    },
}

/// What became of this replica's transaction.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resolved {
    pub(crate) transaction: Transaction,
    pub(crate) applied: bool,
}

impl Coordination {
    pub(crate) fn new() -> Self {
        Self {
            leader: None,
            state: None,
            assigned: Vec::new(),
            reported: Vec::new(),
            revision: Revision::ABSENT,
            learnt_after_read: 0,
            reads: 0,
            reading_since: None,
            transactions: 0,
            in_flight: None,
        }
    }

    pub(crate) fn state(&self) -> Option<&PartitionState> {
        self.state.as_ref().map(|state| &state.value)
    }

    /// The state as it was read, and when it was written: what a transaction is guarded on.
    pub(crate) fn keyed_state(&self) -> Option<&Keyed<PartitionState>> {
        self.state.as_ref()
    }

    pub(crate) fn leader(&self) -> Option<&Keyed<LeaderKey>> {
        self.leader.as_ref()
    }

    pub(crate) fn assigned(&self) -> &[NodeId] {
        &self.assigned
    }

    pub(crate) fn reported(&self) -> &[Member] {
        &self.reported
    }

    /// Whether anything was read yet.
    pub(crate) fn is_known(&self) -> bool {
        self.revision != Revision::ABSENT
    }

    /// Number of the last read that was asked for.
    pub(crate) fn reads(&self) -> u64 {
        self.reads
    }

    /// Whether a transaction has no known outcome yet.
    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight.is_some()
    }

    /// What the transaction under way is for.
    pub(crate) fn pending(&self) -> Option<TransactionKind> {
        self.in_flight.as_ref().map(|in_flight| in_flight.transaction.kind)
    }

    /// The state that a transaction under way would bring; perhaps it has already.
    pub(crate) fn proposed_state(&self) -> Option<&PartitionState> {
        self.in_flight.as_ref().and_then(|in_flight| in_flight.transaction.state.as_ref())
    }

    /// Asks for the metadata, unless that was done just now.
    pub(crate) fn read(&mut self, now: Instant, actions: &mut Actions) {
        let waiting = |since: Instant| now.ms_since(since) < READ_RETRY_MS;
        if !self.reading_since.is_some_and(waiting) {
            self.read_anew(now, actions);
        }
    }

    /// Asks for the metadata as they are after this moment.
    pub(crate) fn read_anew(&mut self, now: Instant, actions: &mut Actions) {
        self.reads += 1;
        self.reading_since = Some(now);
        actions.push(Action::ReadMetadata { number: self.reads });
    }

    /// Sends a transaction. Only one at a time.
    pub(crate) fn submit(&mut self, transaction: Transaction, actions: &mut Actions) {
        assert!(self.in_flight.is_none(), "one transaction at a time");
        let stage = self.send(&transaction, actions);
        self.in_flight = Some(InFlight { transaction, stage, repeated: false });
    }

    fn send(&mut self, transaction: &Transaction, actions: &mut Actions) -> Stage {
        self.transactions += 1;
        let transaction = Box::new(transaction.clone());
        actions.push(Action::Transact { number: self.transactions, transaction });
        Stage::Sent(self.transactions)
    }

    /// The outcome of the transaction of this number.
    pub(crate) fn on_outcome(
        &mut self,
        (number, outcome): (u64, Outcome),
        now: Instant,
        actions: &mut Actions,
    ) -> Option<Resolved> {
        let in_flight = self.in_flight.take_if(|it| it.stage == Stage::Sent(number))?;
        let transaction = in_flight.transaction;
        match outcome {
            Outcome::Committed(revision) if revision >= self.revision => {
                self.apply(&transaction, revision);
                Some(Resolved { transaction, applied: true })
            }
            Outcome::Committed(_) if self.shows(&transaction) => {
                Some(Resolved { transaction, applied: true })
            }
            Outcome::Conflict if !in_flight.repeated => {
                self.read_anew(now, actions);
                Some(Resolved { transaction, applied: false })
            }
            // Of one that was carried out and is not there: what is known here is newer, and it is over
            // already, or the store went back. Either way it does not happen any more.
            Outcome::Committed(_) | Outcome::Conflict | Outcome::Unknown => {
                self.read_anew(now, actions);
                let over = outcome != Outcome::Unknown;
                let stage = Stage::ReadingBack { read: self.reads, over };
                self.in_flight = Some(InFlight { transaction, stage, repeated: true });
                None
            }
        }
    }

    /// What the store holds after a transaction that was carried out as `revision`.
    fn apply(&mut self, transaction: &Transaction, revision: Revision) {
        match transaction.leader {
            LeaderWrite::Keep => {}
            LeaderWrite::Put(value) => {
                self.leader = Some(Keyed { value, created: revision, modified: revision });
            }
            LeaderWrite::Delete => self.leader = None,
        }
        if let Some(state) = &transaction.state {
            let created = self.state.as_ref().map_or(revision, |state| state.created);
            self.state = Some(Keyed { value: state.clone(), created, modified: revision });
        }
        if let Some(member) = transaction.report {
            self.reported.retain(|reported| reported.node != member.node);
            self.reported.push(member);
        }
        self.revision = self.revision.max(revision);
        self.learnt_after_read = self.reads;
    }

    /// Takes in what was read or watched. Returns whether it was news that counts, and what it says of
    /// the transaction under way.
    pub(crate) fn observe(
        &mut self,
        observation: Observation,
        actions: &mut Actions,
    ) -> (bool, Option<Resolved>) {
        if !is_sound_observation(&observation) {
            return (false, None);
        }
        // A read that was asked for after this was learnt is newer even if its revision is lower: then
        // the store was restored from a snapshot. A watch is not trusted so far.
        let newer = observation.revision >= self.revision;
        let read = match observation.source {
            ObservationSource::Read(number) if newer || number > self.learnt_after_read => number,
            ObservationSource::Watch if newer => 0,
            ObservationSource::Read(_) | ObservationSource::Watch => return (false, None),
        };
        self.leader = observation.leader;
        self.state = observation.state;
        self.assigned = observation.assigned;
        self.reported = observation.reported;
        self.revision = observation.revision;
        self.learnt_after_read = self.reads;
        if read == self.reads {
            self.reading_since = None;
        }
        (true, self.read_back(read, actions))
    }

    /// Whether a watch shows the store as it was before what is known here. Mostly the watch lags; but the store
    /// may have been restored from a snapshot, and only a read can tell.
    pub(crate) fn is_older(&self, observation: &Observation) -> bool {
        observation.source == ObservationSource::Watch && observation.revision < self.revision
    }

    /// What the present knowledge, from read `read`, says of a transaction that is read back.
    fn read_back(&mut self, read: u64, actions: &mut Actions) -> Option<Resolved> {
        let in_flight = self.in_flight.as_ref()?;
        let Stage::ReadingBack { read: asked, over } = in_flight.stage else { return None };
        if read < asked {
            return None;
        }
        let applied = self.shows(&in_flight.transaction);
        if applied || over || !self.may_happen(&in_flight.transaction.guard) {
            let transaction = self.in_flight.take()?.transaction;
            return Some(Resolved { transaction, applied });
        }
        let transaction = in_flight.transaction.clone();
        let stage = self.send(&transaction, actions);
        self.in_flight = Some(InFlight { transaction, stage, repeated: true });
        None
    }

    /// Whether the store holds what this transaction writes. Versions, epochs and incarnations make sure
    /// that nobody else writes the same.
    fn shows(&self, transaction: &Transaction) -> bool {
        let leader = match transaction.leader {
            LeaderWrite::Keep => true,
            LeaderWrite::Put(key) => self.leader.as_ref().is_some_and(|found| found.value == key),
            LeaderWrite::Delete => self.leader.is_none(),
        };
        let state = transaction.state.as_ref().is_none_or(|state| self.state() == Some(state));
        let report = transaction.report.is_none_or(|member| self.reported.contains(&member));
        leader && state && report
    }

    /// Whether a transaction with this guard can still get past it.
    fn may_happen(&self, guard: &Guard) -> bool {
        guard.holds_of_partition(self.leader.as_ref(), self.state.as_ref())
    }

    /// When an unanswered read is to be asked for again.
    pub(crate) fn on_tick(&mut self, now: Instant, actions: &mut Actions) {
        if self.reading_since.is_some_and(|since| now.ms_since(since) >= READ_RETRY_MS) {
            self.read_anew(now, actions);
        }
    }
}
