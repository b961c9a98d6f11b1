//! The rules that a test may switch off, one at a time, to see that somebody notices.
//!
//! [`Config::broken`](crate::Config::broken) is asked at the very line that carries the rule. Without the feature
//! `mutations` it is the constant `false`, and nothing of this is left in the program.

/// A rule that is switched off. The rule's number comes first; ★ says that it is sacred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mutation {
    /// R2: a refused fence does not make the leader take an epoch above the promise.
    R2EpochNotRaised,
    /// R2: a replica promises one epoch to two candidates.
    R2EpochPromisedTwice,
    /// R2: a transaction of unknown outcome counts as one that failed, and is not read back.
    R2UnknownTakenForConflict,
    /// R2: the highest metadata version that replicas saw is not compared.
    R2RolledBackMetadataAccepted,
    /// R3: the lease's deadline counts from the answer of the keep-alive.
    R3DeadlineFromAnswer,
    /// R4 ★: the fence is answered before the promise is durable.
    R4PromiseNotDurable,
    /// R4 ★: the fence is answered while admitted writes are not durable, which are acknowledged later.
    R4FenceDoesNotWait,
    /// R4 ★: acknowledgements of an older epoch count.
    R4OldAcksCounted,
    /// R4 ★: appends, marks and cuts of an epoch below the promise are accepted.
    R4OldAppendsAccepted,
    /// R4 ★: a leader that was fenced goes on counting its own fsync and acknowledging.
    R4OwnFsyncAfterFence,
    /// R5 ★: the longest log wins, whatever its epoch.
    R5LengthAlone,
    /// R5 ★: one fenced answer fewer than Q is enough.
    R5FewerThanQuorum,
    /// R5 ★: serves before the epoch-start batch is durable on Q.
    R5ServesBeforeEpochStart,
    /// R6 ★: the leader counts itself before its fsync.
    R6LeaderBeforeFsync,
    /// R6: positions of an older epoch are committed by counting, without a batch of this epoch.
    R6OldEpochCommitted,
    /// R6: a follower takes the leader's mark before its log was matched.
    R6UnmatchedMark,
    /// R6: a restarted replica cuts its log to the mark it remembers.
    R6CutToRememberedMark,
    /// R6: a write concern below Q is answered without a look at the lease.
    R6LeaseNotChecked,
    /// R7: `all` is answered without a member as soon as its removal was sent.
    R7AllBeforeSwap,
    /// R7: a member enters the in-sync set before it is durable at the committed mark.
    R7EntersBehind,
    /// R8: writes are admitted without a live quorum.
    R8AdmitsWithoutQuorum,
    /// R9: the common place of two logs is looked for by offset alone.
    R9CutByOffset,
    /// R9: a cut below the committed mark is carried out without an alarm.
    R9CutBelowCommitted,
    /// R10: a follower does not keep the producer table.
    R10TableNotReplicated,
    /// R10: a duplicate is answered before the original is committed.
    R10DuplicateBeforeCommit,
    /// R10: the same sequence is a duplicate, whatever its content.
    R10CrcNotCompared,
    /// R11 ★: a learner's fenced answer counts as a vote.
    R11LearnerVotes,
    /// R11 ★: an acknowledgement counts whatever replica id it carries.
    R11StaleReplicaCounted,
    /// R11 ★: a learner is entered before it holds everything committed.
    R11EnteredBehind,
    /// R12: a majority of the old set alone is enough while the membership changes.
    R12SingleMajority,
    /// R13: records above the committed mark are readable.
    R13ReadsAboveCommitted,
    /// R13: a reader's lineage is not compared.
    R13LineageIgnored,
    /// Log start: moves beyond the committed mark.
    LogStartPastCommitted,
}

impl Mutation {
    /// All of them, in the order of the rules.
    pub const ALL: [Self; 33] = [
        Self::R2EpochNotRaised,
        Self::R2EpochPromisedTwice,
        Self::R2UnknownTakenForConflict,
        Self::R2RolledBackMetadataAccepted,
        Self::R3DeadlineFromAnswer,
        Self::R4PromiseNotDurable,
        Self::R4FenceDoesNotWait,
        Self::R4OldAcksCounted,
        Self::R4OldAppendsAccepted,
        Self::R4OwnFsyncAfterFence,
        Self::R5LengthAlone,
        Self::R5FewerThanQuorum,
        Self::R5ServesBeforeEpochStart,
        Self::R6LeaderBeforeFsync,
        Self::R6OldEpochCommitted,
        Self::R6UnmatchedMark,
        Self::R6CutToRememberedMark,
        Self::R6LeaseNotChecked,
        Self::R7AllBeforeSwap,
        Self::R7EntersBehind,
        Self::R8AdmitsWithoutQuorum,
        Self::R9CutByOffset,
        Self::R9CutBelowCommitted,
        Self::R10TableNotReplicated,
        Self::R10DuplicateBeforeCommit,
        Self::R10CrcNotCompared,
        Self::R11LearnerVotes,
        Self::R11StaleReplicaCounted,
        Self::R11EnteredBehind,
        Self::R12SingleMajority,
        Self::R13ReadsAboveCommitted,
        Self::R13LineageIgnored,
        Self::LogStartPastCommitted,
    ];
}
