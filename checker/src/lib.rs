//! Judges the history of one partition: what clients asked and were told, what readers saw, what
//! replicas held, and which faults there were. Ten invariants, I1 to I10, each in a file of its own
//! or beside its next of kin.
//!
//! | | invariant | file |
//! | --- | --- | --- |
//! | I1 | no acknowledged record is lost, as far as its write concern promised | `durability`, `copies` |
//! | I2 | one value per offset below the committed mark, for every replica and reader | `agreement` |
//! | I3 | no duplicate from an idempotent producer | `idempotence` |
//! | I4 | no gap in offsets | `contiguity` |
//! | I5 | a consumer's offsets only grow, nothing is skipped | `consumption` |
//! | I6 | nothing that was refused is ever visible | `refusal` |
//! | I7 | every log below its committed mark is a prefix of one history | `agreement` |
//! | I8 | epoch and promise never go back, nor the mark of a running process | `monotonicity` |
//! | I9 | one committing leader per epoch | `leadership` |
//! | I10 | once faults are healed, everything is caught up in bounded time | `progress` |
//!
//! The checker knows nothing of how a history came about. A simulator, a test with real processes
//! or a rig on real machines write the same [`Event`]s. There is no I/O, clock or thread in here.

mod agreement;
mod consumption;
mod contiguity;
mod copies;
mod durability;
mod history;
mod idempotence;
mod leadership;
mod monotonicity;
mod progress;
mod refusal;
mod states;
mod unclean;
mod violation;
mod writes;

pub use history::{
    AttemptId, ConsumerId, Event, FinalReplica, History, LogView, Moved, Outcome, Produce, Record,
    Stamp, Value, Voter, WriteConcern,
};
pub use violation::{Invariant, Violation, Witness};

use unclean::UncleanRanges;
use writes::Writes;

/// Everything in `history` that breaks an invariant, in the order of the invariants.
///
/// An empty answer says only as much as the history tells: what was not observed was not judged.
/// I1 and I10 look at the [`Event::Ended`], and have nothing to say without one.
#[must_use = "an unread judgement is none"]
pub fn check(history: &History) -> Vec<Violation> {
    let writes = Writes::of(history);
    let unclean = UncleanRanges::of(history);
    let mut found = Vec::new();
    durability::check(history, &writes, &unclean, &mut found);
    agreement::check_values(history, &writes, &unclean, &mut found);
    idempotence::check(history, &writes, &unclean, &mut found);
    contiguity::check(history, &mut found);
    consumption::check(history, &unclean, &mut found);
    refusal::check(history, &writes, &mut found);
    agreement::check_logs(history, &unclean, &mut found);
    monotonicity::check(history, &unclean, &mut found);
    leadership::check(history, &mut found);
    progress::check(history, &mut found);
    found
}
